"""Does a walker that is drawn back stay near the origin?

The smallest experiment that has all parts; the tests of the command line run it as a file of the user's own.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from typing_extensions import Doc

import sweeps
from experiments.shared.claims import Claim, mean
from experiments.shared.ranges import Count, Positive, Seed, Share, checked

COST = "a second"


class Walk(NamedTuple):
    """How long a walk is."""

    steps: Count = 30
    thin: Count = 1


WALK = Walk()
PRESETS = {"smoke": dict(seeds=2, walk=Walk(steps=10)), "paper": dict(seeds=64)}


@checked
def run(
    *,
    seeds: Annotated[Count, Doc("walkers")] = 4,
    first: Annotated[Seed, Doc("seed of the first")] = 0,
    scale: Annotated[Positive, Doc("of a step")] = 1.0,
    pull: Annotated[Share, Doc("share of the way that a step goes back")] = 0.2,
    walk: Annotated[Walk, Doc("its length")] = WALK,
) -> xr.Dataset:
    """Walk, and look where the walkers are."""

    def begin(at):
        return jnp.zeros(2)

    def onward(at, place, times):
        def step(place, time):
            key = jax.random.fold_in(jax.random.key(at["seed"]), time)
            place = (1 - pull) * place + scale * jax.random.normal(key, (2,))
            return place, {"distance": jnp.linalg.norm(place)}

        return jax.lax.scan(step, place, times)

    grid = sweeps.product(seed=np.arange(first, first + seeds))
    runs = sweeps.scan(onward, grid, begin, np.arange(walk.steps) * walk.thin, name="walk")
    return sweeps.map(lambda at, seen: {"distance": seen["distance"]}, runs, name="read")


def plot(results: xr.Dataset) -> Figure:
    """Distances over time."""
    figure, axis = plt.subplots()
    axis.plot(results.step, results.distance.transpose("step", ...))
    plt.close(figure)
    return figure


def claims(results: xr.Dataset) -> list[Claim]:
    """Near, and how near at first."""
    last, start = results.distance.isel(step=-1), results.distance.isel(step=0)
    return [
        mean("the walker leaves the origin", last, "the tests", "> 0", sign=1, headline=True),
        mean("distance after one step", start, "asked here"),
        Claim("what cannot be measured", "asked here", "-", np.nan),
    ]
