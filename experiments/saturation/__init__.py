"""Does a learning-coefficient curve tell anything that the loss does not, when its chains are loose?

The first finding about the published curves of small transformers (Hoogland et al. 2024, arXiv 2402.02364): E[L] is
the same at every checkpoint, so lambda-hat = nbeta (E[L] - L(w*)) is the loss with its sign turned, and its stages are
the loss's. Here the same trajectory is estimated under loose and under localised settings, on a deep linear network
whose stages are known.
"""

import functools
from collections.abc import Sequence
from typing import Annotated, Any

import jax
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Key
from typing_extensions import Doc

from experiments import sweep
from experiments.experiment import at_least, positive
from experiments.saturation.cases import Case, Local, begin, deep_linear, local, quadratic, trainer
from experiments.saturation.report import claims
from slt.calibration import calibrate
from slt.curves import curve_verdict
from slt.diagnostics import verdict
from slt.estimate import LLC, estimate_llc
from slt.samplers.langevin import sgld
from toymodels.training import TrainState

__all__ = ["PRESETS", "claims", "plot", "run"]

STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)  # gamma/nbeta; the published curves have .1
LOOSE, LOCALISED = 0, 1  # of the two temperatures
BIAS = 0.05  # of lambda-hat by the step size, along the direction of largest curvature
BLOCK = 48  # estimates at a time on a device

PRESETS = {
    "smoke": dict(seeds=2, steps=2000, checkpoints=9, chains=2, warmup=10, draws=20, strength=1.0),
    "default": {},
    "paper": dict(seeds=10, checkpoints=80, chains=10, warmup=5000, draws=5000),
}


def run(
    *,
    seeds: Annotated[int, Doc("training runs")] = 4,
    steps: Annotated[int, Doc("of gradient descent")] = 15000,
    checkpoints: Annotated[int, Doc("of each run: the start, and evenly spaced in log(step)")] = 32,
    learning_rate: Annotated[float, Doc("of gradient descent")] = 0.03,
    scale: Annotated[float, Doc("standard deviation of the weights at the start")] = 0.01,
    loose_nbeta: Annotated[
        float, Doc("n*beta at which E[L] is about the chance loss, as in the published curves")
    ] = 1.0,
    nbeta: Annotated[float, Doc("n*beta of the localised chains")] = 3e4,
    strength: Annotated[
        float, Doc("gamma/nbeta of the localised setting, of the ladder; 0: what calibrate finds")
    ] = 0.0,
    chains: Annotated[int, Doc("chains for an estimate")] = 4,
    warmup: Annotated[int, Doc("steps thrown away at the start of each chain")] = 2000,
    draws: Annotated[int, Doc("draws of each chain, one every two steps")] = 1500,
) -> xr.Dataset:
    """Train, estimate every checkpoint at two temperatures and six strengths of localisation, and hold against the Hessian."""
    at_least(1, seeds=seeds, chains=chains)
    at_least(8, checkpoints=checkpoints, draws=draws)
    at_least(0, warmup=warmup)
    at_least(100 * checkpoints, steps=steps)
    positive(learning_rate=learning_rate, scale=scale, loose_nbeta=loose_nbeta, nbeta=nbeta)
    if strength and strength not in STRENGTHS:
        raise ValueError(f"got strength={strength}: write one of {', '.join(map(str, STRENGTHS))}, or 0")
    case = deep_linear(
        learning_rate=learning_rate, scale=scale, steps=steps, checkpoints=checkpoints, nbeta=(loose_nbeta, nbeta)
    )
    return _curves(case, range(seeds), strength=strength, chains=chains, warmup=warmup, draws=draws)


def plot(results: xr.Dataset) -> Any:
    """One trajectory under both settings; what a learned value adds; where the trap begins."""
    from experiments.saturation.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _key(seed: Any, purpose: str) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.key(seed), ("start", "train", "chains", "calibrate").index(purpose))


def _curves(case: Case, seeds: Sequence[int], *, strength: float, chains: int, warmup: int, draws: int) -> xr.Dataset:
    """One case: its runs, everything known of their checkpoints, and the setting that is called localised."""
    runs = sweep.product(seed=seeds)
    state = jax.jit(jax.vmap(begin(case, _key), out_axes=TrainState._make((None, 0, 0))))(runs)
    params = sweep.train(trainer(case, _key), runs, state, case.checkpoints).params
    at = jax.tree.map(np.asarray, jax.jit(jax.vmap(jax.vmap(functools.partial(local, case))))(params))
    nbeta, gamma, step_size = _settings(case, at)
    if strength:
        reasons = [f"gamma {strength * case.nbeta[LOCALISED]:.3g}: as given"]
    else:
        strength, reasons = _calibrated(case, params, at)
    llc = _estimates(case, params, runs["seed"], (nbeta, gamma, step_size), (chains, warmup, draws))
    return _dataset(case, runs["seed"], params, at, (nbeta, gamma, step_size), llc).assign_attrs(
        strength=strength, calibration="\n".join(reasons), chance=case.chance, case=case.name
    )


def _settings(case: Case, at: Local) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """nbeta, gamma and step size, each (temperature, strength).

    The step leaves a bias of `BIAS` at most by the curvature of the checkpoints; loose chains go where it is larger,
    and theirs is larger too: it is in E[L], the same at all checkpoints.
    """
    h = float(np.nanmax(np.append(at.curvature, 0)))
    nbeta = np.repeat(np.array(case.nbeta, np.float32)[:, None], len(STRENGTHS), axis=1)
    gamma = nbeta * np.array(STRENGTHS, np.float32)[None]
    roam = np.array([case.roam, 1.0], np.float32)[:, None]
    return nbeta, gamma, np.asarray(4 * BIAS / (1 + BIAS) / (nbeta * roam * h + gamma), np.float32)


def _calibrated(case: Case, params: Any, at: Local) -> tuple[float, list[str]]:
    """gamma/nbeta as `calibrate` finds it on the plateaus of the first run: where the loss is steepest w* is no minimum."""
    steep = np.linalg.norm(at.slope[0], axis=-1)
    if not np.isfinite(steep).all():
        return 1.0, ["gamma: not calibrated, the first run is not finite"]
    chosen = [part[np.argmin(steep[part])] for part in np.array_split(np.argsort(-at.loss[0], kind="stable"), 6)]
    nbeta = case.nbeta[LOCALISED]
    found = calibrate(
        _key(0, "calibrate"),
        case.loss,
        jax.tree.map(lambda leaf: leaf[0][np.array(chosen)], params),
        case.data,
        nbeta=nbeta,
        chance=case.chance,
        troubled=0.0,  # all of them are plateaus
        gammas=[nbeta * strength for strength in STRENGTHS],
    )
    return min(STRENGTHS, key=lambda strength: abs(np.log(strength * nbeta / found.gamma))), found.reasons


def _estimates(
    case: Case,
    params: Any,
    seeds: np.ndarray,
    settings: tuple[np.ndarray, ...],
    length: tuple[int, int, int],
) -> LLC:
    """lambda-hat of every checkpoint under every setting, the same random numbers for all of a run."""
    chains, warmup, draws = length

    def point(p: dict[str, Any]) -> LLC:
        return estimate_llc(
            _key(p["seed"], "chains"), case.loss, p["params"], case.data, sgld(p["step_size"]),
            nbeta=p["nbeta"], gamma=p["gamma"], chance=case.chance, chains=chains, warmup=warmup,
            draws=draws, thin=2,
        )  # fmt: skip

    time, each = len(case.checkpoints), settings[0].size
    over = lambda leaf: np.repeat(np.reshape(leaf, (-1, *np.shape(leaf)[2:])), each, axis=0)
    points = {"params": jax.tree.map(over, params), "seed": np.repeat(seeds, time * each)}
    for name, values in zip(("nbeta", "gamma", "step_size"), settings, strict=True):
        points[name] = np.tile(values.ravel(), len(seeds) * time)
    found = sweep.run(point, points, name="llc", block=BLOCK)
    return LLC._make(found[name].values for name in LLC._fields)


def _dataset(
    case: Case, seeds: np.ndarray, params: Any, at: Local, settings: tuple[np.ndarray, ...], llc: LLC
) -> xr.Dataset:
    nbeta, gamma, step_size = settings
    time, every = ("run", "time"), ("run", "time", "temperature", "strength")
    shape = (*at.loss.shape, *nbeta.shape)
    spread, full = (
        np.reshape(term, shape)
        for term in quadratic(at, nbeta=nbeta.ravel(), gamma=gamma.ravel(), step_size=step_size.ravel())
    )
    kinds = [", ".join(line.split(":")[0] for line in verdict(LLC(*one))) for one in zip(*llc, strict=True)]
    numbers = {name: (every, getattr(llc, name).reshape(shape)) for name in ("value", "stderr", "ess", "rhat", "acceptance", "mean_loss", "saturation")}  # fmt: skip
    curve = [_curve_findings(llc, shape, run, setting) for run in range(shape[0]) for setting in range(nbeta.size)]
    product = params["W3"] @ params["W2"] @ params["W1"]
    flat = jax.vmap(jax.vmap(lambda p: ravel_pytree(p)[0]))(params)
    variables = numbers | {
        "loss": (time, at.loss, {"long_name": "L(w*)"}),
        "learned": (("run", "time", "value_of"), np.diagonal(product, axis1=-2, axis2=-1), {"long_name": "W3 W2 W1"}),
        "target": ("value_of", case.target, {"long_name": "what is learned"}),
        "curve_findings": (
            ("run", "temperature", "strength"),
            np.array(curve, dtype=str).reshape(shape[0], *nbeta.shape),
            {"long_name": "what curve_verdict says of the curve"},
        ),
        "findings": (
            every,
            np.array(kinds, dtype=str).reshape(shape),
            {"long_name": "what verdict says of lambda-hat"},
        ),
        "hessian_sum": (every, spread, {"long_name": "1/2 sum nbeta h/(nbeta h + gamma)"}),
        "quadratic": (every, full, {"long_name": "the same, and the slope"}),
        "slope": (time, np.linalg.norm(at.slope, axis=-1), {"long_name": "|grad L|"}),
        "trace": (time, at.curvature.sum(-1), {"long_name": "tr of the Hessian of L"}),
        "curvature": (("run", "time", "direction"), at.curvature, {"long_name": "eigenvalues of the Hessian of L"}),
        "norm": (time, np.linalg.norm(np.asarray(flat), axis=-1), {"long_name": "|w*|"}),
        "nbeta": ("temperature", nbeta[:, 0]),
        "gamma": (("temperature", "strength"), gamma),
        "step_size": (("temperature", "strength"), step_size),
    }
    coordinates = {
        "step": ("time", case.checkpoints, {"units": "steps"}),
        "seed": ("run", seeds),
        "temperature": ["loose", "localised"],
        "strength": ("strength", np.array(STRENGTHS), {"long_name": "gamma/nbeta"}),
    }
    return xr.Dataset(variables, coordinates)


def _curve_findings(llc: LLC, shape: tuple[int, ...], run: int, setting: int) -> str:
    """The kinds of trouble `curve_verdict` finds with the curve of one run under one setting."""
    curve = LLC._make(leaf.reshape(shape[0], shape[1], -1, *leaf.shape[1:])[run, :, setting] for leaf in llc)
    return ", ".join(line.split(":")[0] for line in curve_verdict(curve))
