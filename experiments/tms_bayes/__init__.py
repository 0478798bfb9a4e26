"""Do loss and lambda alone foretell which polygon a Bayesian posterior sits on, and at which n it moves to the next?

The Bayesian phase transitions of Chen, Lau, Mendel, Wei and Murfet 2023 (arXiv 2310.06301): six features in two
dimensions, x = mu e_j, prior N(0, 1), posterior exp(-n L_n(w)) N(w; 0, 1). The free-energy formula n L_k + lambda_k log
n + c_k ranks the k-gons at each n before anything is sampled. Tempered sequential Monte Carlo then samples the
posterior of several data sets; each sample is named by the polygon at the bottom of its basin.
"""

import functools
from collections.abc import Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Key
from typing_extensions import Doc

import slt
import sweeps
import toymodels as tm
from experiments.shared.ranges import Count, between, checked
from experiments.tms_bayes.polygons import descend, phase
from experiments.tms_bayes.prediction import FEATURES, PHASES, free_energy
from experiments.tms_bayes.report import CHAINS, OTHER, SMC, claims

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "4 min on two cores"
LEAST, MOST = 10, 10_000
SAMPLERS = [*SMC, CHAINS]
POWER = 4  # of the ladder beta = (i/rungs)^POWER: fine at first, where the prior gives way
BLOCK = 4  # samplings at a time on a device

PRESETS = {
    "smoke": dict(sizes=3, data_sets=2, particles=16, rungs=8, moves=1, leapfrogs=3, descent=60),
    "default": {},
    "paper": dict(sizes=25, data_sets=30, particles=2000, rungs=120, moves=4),
}


@checked
def run(
    *,
    sizes: Annotated[int, between(2, 70), Doc("data set sizes n, from 10 to 10^4, evenly spaced in log n")] = 13,
    data_sets: Annotated[int, between(2, 10**5), Doc("of each size; a larger one contains the smaller")] = 10,
    particles: Annotated[int, between(2, 10**6), Doc("of each Monte Carlo run; chains from the prior")] = 256,
    rungs: Annotated[int, between(2, 10**5), Doc("steps of the inverse temperature from 0 to 1")] = 60,
    moves: Annotated[Count, Doc("Hamiltonian steps at each rung")] = 2,
    leapfrogs: Annotated[Count, Doc("leapfrog steps of each of them")] = 8,
    descent: Annotated[Count, Doc("gradient steps to the bottom of the basin in which a sample lies")] = 600,
) -> xr.Dataset:
    """Predict the occupancy of each phase at each n, then sample it: twice by SMC, once by chains from the prior."""
    level = tm.levels(FEATURES)

    def sample(at: Mapping[str, Array]) -> dict[str, Array]:
        key_prior, key_smc = jax.random.split(_key(at, "sampler", "n", "data"))
        key_W, key_b = jax.random.split(key_prior)
        plain = at["sampler"] == SAMPLERS.index(CHAINS)  # the same program, its ladder one everywhere
        data = tm.drawn_moments(_key(at, "data"), FEATURES, at["n"], MOST)
        log_likelihood = lambda w: -at["n"] * tm.empirical_potential(data, w["W"], w["b"])
        ladder = jnp.where(plain, 1.0, jnp.linspace(0, 1, rungs + 1) ** POWER)
        W, b = jax.random.normal(key_W, (particles, 2, FEATURES)), jax.random.normal(key_b, (particles, FEATURES))
        found, _, ess, acceptance = slt.tempered_smc(
            key_smc, {"W": W, "b": b}, log_likelihood, ladder, moves=moves, leapfrogs=leapfrogs
        )
        name = lambda w: phase(descend(w, descent), PHASES, level)
        return {
            "occupancy": jnp.bincount(jax.vmap(name)(found), length=len(PHASES) + len(OTHER)) / particles,
            "ess": jnp.min(ess),
            "acceptance": jnp.where(plain, acceptance[-1], jnp.min(acceptance)),
        }

    n = np.round(np.geomspace(LEAST, MOST, sizes)).tolist()
    grid = sweeps.product(n=n, data=range(data_sets), sampler=range(len(SAMPLERS)))
    sampled = sweeps.map(sample, grid, name="posterior", dims={"occupancy": ["phase"]}, block=BLOCK)
    sampled.occupancy.attrs["long_name"] = "share of the posterior's samples in each phase"
    sampled.ess.attrs["long_name"] = "least share of effective particles on any rung"
    sampled.acceptance.attrs["long_name"] = "least mean acceptance on any rung"
    return sampled.assign_coords(sampler=SAMPLERS, phase=[*PHASES, *OTHER]).assign(free_energy=free_energy())


def plot(results: xr.Dataset) -> Any:
    """Predicted against sampled occupancy of each polygon over n, and all phases."""
    from experiments.tms_bayes.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _key(at: Mapping[str, Array], *names: str) -> Key[Array, ""]:
    """A key for the named coordinates of a point."""
    fold = lambda key, name: jax.random.fold_in(key, at[name].astype("int32") + 1)
    return functools.reduce(fold, names, jax.random.key(len(names)))
