"""Do loss and lambda alone foretell which polygon a Bayesian posterior sits on, and at which n it moves to the next?

The Bayesian phase transitions of Chen, Lau, Mendel, Wei and Murfet 2023 (arXiv 2310.06301): six features in two
dimensions, x = mu e_j, prior N(0, 1), posterior exp(-n L_n(w)) N(w; 0, 1). The free-energy formula n L_k + lambda_k log
n + c_k ranks the k-gons at each n before anything is sampled. Tempered sequential Monte Carlo then samples the
posterior of several data sets, and of the population loss; each sample is named by the polygon below it.

The default preset finds: loss and lambda foretell the order 4, 5, 6 and the hexagon from n = 1000 on, where the loss
alone is right too; between, they are early for 4 -> 5 (11, sampled 59) and late for 5 -> 6 (601, sampled 345). The
constant of the evidence is right at n = 10^4 and of no help at the crossings, where the expansion does not hold yet.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Scalar
from typing_extensions import Doc

from experiments import sweep
from experiments.experiment import at_least
from experiments.tms_bayes import posterior, prediction
from experiments.tms_bayes.posterior import Moments
from experiments.tms_bayes.prediction import FEATURES, PHASES
from experiments.tms_bayes.report import A_PRIORI, CHAINS, SMC, WITH_CONSTANT, claims
from toymodels.tasks.superposition import levels

__all__ = ["PRESETS", "claims", "plot", "run"]

HIDDEN, LEAST, MOST = 2, 10, 10_000
POPULATION = -1  # in the place of a data set's number: the population loss
SAMPLERS = [*SMC, CHAINS]
PREDICTORS = {
    "loss": prediction.loss_alone,
    A_PRIORI: prediction.leading_order,
    WITH_CONSTANT: prediction.with_constant,
}
OTHER = ["fewer than four", "no name"]
POWER = 4  # of the ladder beta = (i/rungs)^POWER: fine at first, where the prior gives way
BLOCK = 4  # samplings at a time on a device

PRESETS = {
    "smoke": dict(sizes=3, data_sets=2, particles=16, rungs=8, moves=1, leapfrogs=3, descent=60),
    "default": {},
    "paper": dict(sizes=25, data_sets=30, particles=2000, rungs=120, moves=4),
}


def run(
    *,
    sizes: Annotated[int, Doc("data set sizes n, from 10 to 10^4, evenly spaced in log n")] = 13,
    data_sets: Annotated[int, Doc("data sets of each size; a larger one contains the smaller")] = 10,
    particles: Annotated[int, Doc("of each sequential Monte Carlo run; chains from the prior")] = 256,
    rungs: Annotated[int, Doc("steps of the inverse temperature from 0 to 1")] = 60,
    moves: Annotated[int, Doc("Hamiltonian steps at each rung")] = 2,
    leapfrogs: Annotated[int, Doc("leapfrog steps of each of them")] = 8,
    descent: Annotated[int, Doc("gradient steps to the bottom of the basin in which a sample lies")] = 600,
) -> xr.Dataset:
    """Predict the occupancy of each phase at each n, then sample it: twice by SMC, once by chains from the prior."""
    at_least(2, sizes=sizes, data_sets=data_sets, particles=particles, rungs=rungs)
    at_least(1, moves=moves, leapfrogs=leapfrogs, descent=descent)
    free_energy = [list(predict().values()) for predict in PREDICTORS.values()]
    settings = dict(particles=particles, rungs=rungs, moves=moves, leapfrogs=leapfrogs, descent=descent)
    grid = sweep.product(
        n=np.round(np.geomspace(LEAST, MOST, sizes)).tolist(),
        data=range(POPULATION, data_sets),
        sampler=range(len(SAMPLERS)),
    )
    point = functools.partial(_sample, level=levels(FEATURES), **settings)
    sampled = sweep.run(point, grid, name="posterior", dims={"occupancy": ["phase"]}, block=BLOCK)
    sampled.occupancy.attrs["long_name"] = "share of the posterior's samples in each phase"
    sampled.ess.attrs["long_name"] = "least share of effective particles on any rung"
    sampled.acceptance.attrs["long_name"] = "least mean acceptance on any rung"
    predicted = xr.DataArray(np.array(free_energy), dims=("predictor", "kgon", "term"), name="free_energy")
    return sampled.assign(free_energy=predicted).assign_coords(
        sampler=SAMPLERS, phase=[*PHASES, *OTHER], kgon=list(PHASES), predictor=list(PREDICTORS),
        term=list(prediction.FreeEnergy._fields),
    )  # fmt: skip


def plot(results: xr.Dataset) -> Any:
    """Predicted against observed occupancy of each polygon over n, the crossing, and the samplers' health."""
    from experiments.tms_bayes.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _sample(
    at: dict[str, Array],
    *,
    level: dict[str, float],
    particles: int,
    rungs: int,
    moves: int,
    leapfrogs: int,
    descent: int,
) -> dict[str, Array]:
    """One posterior, sampled once: the share of each phase, and what the sampler says of itself.

    All samplers are one program: chains from the prior are tempered SMC whose ladder is one everywhere.
    """
    key_prior, key_smc = jax.random.split(_key(at, "sampler", "n", "data"))
    data, n, plain = _data(at), at["n"], at["sampler"] == len(SAMPLERS) - 1
    ladder = jnp.where(plain, 1.0, jnp.linspace(0, 1, rungs + 1) ** POWER)
    log_likelihood = lambda params: -n * posterior.empirical_loss(data, params["W"], params["b"])
    begin = posterior.prior(key_prior, particles, HIDDEN, FEATURES)
    sample = posterior.smc(key_smc, begin, log_likelihood, ladder, moves=moves, leapfrogs=leapfrogs)
    phase = jax.vmap(lambda params: posterior.phase(posterior.descend(params, descent), PHASES, level))(sample.params)
    return {
        "occupancy": jnp.bincount(phase, length=len(PHASES) + len(OTHER)) / particles,
        "log_evidence": jnp.where(plain, jnp.nan, sample.log_evidence),
        "ess": jnp.min(sample.ess),
        "acceptance": jnp.where(plain, sample.acceptance[-1], jnp.min(sample.acceptance)),
    }


def _data(at: dict[str, Array]) -> Moments:
    """The data set of a point; the population in its place where the point says so."""
    drawn = posterior.data_set(_key(at, "data"), FEATURES, at["n"], MOST)
    return jnp.where(at["data"] == POPULATION, posterior.population(FEATURES), drawn)


def _key(at: dict[str, Scalar], *names: str) -> Any:
    """A key for the named coordinates of a point."""
    fold = lambda key, name: jax.random.fold_in(key, at[name].astype("int32") + 1)
    return functools.reduce(fold, names, jax.random.key(len(names)))
