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
from experiments.saturation.case import CHAINS, CHANCE, TARGET, Case
from experiments.saturation.report import claims
from experiments.shared.coefficient_curves import Setting, curves
from experiments.shared.ranges import Count, Positive, at_least, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "3 min on two cores"
PUBLISHED = 0.1  # gamma/nbeta of the published curves
SETTINGS = "loose", "localised", "weak"  # weak: the nbeta of the localised chains, the gamma/nbeta of the loose ones
ROAM = np.array([4, 1, 1], np.float32)  # loose chains go where the curvature is so many times the checkpoints'
BIAS = 0.05  # of lambda-hat by the step size, along the direction of largest curvature

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
    loose_nbeta: Annotated[Positive, Doc("n*beta at which E[L] is about the chance loss, as is published")] = 1.0,
    nbeta: Annotated[Positive, Doc("n*beta of the localised chains")] = 3e4,
    strength: Annotated[Positive, Doc("gamma/nbeta of the localised chains, as slt.calibrate chooses it")] = 10.0,
    sampling: slt.Sampling = slt.Sampling(chains=4, warmup=2000, draws=1500, thin=2),
) -> xr.Dataset:
    """Train, estimate every checkpoint under three settings of the chains, hold against the Hessian."""
    at_least(8, draws=sampling.draws)
    at_least(100 * checkpoints, steps=steps)
    case = Case.of()
    late = np.round(np.geomspace(steps / 100, steps, checkpoints - 1)).astype(int)
    times = tm.union(np.array([0]), late)
    runs = sweeps.scan(case.onward, sweeps.product(seed=range(seeds)), case.begin, times, name="train")
    params = runs.outputs.params
    loss, curvature = jax.tree.map(np.asarray, jax.jit(jax.vmap(jax.vmap(case.local)))(params))
    held = settings(curvature, loose_nbeta, nbeta, strength)
    key, data = lambda at: tm.key(at["seed"], CHAINS), lambda at: case.data
    found = curves(case.loss, runs, data, key, settings=held, sampling=sampling, chance=CHANCE, block=48)
    known = facts(params, curvature, held["localised"]) | {"loss": (("seed", "step"), loss, {"long_name": "L(w*)"})}
    return found.assign(known).assign_attrs(strength=strength, chance=CHANCE)


def plot(results: xr.Dataset) -> Any:
    """One trajectory under both settings; what each learned value adds to loss, lambda-hat and Hessian."""
    from experiments.saturation.figure import draw

    return draw(results)


def settings(curvature: np.ndarray, loose_nbeta: float, nbeta: float, strength: float) -> dict[str, Setting]:
    """nbeta, gamma and step size of each.

    The step leaves a bias of `BIAS` at most by the curvature of the checkpoints; loose chains go where it is larger,
    and theirs is larger too: it is in E[L], the same at all checkpoints.
    """
    h = float(np.nanmax(np.append(curvature, 0)))
    nbetas = np.array([loose_nbeta, nbeta, nbeta], np.float32)
    gammas = nbetas * np.array([PUBLISHED, strength, PUBLISHED], np.float32)
    step_sizes = 4 * BIAS / (1 + BIAS) / (nbetas * ROAM * h + gammas)
    numbers = zip(nbetas.tolist(), gammas.tolist(), step_sizes.tolist(), strict=True)
    return {name: Setting(*three) for name, three in zip(SETTINGS, numbers, strict=True)}


def facts(params: Any, curvature: np.ndarray, localised: Setting) -> dict[str, Any]:
    """What is known of the checkpoints without a chain."""
    over, product = ("seed", "step"), params["W3"] @ params["W2"] @ params["W1"]
    held: dict[str, Any] = dict(nbeta=localised.nbeta, gamma=localised.gamma, step_size=localised.step_size)
    gaussian = np.apply_along_axis(lambda h: slt.regular_finite(h, **held), -1, curvature.astype(float))
    return {
        "learned": ((*over, "value_of"), np.diagonal(product, axis1=-2, axis2=-1), {"long_name": "W3 W2 W1"}),
        "target": ("value_of", np.array(TARGET, np.float32), {"long_name": "what is learned"}),
        "hessian_sum": (over, gaussian, {"long_name": "1/2 sum nbeta h/(nbeta h + gamma), localised"}),
        "trace": (over, curvature.sum(-1), {"long_name": "tr of the Hessian of L"}),
    }
