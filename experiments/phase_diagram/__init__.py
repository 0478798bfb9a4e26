"""Where does a feature change from ignored to superposed to dedicated, and does the learning coefficient see it?

The phase diagram of Elhage et al. 2022 (arXiv 2209.10652): two features in one dimension and three in two, over the
density of the features and the relative importance of the last one. Ten models a point are trained on the population
loss itself, by quadrature; the best of each fate is kept, and lambda-hat is estimated at the winner and at its
competitors.
"""

from typing import Annotated, Any

import numpy as np
import xarray as xr
from typing_extensions import Doc

import slt
import sweeps
from experiments.phase_diagram import theory
from experiments.phase_diagram.case import Case
from experiments.phase_diagram.report import claims
from experiments.shared.ranges import Count, Positive, Seed, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "1-2 min on two cores"

PRESETS = {
    "smoke": dict(points=3, models=2, steps=60, order=4, sampling=slt.Sampling(chains=2, warmup=2, draws=10)),
    "default": {},
    "paper": dict(points=64, steps=5000, order=16, sampling=slt.Sampling(chains=10, warmup=100, draws=1000)),
}


@checked
def run(
    *,
    points: Annotated[int, between(2, 1000), Doc("values of the density, and of the relative importance")] = 24,
    models: Annotated[Count, Doc("trained at each point; the best of each fate is kept")] = 10,
    steps: Annotated[Count, Doc("of Adam on the population loss")] = 1000,
    rate: Annotated[Positive, Doc("of Adam at the start; it falls to 0 as a cosine")] = 0.05,
    order: Annotated[int, between(1, 64), Doc("of the quadrature in each active feature, training and chains")] = 5,
    nbeta: Annotated[Positive, Doc("n*beta of the chains")] = 1e6,
    gamma: Annotated[Positive, Doc("strength of the localisation of the chains")] = 1.0,
    sampling: slt.Sampling = slt.Sampling(chains=4, warmup=10, draws=100),
    seed: Annotated[Seed, Doc("of all random numbers")] = 0,
) -> xr.Dataset:
    """Train over the plane, keep the best model of each fate, estimate its learning coefficient."""
    s, r = np.geomspace(0.01, 1, points), np.geomspace(0.1, 10, points)
    axes = {"s": s.astype(np.float32), "r": r.astype(np.float32), "model": np.arange(models, dtype=np.int32)}
    at = sweeps.product(**axes)
    at["index"] = np.arange(len(at["s"]), dtype=np.int32) // models
    grid = sweeps.Points(at, None, {"density": s, "importance": r, "model": axes["model"]})
    exact = np.meshgrid(axes["s"].astype(float), axes["r"].astype(float), indexing="ij")
    planes: list[xr.Dataset] = []
    for n in (2, 3):
        case = Case(n, order, seed)
        found = best(case.train(grid, steps, rate))
        llc = case.estimate(found, nbeta=nbeta, gamma=gamma, sampling=sampling)
        plane = found.drop_vars(["W", "b"]).merge(llc).assign(winner=found.loss.argmin("fate"))
        planes.append(plane.assign(predicted=(("density", "importance"), theory.predicted(n, *exact))))
    return xr.concat(planes, xr.Variable("features", [2, 3]))


def best(trained: xr.Dataset) -> xr.Dataset:
    """The best model of each fate at each point; its loss is infinite where no model had it."""
    fates = xr.DataArray(np.arange(len(theory.NAMES)), dims="fate")
    loss = trained.loss.where(trained.own_fate == fates, np.inf)
    chosen = trained.drop_vars(["own_fate", "model"]).isel(model=loss.argmin("model"))
    return chosen.assign(loss=loss.min("model")).assign_coords(fate=list(theory.NAMES))


def plot(results: xr.Dataset) -> Any:
    """The plane by theory, by training, and by lambda-hat."""
    from experiments.phase_diagram.figure import draw

    return draw(results)
