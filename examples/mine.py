"""How fast does gradient descent forget where it began?

An experiment of one's own: `toymodels examples/mine.py --rate 0.2` runs it with everything that shipped ones have.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from typing_extensions import Doc

import sweeps
from experiments.shared.claims import Claim, median
from experiments.shared.ranges import Count, Positive, checked

COST = "a second"
PRESETS = {"smoke": dict(seeds=2, steps=20), "paper": dict(seeds=100)}


@checked
def run(
    *,
    seeds: Annotated[Count, Doc("runs")] = 8,
    steps: Annotated[Count, Doc("of gradient descent")] = 50,
    rate: Annotated[Positive, Doc("learning rate")] = 0.1,
) -> xr.Dataset:
    """Descend |w|^2 / 2 from random places."""

    def begin(at):
        return jax.random.normal(jax.random.key(at["seed"]), (3,))

    def descend(at, w, times):
        def step(w, _):
            w = w - rate * w
            return w, {"distance": jnp.linalg.norm(w)}

        return jax.lax.scan(step, w, times)

    return sweeps.scan(descend, sweeps.product(seed=range(seeds)), begin, np.arange(steps)).dataset()


def plot(results: xr.Dataset) -> Figure:
    """Distance from the minimum over the steps."""
    figure = Figure()
    figure.subplots().semilogy(results.step, results.distance.transpose("step", "seed"))
    return figure


def claims(results: xr.Dataset) -> list[Claim]:
    """The time constant of the decay."""
    slopes = np.polyfit(results.step, np.log(results.distance.transpose("step", "seed")), 1)[0]
    return [median("steps to forget all but 1/e", -1 / slopes, "1/rate", "about 10", headline=True)]
