"""In which regular figures do equal features share too few dimensions, and does the learning coefficient know them?

Uniform superposition, Elhage et al. 2022 (arXiv 2209.10652): x' = ReLU(W'Wx + b) on features of one importance, over
their density 1 - S. The dimensions a feature, D* = m/|W|^2, are said to stick at 1 and at 1/2, and those of single
features, D_i, to lie on the lines of regular polytopes. lambda-hat stands beside the loss, the Hessian and D*.
"""

import functools
from typing import Annotated, Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float
from typing_extensions import Doc

import slt
import sweeps
import toymodels as tm
from experiments.geometry.case import Case, deviation
from experiments.geometry.report import claims
from experiments.shared.ranges import Count, Positive, Seed, at_least, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "1-2 min on two cores"
SHORT, LONG = slt.Sampling(chains=2, warmup=2, draws=8), slt.Sampling(chains=4, warmup=8, draws=400)
PRESETS = {
    "smoke": dict(features=12, hidden=3, densities=3, steps=60, checkpoints=2, samples=64, leapfrog=2, sampling=SHORT),
    "default": {},
    "paper": dict(features=400, hidden=30, densities=40, sparsest=100.0, steps=50_000, batch_size=1024, samples=65536)
    | dict(sampling=LONG),
}


@checked
def run(
    *,
    features: Annotated[int, between(2, 10**4), Doc("n")] = 100,
    hidden: Annotated[int, between(1, 10**4), Doc("m, dimensions in which they are held")] = 10,
    densities: Annotated[int, between(2, 10**4), Doc("models, evenly spaced in log(1 - S)")] = 20,
    sparsest: Annotated[float, between(1.01, 10**6), Doc("the largest 1/(1 - S); the least is 1")] = 20.0,
    steps: Annotated[Count, Doc("of AdamW")] = 5000,
    batch_size: Annotated[int, between(1, 10**6), Doc("of each step, all examples new")] = 512,
    rate: Annotated[Positive, Doc("learning rate at the start; it falls to 0 as a cosine")] = 2e-3,
    checkpoints: Annotated[int, between(1, 10**5), Doc("kept of each training run, after its start")] = 10,
    samples: Annotated[int, between(2, 10**7), Doc("examples on which loss and lambda-hat are measured")] = 8192,
    nbeta: Annotated[Positive, Doc("n*beta of the chains")] = 3000.0,
    strength: Annotated[Positive, Doc("gamma/nbeta: the curvature from which a direction counts")] = 0.3,
    leapfrog: Annotated[int, between(1, 10**4), Doc("gradients for a draw")] = 12,
    sampling: slt.Sampling = slt.Sampling(chains=2, warmup=8, draws=20),
    seed: Annotated[Seed, Doc("of all random numbers")] = 0,
) -> xr.Dataset:
    """Train one model a density, all at once; read their geometry; estimate lambda-hat of each."""
    at_least(checkpoints, steps=steps)
    if sampling.batch_size is not None:
        raise ValueError(f"got sampling.batch_size={sampling.batch_size}: write None, these chains take all examples")
    grid = over(np.geomspace(1, 1 / sparsest, densities))
    std = deviation(features=features, hidden=hidden, instances=densities)
    case = Case(features, hidden, std, rate, steps, batch_size, seed)
    times = tm.linear_steps(steps, steps // checkpoints)
    runs = sweeps.scan(case.onward, grid, case.begin, times, name="train", block=1)
    last = jax.tree.map(lambda leaf: leaf[:, -1], runs.outputs.params)
    chains: Any = dict(nbeta=nbeta, gamma=strength * nbeta, leapfrog=leapfrog, sampling=sampling)
    estimate = functools.partial(case.estimate, samples=samples, **chains)
    found = sweeps.map(estimate, grid._replace(checkpoint=last), name="llc", block=1)
    found["findings"] = "density", slt.findings(found)
    kept = ["value", "stderr", "findings", "loss_at_centre", "chance", "gaussian", "gaussian_stderr", "slope"]
    attributes = dict(features=features, hidden=hidden, nbeta=nbeta, strength=strength)
    return found[kept].merge(_geometry(runs)).assign_attrs(attributes)


def plot(results: xr.Dataset) -> Any:
    """D* and D_i over the density, and lambda-hat and the loss below them."""
    from experiments.geometry.figure import draw

    return draw(results)


def over(density: Float[np.ndarray, " points"]) -> sweeps.Points:
    """The grid of densities; `instance` is the place of a model in it, from which its random numbers are drawn."""
    density = np.asarray(density, np.float32)
    at = {"density": density, "instance": np.arange(len(density), dtype=np.int32)}
    return sweeps.Points(at, None, {"density": density})


def figures(W: Float[np.ndarray, "hidden features"]) -> np.ndarray:
    """For each feature the name of the figure that its block makes; empty for a dead feature."""
    names = np.full(W.shape[1], "", "<U20")
    for block in tm.blocks(W):
        names[block] = tm.polytope(W[:, block])
    return names


def _geometry(runs: sweeps.Runs) -> xr.Dataset:
    """What is read off the weights of all models: D* over time, the rest at the end."""
    W, density = runs.outputs.params["W"], runs.grid.axes["density"]
    per_feature = jax.jit(jax.vmap(jax.vmap(tm.dimensions_per_feature)))(W)
    D = jax.jit(jax.vmap(tm.dimensionality))(W[:, -1])
    names = np.stack([figures(model) for model in W[:, -1]])
    variables = {
        "dimensionality": (("density", "feature"), np.asarray(D), {"units": "hidden dimensions"}),
        "polytope": (("density", "feature"), names, {"long_name": "figure of a feature's block; empty: it is dead"}),
        "dimensions_per_feature": (("density", "step"), np.asarray(per_feature), {"long_name": "D* = m/|W|^2"}),
    }
    return xr.Dataset(variables, {"density": density, "step": runs.times})
