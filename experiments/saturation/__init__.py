"""Does a learning-coefficient curve tell anything that the loss does not, when its chains are loose?

The first finding about the published curves of small transformers (Hoogland et al. 2024, arXiv 2402.02364): E[L] is
the same at every checkpoint, so lambda-hat = nbeta (E[L] - L(w*)) is the loss with its sign turned, and its stages are
the loss's. Here the same trajectory is estimated under loose and under localised settings, on a deep linear network
whose stages are known.
"""

from typing import Annotated, Any

import jax
import numpy as np
import xarray as xr
from typing_extensions import Doc

import slt
import sweeps
import toymodels as tm
from experiments.saturation.case import CALIBRATE, CHAINS, CHANCE, TARGET, Case, Local, quadratic
from experiments.saturation.claims import claims
from experiments.shared.ranges import Count, NonNegative, Positive, at_least, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "3-4 min on two cores"
TEMPERATURES = "loose", "localised"
STRENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0, 100.0)  # gamma/nbeta; the published curves have .1
ROAM = np.array([[4.0], [1.0]], np.float32)  # loose chains go where the curvature is so many times the checkpoints'
BIAS = 0.05  # of lambda-hat by the step size, along the direction of largest curvature
BLOCK = 48  # estimates at a time on a device
KEPT = "value", "stderr", "ess", "rhat", "acceptance", "mean_loss", "saturation"

PRESETS = {
    "smoke": dict(seeds=2, steps=2000, checkpoints=9, sampling=slt.Sampling(2, 10, 20, 2), strength=1.0),
    "default": {},
    "paper": dict(seeds=10, checkpoints=80, sampling=slt.Sampling(10, 5000, 5000, 2)),
}


@checked
def run(
    *,
    seeds: Annotated[Count, Doc("training runs")] = 4,
    steps: Annotated[Count, Doc("of gradient descent")] = 15000,
    checkpoints: Annotated[int, between(8, 10**5), Doc("of each run: the start, and evenly spaced in log(step)")] = 32,
    learning_rate: Annotated[Positive, Doc("of gradient descent")] = 0.03,
    scale: Annotated[Positive, Doc("standard deviation of the weights at the start")] = 0.01,
    loose_nbeta: Annotated[
        Positive, Doc("n*beta at which E[L] is about the chance loss, as in the published curves")
    ] = 1.0,
    nbeta: Annotated[Positive, Doc("n*beta of the localised chains")] = 3e4,
    strength: Annotated[
        NonNegative, Doc("gamma/nbeta of the localised setting, of the ladder; 0: what calibrate finds")
    ] = 0.0,
    sampling: slt.Sampling = slt.Sampling(chains=4, warmup=2000, draws=1500, thin=2),
) -> xr.Dataset:
    """Train, estimate every checkpoint at two temperatures and six localisations, hold against the Hessian."""
    at_least(8, draws=sampling.draws)
    at_least(100 * checkpoints, steps=steps)
    if strength and strength not in STRENGTHS:
        raise ValueError(f"got strength={strength}: write one of {', '.join(map(str, STRENGTHS))}, or 0")
    case = Case.of(learning_rate, scale)
    late = np.round(np.geomspace(steps / 100, steps, checkpoints - 1)).astype(int)
    grid = sweeps.product(seed=range(seeds))
    runs = sweeps.scan(case.onward, grid, case.begin, tm.union(np.array([0]), late), name="train")
    params = runs.outputs.params
    at = jax.tree.map(np.asarray, jax.jit(jax.vmap(jax.vmap(case.local)))(params))
    held = settings(at, loose_nbeta, nbeta)
    given = strength, f"gamma {strength * nbeta:.3g}: as given"
    strength, reasons = given if strength else calibrated(case, params, at, nbeta)
    attributes = dict(strength=strength, calibration=reasons, chance=CHANCE, case="deep linear")
    results = estimates(case, runs, held, sampling).merge(facts(params, at, held))
    return results.assign_attrs(attributes)


def plot(results: xr.Dataset) -> Any:
    """One trajectory under both settings; what a learned value adds; where the trap begins."""
    from experiments.saturation.figure import draw

    return draw(results)


def settings(at: Local, loose_nbeta: float, nbeta: float) -> xr.Dataset:
    """nbeta, gamma and step size at each temperature and strength.

    The step leaves a bias of `BIAS` at most by the curvature of the checkpoints; loose chains go where it is larger,
    and theirs is larger too: it is in E[L], the same at all checkpoints.
    """
    h = float(np.nanmax(np.append(at.curvature, 0)))
    nbetas = np.array([loose_nbeta, nbeta], np.float32)
    gamma = nbetas[:, None] * np.array(STRENGTHS, np.float32)[None]
    step_size = np.asarray(4 * BIAS / (1 + BIAS) / (nbetas[:, None] * ROAM * h + gamma), np.float32)
    over = "temperature", "strength"
    variables: dict[str, Any] = {"nbeta": (over[:1], nbetas), "gamma": (over, gamma), "step_size": (over, step_size)}
    strength = xr.DataArray(list(STRENGTHS), dims="strength", attrs={"long_name": "gamma/nbeta"})
    return xr.Dataset(variables, {"temperature": list(TEMPERATURES), "strength": strength})


def calibrated(case: Case, params: Any, at: Local, nbeta: float) -> tuple[float, str]:
    """gamma/nbeta as `calibrate` finds it on the plateaus of the first run: elsewhere w* is no minimum."""
    steep = np.linalg.norm(at.slope[0], axis=-1)
    if not np.isfinite(steep).all():
        return 1.0, "gamma: not calibrated, the first run is not finite"
    chosen = [part[np.argmin(steep[part])] for part in np.array_split(np.argsort(-at.loss[0], kind="stable"), 6)]
    points, gammas = jax.tree.map(lambda leaf: leaf[0][np.array(chosen)], params), [nbeta * s for s in STRENGTHS]
    options: Any = dict(nbeta=nbeta, chance=CHANCE, gammas=gammas, troubled=0.0)  # all of them are plateaus
    found = slt.calibrate(tm.key(0, CALIBRATE), case.loss, points, case.data, **options)
    off = [abs(np.log(gamma / found.chains["gamma"])) for gamma in gammas]
    return STRENGTHS[int(np.argmin(off))], "\n".join(found.reasons)


def estimates(case: Case, runs: sweeps.Runs, held: xr.Dataset, sampling: slt.Sampling) -> xr.Dataset:
    """lambda-hat of every checkpoint under every setting, the same random numbers for all of a run; what is found."""

    def llc(at: dict[str, Any], checkpoint: Any) -> slt.LLC:
        options = dict(nbeta=at["nbeta"], gamma=at["gamma"], chance=CHANCE) | sampling._asdict()
        key, sampler = tm.key(at["seed"], CHAINS), slt.sgld(at["step_size"])
        return slt.estimate_llc(key, case.loss, checkpoint.params, case.data, sampler, **options)

    each = xr.broadcast(held.nbeta, held.gamma, held.step_size)
    numbers = {str(array.name): array.values.ravel() for array in each}
    axes = {"temperature": np.array(TEMPERATURES), "strength": np.array(STRENGTHS)}
    found = sweeps.map(llc, sweeps.cross(sweeps.Points(numbers, None, axes), runs), name="llc", block=BLOCK)
    whole = slt.LLC._make(found[name].values for name in slt.LLC._fields)
    curves = np.empty(whole.value.shape[:3], object)
    for index in np.ndindex(curves.shape):
        curve = slt.LLC._make(leaf[index] for leaf in whole)
        curves[index] = ", ".join(finding.kind for finding in slt.curve_verdict(curve))
    return found[list(KEPT)].assign(
        findings=(found.value.dims, slt.findings(whole), {"long_name": "what verdict says of lambda-hat"}),
        curve_findings=(
            found.value.dims[:3],
            curves.astype(str),
            {"long_name": "what curve_verdict says of the curve"},
        ),
    )


def facts(params: Any, at: Local, held: xr.Dataset) -> xr.Dataset:
    """What is known of the checkpoints without a chain."""
    over, every = ("seed", "step"), ("temperature", "strength", "seed", "step")
    spread, full = quadratic(at, *(held[name].values for name in ("nbeta", "gamma", "step_size")))
    product = params["W3"] @ params["W2"] @ params["W1"]
    flat = np.concatenate([np.reshape(leaf, (*at.loss.shape, -1)) for leaf in jax.tree.leaves(params)], axis=-1)
    variables: dict[str, Any] = {
        "loss": (over, at.loss, {"long_name": "L(w*)"}),
        "learned": ((*over, "value_of"), np.diagonal(product, axis1=-2, axis2=-1), {"long_name": "W3 W2 W1"}),
        "target": ("value_of", np.array(TARGET, np.float32), {"long_name": "what is learned"}),
        "hessian_sum": (every, spread, {"long_name": "1/2 sum nbeta h/(nbeta h + gamma)"}),
        "quadratic": (every, full, {"long_name": "the same, and the slope"}),
        "slope": (over, np.linalg.norm(at.slope, axis=-1), {"long_name": "|grad L|"}),
        "trace": (over, at.curvature.sum(-1), {"long_name": "tr of the Hessian of L"}),
        "curvature": ((*over, "direction"), at.curvature, {"long_name": "eigenvalues of the Hessian of L"}),
        "norm": (over, np.linalg.norm(flat, axis=-1), {"long_name": "|w*|"}),
    }
    return held.assign(variables)
