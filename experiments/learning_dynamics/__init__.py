"""Do a toy model's loss, its geometry and its learning coefficient change at the same moments of training?

The learning dynamics of Elhage et al. 2022 (arXiv 2209.10652). Six features in three dimensions, in two correlated
sets: the model reaches the octahedron through simpler figures, with lambda-hat beside its loss and its geometry at
every checkpoint. Many equal features, without lambda-hat: the dimensionality D_i of a feature jumps between levels.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array
from typing_extensions import Doc

import slt
import sweeps
import toymodels as tm
from experiments.learning_dynamics.cases import CHAINS, Case, equal_features, key, octahedron
from experiments.learning_dynamics.geometry import counted, figure_name
from experiments.learning_dynamics.report import claims
from experiments.shared.coefficient_curves import Setting, curves
from experiments.shared.ranges import Count, Natural, Positive, at_least, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "2 min on two cores"
STRENGTHS = {"localised": 1.0, "loose": 0.01}  # gamma/nbeta; the steepest descent at a saddle is -.36
CURVATURE = 2.2  # of the loss, the largest at any checkpoint: that of the octahedron
STEP = 0.2  # of the chains, in units of 1/(curvature nbeta + gamma)
BLOCK = 32  # estimates at a time on a device

SMALL = dict(seeds=2, steps=600, checkpoints=14, nodes=16, sampling=slt.Sampling(chains=2, warmup=10, draws=20, thin=2))
SMALL_LEVELS = dict(level_seeds=2, level_steps=400, level_every=20, features=8, hidden=2, settle=100)
MANY = dict(seeds=100, checkpoints=200, nodes=1024, sampling=slt.Sampling(chains=10, warmup=1000, draws=2000, thin=2))
MANY_LEVELS = dict(level_seeds=20, level_steps=100_000, level_every=250, features=400, hidden=30)

PRESETS = {"smoke": SMALL | SMALL_LEVELS, "default": {}, "paper": MANY | MANY_LEVELS}


@checked
def run(
    *,
    seeds: Annotated[int, between(2, 10**5), Doc("runs that learn the octahedron")] = 12,
    steps: Annotated[Count, Doc("of SGD of each of them")] = 40_000,
    checkpoints: Annotated[
        int, between(8, 10**5), Doc("of each of them: the start, and evenly spaced in log(step) from step 10 on")
    ] = 84,
    learning_rate: Annotated[Positive, Doc("of SGD")] = 0.3,
    least_scale: Annotated[Positive, Doc("standard deviation of the weights at the start of the first run")] = 1e-3,
    most_scale: Annotated[Positive, Doc("of the last run; between, evenly spaced in its logarithm")] = 0.03,
    density: Annotated[float, between(1e-6, 1), Doc("probability that a set of correlated features is active")] = 0.1,
    batch_size: Annotated[Count, Doc("size of a training minibatch")] = 1024,
    nodes: Annotated[Count, Doc("examples for each pattern of active sets in the chains' data, a power of 2")] = 128,
    nbeta: Annotated[Positive, Doc("n*beta of the chains")] = 1e3,
    sampling: slt.Sampling = slt.Sampling(chains=4, warmup=200, draws=400, thin=2),
    level_seeds: Annotated[int, between(2, 10**5), Doc("runs with many equal features")] = 24,
    level_steps: Annotated[Count, Doc("of Adam of each of them")] = 20_000,
    level_every: Annotated[Count, Doc("steps between two of their checkpoints")] = 100,
    features: Annotated[int, between(1, 10**4), Doc("number of equal features")] = 64,
    hidden: Annotated[int, between(2, 10**4), Doc("dimensions that they share")] = 16,
    settle: Annotated[Natural, Doc("step from which on their jumps are counted: before, all move at once")] = 3000,
) -> xr.Dataset:
    """Train both; estimate lambda-hat along the way to the octahedron."""
    at_least(10 * checkpoints, steps=steps)
    at_least(settle + 10 * level_every, level_steps=level_steps)
    six = octahedron(density, nodes, tx=optax.sgd(learning_rate), batch_size=batch_size)
    scales = np.geomspace(least_scale, most_scale, seeds).astype(np.float32)
    when = tm.union(np.array([0]), np.round(np.geomspace(10, steps, checkpoints - 1)).astype(int))
    grid = sweeps.Points({"seed": np.arange(seeds), "scale": scales}, None, {"run": np.arange(seeds)})
    runs = sweeps.scan(six.onward, grid, six.begin, when, name="octahedron", chunk=25)
    known = tm.correlated_levels(density)
    read = read_octahedron(six, runs).assign(figure_loss=("known", list(known.values())))
    llc = estimates(six, runs, known["nothing"], nbeta, sampling)
    many = equal_features(features, hidden)
    grid = sweeps.product(seed=range(level_seeds), scale=[np.float32(hidden**-0.5 / 10)])
    times = tm.linear_steps(level_steps, level_every)
    levels = read_levels(many, sweeps.scan(many.onward, grid, many.begin, times, name="levels", chunk=25))
    parts = [read.assign_coords(known=list(known)), llc, levels]
    results = xr.merge(parts, compat="equals", join="exact", combine_attrs="drop")
    return results.assign_attrs(settle=settle, hidden=hidden)


def plot(results: xr.Dataset) -> Any:
    """A run to the octahedron in three readings, and the levels of many features."""
    from experiments.learning_dynamics.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def read_octahedron(case: Case, runs: sweeps.Runs) -> xr.Dataset:
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


def estimates(case: Case, runs: sweeps.Runs, chance: float, nbeta: float, sampling: slt.Sampling) -> xr.Dataset:
    """lambda-hat of every checkpoint, localised and loose; the same random numbers for all checkpoints of a run."""
    settings = {}
    for name, strength in STRENGTHS.items():
        settings[name] = Setting(nbeta, nbeta * strength, STEP / (nbeta * (CURVATURE + strength)))
    data, chains = lambda at: case.population, lambda at: key(at["seed"], CHAINS)
    held: dict[str, Any] = dict(settings=settings, sampling=sampling, chance=chance, block=BLOCK)
    return curves(tm.correlated_loss, runs, data, chains, **held)


def read_levels(case: Case, runs: sweeps.Runs) -> xr.Dataset:
    """Loss and dimensionalities of many features at every checkpoint."""

    def reading(at: Any, checkpoint: tm.Trajectory) -> dict[str, Array]:
        W, loss = checkpoint.params["W"], case.loss(checkpoint.params, case.population)
        return {"dimensionality": tm.dimensionality(W), "loss": loss.mean()}

    read = sweeps.map(reading, runs, name="level_readings", dims={"dimensionality": ("feature",)})
    read = read.isel(scale=0, drop=True).drop_vars("seed").rename(seed="run")
    return read.rename({str(name): f"level_{name}" for name in [*read.variables, *read.dims]})
