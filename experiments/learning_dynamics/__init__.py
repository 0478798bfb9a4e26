"""Do a toy model's loss, its geometry and its learning coefficient change at the same moments of training?

The learning dynamics of Elhage et al. 2022 (arXiv 2209.10652). Many equal features: the dimensionality D_i of a feature
jumps between levels, and the loss drops. Six features in three dimensions, in two correlated sets: the model reaches the
octahedron through simpler figures. The second has lambda-hat beside its loss and its geometry, at every checkpoint.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key
from typing_extensions import Doc

from experiments import curves, sweep
from experiments.curves import Setting
from experiments.experiment import at_least, positive
from experiments.learning_dynamics.cases import Case, digon_gain, equal_features, figures, octahedron, weighted_loss
from experiments.learning_dynamics.changes import transitions
from experiments.learning_dynamics.report import claims
from toymodels.analysis.features import blocks, dimensionality, polytope
from toymodels.prng import lowbias32
from toymodels.training import TrainState, advance, linear, start, union

__all__ = ["PRESETS", "claims", "plot", "run"]

ALIVE = 0.3  # norm from which a feature counts: half the smallest of a figure, 1/sqrt(3) in the two lines
OVERLAP = (
    0.3  # |cos| from which two features are of one figure: the noise of training leaves .1 between orthogonal ones
)
STRENGTHS = {"localised": 1.0, "weaker": 0.1, "loose": 0.01}  # gamma/nbeta; the steepest descent at a saddle is -.36
STEP = 0.2  # of the chains, in units of 1/(curvature nbeta + gamma)
BLOCK = 32  # estimates at a time on a device

PRESETS = {
    "smoke": dict(
        seeds=2, steps=600, checkpoints=14, nodes=16, chains=2, warmup=10, draws=20,
        level_seeds=2, level_steps=400, level_every=20, features=8, hidden=2, settle=100,
    ),
    "default": {},
    "paper": dict(
        seeds=100, checkpoints=200, nodes=1024, chains=10, warmup=1000, draws=2000,
        level_seeds=20, level_steps=100_000, level_every=250, features=400, hidden=30,
    ),
}  # fmt: skip


def run(
    *,
    seeds: Annotated[int, Doc("runs that learn the octahedron")] = 12,
    steps: Annotated[int, Doc("of SGD of each of them")] = 40_000,
    checkpoints: Annotated[int, Doc("of each of them: the start, and evenly spaced in log(step) from step 10 on")] = 84,
    learning_rate: Annotated[float, Doc("of SGD")] = 0.3,
    least_scale: Annotated[float, Doc("standard deviation of the weights at the start of the first run")] = 1e-3,
    most_scale: Annotated[float, Doc("that of the last run; those between are evenly spaced in its logarithm")] = 0.03,
    density: Annotated[float, Doc("probability that a set of correlated features is active")] = 0.1,
    batch_size: Annotated[int, Doc("size of a training minibatch")] = 1024,
    nodes: Annotated[
        int, Doc("examples for each pattern of active sets in the data of the chains, a power of 2")
    ] = 128,
    nbeta: Annotated[float, Doc("n*beta of the chains")] = 1e3,
    chains: Annotated[int, Doc("chains for an estimate")] = 4,
    warmup: Annotated[int, Doc("steps of SGLD thrown away at the start of each chain")] = 200,
    draws: Annotated[int, Doc("draws of each chain, one every two steps")] = 400,
    level_seeds: Annotated[int, Doc("runs with many equal features")] = 24,
    level_steps: Annotated[int, Doc("of Adam of each of them")] = 20_000,
    level_every: Annotated[int, Doc("steps between two of their checkpoints")] = 100,
    level_rate: Annotated[float, Doc("learning rate of Adam")] = 1e-3,
    level_batch_size: Annotated[int, Doc("size of their minibatch")] = 256,
    features: Annotated[int, Doc("number of equal features")] = 64,
    hidden: Annotated[int, Doc("dimensions that they share")] = 16,
    level_density: Annotated[float, Doc("probability that each of them is active")] = 0.3,
    settle: Annotated[int, Doc("step from which on their jumps are counted: before, everything moves at once")] = 3000,
) -> xr.Dataset:
    """Train both, estimate lambda-hat along the way to the octahedron, find the transitions of every curve."""
    at_least(1, chains=chains, batch_size=batch_size, level_batch_size=level_batch_size)
    at_least(1, level_every=level_every, nodes=nodes)
    at_least(2, seeds=seeds, level_seeds=level_seeds, hidden=hidden)
    at_least(0, warmup=warmup, settle=settle)
    at_least(8, draws=draws, checkpoints=checkpoints)
    at_least(10 * checkpoints, steps=steps)
    at_least(settle + 10 * level_every, level_steps=level_steps)
    positive(learning_rate=learning_rate, least_scale=least_scale, most_scale=most_scale, nbeta=nbeta)
    positive(level_rate=level_rate, density=density, level_density=level_density)
    octa = octahedron(density, nodes)
    many = equal_features(_key(0, "data"), features, hidden, level_density, 4096)
    runs = {"seed": np.arange(seeds), "scale": np.geomspace(least_scale, most_scale, seeds).astype(np.float32)}
    when = union(np.array([0]), np.round(np.geomspace(10, steps, checkpoints - 1)).astype(int))
    params = _train(octa, runs, when, optax.sgd(learning_rate), batch_size, "octahedron")
    results = _octahedron(octa, runs, when, params, figures(density)).merge(
        _estimates(octa, runs, params, figures(density)["nothing"], nbeta, (chains, warmup, draws))
    )
    others = {"seed": np.arange(level_seeds), "scale": np.full(level_seeds, hidden**-0.5 / 10, np.float32)}
    times = linear(level_steps, level_every)
    weights = _train(many, others, times, optax.adam(level_rate), level_batch_size, "levels")
    results = results.merge(_levels(many, times, weights)).assign_attrs(
        density=density, level_density=level_density, settle=settle, digon_gain=digon_gain(level_density), hidden=hidden
    )  # fmt: skip
    return results.merge(transitions(results))


def plot(results: xr.Dataset) -> Any:
    """A run to the octahedron in three readings, the levels of many features, and how the transitions align."""
    from experiments.learning_dynamics.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _key(seed: Array | int, purpose: str) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.key(seed, impl=lowbias32), ("data", "start", "train", "chains").index(purpose))


def _train(
    case: Case,
    runs: dict[str, np.ndarray],
    checkpoints: Int[np.ndarray, " time"],
    tx: optax.GradientTransformation,
    batch_size: int,
    name: str,
) -> dict[str, np.ndarray]:
    """All runs at once, from N(0, scale^2) weights and biases 0: the parameters with axes (run, time)."""

    def begin(point: dict[str, Array]) -> TrainState:
        W = point["scale"] * jax.random.normal(_key(point["seed"], "start"), (case.hidden, case.features))
        return start({"W": W, "b": jnp.zeros(case.features)}, tx)

    def onward(point: dict[str, Array], state: TrainState, stops: Array) -> Any:
        key = _key(point["seed"], "train")
        return advance(key, state, stops, loss=case.loss, task=case.task, tx=tx, batch_size=batch_size)

    state = jax.jit(jax.vmap(begin, out_axes=TrainState._make((None, 0, 0))))(runs)
    return sweep.train(onward, runs, state, checkpoints, name=name, chunk=25).params


def counted(W: Float[Array, "hidden features"]) -> Float[Array, " features"]:
    """D_i of the features that count, 0 of the others: D_i does not feel scale, so that of tiny weights says nothing."""
    norm = jnp.linalg.norm(W, axis=0)
    return jnp.where(norm <= ALIVE, 0, dimensionality(W))


def _octahedron(
    case: Case, runs: dict[str, np.ndarray], checkpoints: np.ndarray, params: Any, levels: dict[str, float]
) -> xr.Dataset:
    """Loss, geometry and Hessian of every checkpoint."""

    def at(p: dict[str, Array]) -> dict[str, Array]:
        flat, unravel = ravel_pytree(p)
        mean = lambda w: jnp.mean(weighted_loss(unravel(w), case.population))
        curvature = jnp.linalg.eigvalsh(jax.hessian(mean)(flat))
        slope = jnp.linalg.norm(jax.grad(mean)(flat))
        return {"D": counted(p["W"]), "loss": mean(flat), "curvature": curvature, "slope": slope}

    known = {name: np.asarray(leaf) for name, leaf in jax.jit(jax.vmap(jax.vmap(at)))(params).items()}
    singular = np.linalg.svd(np.nan_to_num(params["W"], posinf=0, neginf=0), compute_uv=False)
    names = [[figure_name(W) for W in run] for run in params["W"]]
    time, each = ("run", "time"), ("run", "time", "feature")
    variables = {
        "loss": (time, known["loss"], {"long_name": "population loss", "units": "E|x - x'|^2"}),
        "slope": (time, known["slope"], {"long_name": "|grad L|"}),
        "curvature": ((*time, "direction"), known["curvature"], {"long_name": "eigenvalues of the Hessian of L"}),
        "dimensionality": (each, known["D"], {"units": "hidden dimensions"}),
        "W": ((*time, "dimension", "feature"), params["W"]),
        "singular": ((*time, "dimension"), singular, {"long_name": "singular values of W"}),
        "figure": (time, np.array(names, dtype=str), {"long_name": "figure read off W"}),
        "figure_loss": ("known", list(levels.values()), {"units": "E|x - x'|^2", "long_name": "levels of the theory"}),
    }
    coordinates = {
        "step": ("time", checkpoints, {"units": "steps of SGD"}),
        "seed": ("run", runs["seed"]),
        "scale": ("run", runs["scale"]),
        "known": list(levels),
    }
    return xr.Dataset(variables, coordinates)


NAMED = {
    "": "nothing",
    "6/1": "one line",
    "3/1 + 3/1": "two lines",
    "hexagon": "hexagon",
    "digon + digon + digon": "octahedron",
}


def figure_name(W: Float[np.ndarray, "hidden features"]) -> str:
    """The figure of one model: its blocks' names, largest first; `two lines` is each set merged on its own line."""
    if not np.isfinite(W).all():
        return "nan"
    name = " + ".join(polytope(W[:, block]) for block in blocks(W, OVERLAP))
    return NAMED.get(name, name)


def _estimates(
    case: Case, runs: dict[str, np.ndarray], params: Any, chance: float, nbeta: float, length: tuple[int, int, int]
) -> xr.Dataset:
    """lambda-hat of every checkpoint, loose and localised; the same random numbers for all checkpoints of a run."""
    chains, warmup, draws = length
    curvature = 2.2  # the largest at any checkpoint, that of the octahedron
    setting = lambda strength: Setting(nbeta, nbeta * strength, STEP / (nbeta * (curvature + strength)))
    return curves.curves(
        functools.partial(_key, purpose="chains"),
        weighted_loss,
        params,
        lambda seed: case.population,
        seeds=runs["seed"],
        settings={name: setting(strength) for name, strength in STRENGTHS.items()},
        chains=chains,
        warmup=warmup,
        draws=draws,
        thin=2,
        chance=chance,
        block=BLOCK,
    )


def _levels(case: Case, checkpoints: np.ndarray, params: Any) -> xr.Dataset:
    """Loss and dimensionalities of many features at every checkpoint, and the figures at the end."""

    def at(p: dict[str, Array]) -> dict[str, Array]:
        return {"D": dimensionality(p["W"]), "loss": jnp.mean(case.loss(p, case.population))}

    known = jax.jit(lambda params: jax.lax.map(lambda run: jax.lax.map(at, run), params))(params)
    time, each = ("level_run", "level_time"), ("level_run", "level_time", "level_feature")
    last = [", ".join(polytope(W[:, block]) for block in blocks(W, OVERLAP)) for W in np.nan_to_num(params["W"][:, -1])]
    return xr.Dataset(
        {
            "level_loss": (time, np.asarray(known["loss"]), {"units": "E|x - x'|^2"}),
            "level_dimensionality": (each, np.asarray(known["D"]), {"units": "hidden dimensions"}),
            "level_figures": ("level_run", np.array(last, dtype=str), {"long_name": "figures at the end"}),
        },
        {"level_step": ("level_time", checkpoints, {"units": "steps of Adam"})},
    )
