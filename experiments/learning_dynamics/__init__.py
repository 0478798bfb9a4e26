"""Do a toy model's loss, its geometry and its learning coefficient change at the same moments of training?

The learning dynamics of Elhage et al. 2022 (arXiv 2209.10652). Six features in three dimensions, in two correlated
sets: the model reaches the octahedron through simpler figures, with lambda-hat beside its loss and its geometry at
every checkpoint.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array
from typing_extensions import Doc

import slt
import sweeps
import toymodels as tm
from experiments.learning_dynamics.case import CHAINS, Case, key
from experiments.learning_dynamics.geometry import counted, figure_name
from experiments.learning_dynamics.report import claims
from experiments.shared.coefficient_curves import Setting, curves
from experiments.shared.ranges import Count, Positive, at_least, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "2 min on two cores"
SCALES = 1e-3, 0.03  # standard deviation of the weights at the start, of the first and the last run; even in its log
STRENGTHS = {"localised": 1.0, "loose": 0.01}  # gamma/nbeta; the steepest descent at a saddle is -.36
CURVATURE = 2.2  # of the loss, the largest at any checkpoint: that of the octahedron
STEP = 0.2  # of the chains, in units of 1/(curvature nbeta + gamma)
BLOCK = 32  # estimates at a time on a device

PRESETS = {
    "smoke": dict(seeds=2, steps=600, checkpoints=14, nodes=16, sampling=slt.Sampling(2, 10, 20, thin=2)),
    "default": {},
    "paper": dict(seeds=100, checkpoints=200, nodes=1024, sampling=slt.Sampling(10, 1000, 2000, thin=2)),
}


@checked
def run(
    *,
    seeds: Annotated[int, between(2, 10**5), Doc("training runs")] = 12,
    steps: Annotated[Count, Doc("of SGD of each run")] = 40_000,
    checkpoints: Annotated[
        int, between(8, 10**5), Doc("of each run: the start, and evenly spaced in log(step) from step 10 on")
    ] = 84,
    learning_rate: Annotated[Positive, Doc("of SGD")] = 0.3,
    density: Annotated[float, between(1e-6, 1), Doc("probability that a set of correlated features is active")] = 0.1,
    batch_size: Annotated[Count, Doc("size of a training minibatch")] = 1024,
    nodes: Annotated[Count, Doc("examples for each pattern of active sets in the chains' data, a power of 2")] = 128,
    nbeta: Annotated[Positive, Doc("n*beta of the chains")] = 1e3,
    sampling: slt.Sampling = slt.Sampling(chains=4, warmup=200, draws=400, thin=2),
) -> xr.Dataset:
    """Train; read loss and geometry at every checkpoint, and estimate lambda-hat."""
    at_least(10 * checkpoints, steps=steps)
    case = Case.of(density, nodes, learning_rate=learning_rate, batch_size=batch_size)
    scales = np.geomspace(*SCALES, seeds).astype(np.float32)
    when = tm.union(np.array([0]), np.round(np.geomspace(10, steps, checkpoints - 1)).astype(int))
    grid = sweeps.Points({"seed": np.arange(seeds), "scale": scales}, None, {"run": np.arange(seeds)})
    runs = sweeps.scan(case.onward, grid, case.begin, when, name="octahedron", chunk=25)
    known = tm.correlated_levels(density)
    read = readings(case, runs).assign(known=list(known), figure_loss=("known", list(known.values())))
    settings = {}
    for name, strength in STRENGTHS.items():
        settings[name] = Setting(nbeta, nbeta * strength, STEP / (nbeta * (CURVATURE + strength)))
    how: Any = dict(settings=settings, sampling=sampling, chance=known["nothing"], block=BLOCK)
    chains = lambda at: key(at["seed"], CHAINS)  # the same random numbers for all checkpoints of a run
    llc = curves(tm.correlated_loss, runs, lambda at: case.population, chains, **how)
    return read.merge(llc, compat="equals", join="exact")


def plot(results: xr.Dataset) -> Any:
    """A run to the octahedron in three readings."""
    from experiments.learning_dynamics.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def readings(case: Case, runs: sweeps.Runs) -> xr.Dataset:
    """Loss, dimensionalities, name of the figure, and the Hessian's eigenvalues at every checkpoint."""

    def reading(at: Any, checkpoint: tm.Trajectory) -> dict[str, Array]:
        flat, unravel = ravel_pytree(checkpoint.params)
        mean = lambda w: jnp.mean(tm.correlated_loss(unravel(w), case.population))
        D = counted(checkpoint.params["W"])
        return {"dimensionality": D, "loss": mean(flat), "hessian": jax.hessian(mean)(flat)}

    read = sweeps.map(reading, runs, name="readings", dims={"dimensionality": ("feature",), "hessian": ("i", "j")})
    hessian, each = read.hessian.values, ("run", "step")
    seen = np.isfinite(hessian).all(axis=(-2, -1), keepdims=True)
    curvature = np.where(seen[..., 0], np.linalg.eigvalsh(np.where(seen, hessian, 0)), np.nan)
    names = [figure_name(W) for run in runs.outputs.params["W"] for W in run]
    read = read.assign(curvature=((*each, "direction"), curvature), figure=(each, np.reshape(names, read.loss.shape)))
    read.loss.attrs.update(long_name="population loss", units="E|x - x'|^2")
    read.step.attrs["units"] = "steps of SGD"
    return read.drop_vars("hessian").assign_coords(scale=("run", runs.grid.at["scale"]))
