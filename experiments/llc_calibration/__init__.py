"""How near are estimates of the learning coefficient to the truth, where the truth is known?

Deep linear networks of the class of Furman and Lau 2024 (arXiv 2402.03698), whose learning coefficient at a particular
point is known exactly (`slt.strata`): SGHMC, with the step size that makes the stiffest direction's part 5 % too large,
and gamma growing as sqrt(n). Eight samplers on small models whose estimate at finite nbeta is known. And a ReLU network
under W_1 c, W_2/c, which changes the weights and not the function.
"""

from typing import Annotated, Any, Literal

import xarray as xr
from typing_extensions import Doc

import slt
from experiments.llc_calibration.networks import deep_linear
from experiments.llc_calibration.report import claims
from experiments.llc_calibration.small import LEAPFROG, SAMPLERS, compare, rescaling
from experiments.shared.ranges import Count, Natural, Positive, at_least, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "8-10 min on two cores"

PRESETS = {
    "smoke": dict(networks=1, depths=(2,), widest=8, sampling=slt.Sampling(chains=1, warmup=40, draws=20))
    | dict(samplers=("sgld",), repeats=2, budget=100, rescale_draws=0),
    "default": {},
    "paper": dict(networks=100, sampling=slt.Sampling(2, 5000, 1000, thin=50), repeats=32, budget=100_000),
}


@checked
def run(
    *,
    networks: Annotated[Count, Doc("deep linear networks of each depth")] = 12,
    depths: Annotated[tuple[Annotated[int, between(2, 20)], ...], Doc("numbers of layers of these")] = (2, 3, 4, 5),
    widest: Annotated[int, between(5, 1000), Doc("largest layer; the smallest has five units")] = 50,
    samples: Annotated[float, between(3, 1e12), Doc("n of these, beside the 1e5 of the source")] = 1e8,
    gamma: Annotated[Positive, Doc("localisation of these at n = 1e5; it grows as sqrt(n)")] = 30.0,
    sampling: slt.Sampling = slt.Sampling(chains=2, warmup=2000, draws=300, thin=10),
    samplers: Annotated[
        tuple[Literal["sgld", "rmsprop_sgld", "adam_sgld", "sghmc", "sgnht", "mala", "hmc", "nuts"], ...],
        Doc("samplers to compare"),
    ] = tuple(SAMPLERS),  # type: ignore[assignment]
    repeats: Annotated[int, between(2, 10**6), Doc("estimates of each small model with each sampler")] = 8,
    budget: Annotated[
        int, between(8 * (LEAPFROG + 1), 10**9), Doc("gradients of each chain of these, after a quarter of warm-up")
    ] = 10_000,
    rescale_draws: Annotated[Natural, Doc("draws of each chain of the rescaled networks; 0: none of them")] = 1000,
) -> xr.Dataset:
    """Deep linear networks at two sizes of the data set, the samplers, the rescaled network."""
    at_least(8, draws=sampling.draws, rescale_draws=rescale_draws or 8)
    parts = [deep_linear(depths, networks, widest, samples=samples, gamma=gamma, sampling=sampling)]
    parts.append(compare(samplers, repeats, budget))
    if rescale_draws:
        parts.append(rescaling(rescale_draws))
    return xr.merge(parts)


def plot(results: xr.Dataset) -> Any:
    """Estimates over the truth: of the networks beside the Gaussian at w*, and of each sampler."""
    from experiments.llc_calibration.figure import draw

    return draw(results)
