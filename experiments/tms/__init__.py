"""Does the learning coefficient mark, or foretell, the moments when a toy model of superposition changes its polygon?

The dynamical phase transitions of Chen, Lau, Mendel, Wei and Murfet 2023 (arXiv 2310.06301): six features in two
dimensions, x = mu e_j, SGD from a square. Training moves between k-gons; the loss falls and lambda-hat rises at each
step, "opposing staircases". Three independent readings of the same checkpoints are held against each other: the loss,
lambda-hat, and the polygon read off the weights.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Key
from typing_extensions import Doc

from experiments import sweep
from experiments.experiment import at_least, multiple, positive
from experiments.tms.report import SETTLE, claims
from slt.diagnostics import verdict
from slt.estimate import LLC, estimate_llc
from slt.phases import change_points
from slt.samplers.langevin import sgld
from toymodels.analysis.features import LIVE, geometry, kgon, transitions
from toymodels.models.autoencoder import Autoencoder
from toymodels.prng import implementation
from toymodels.task import Batch, finite, objective
from toymodels.tasks.superposition import levels, one_sparse, polygon, potential
from toymodels.training import TrainState, Trajectory, advance, linear, start

__all__ = ["PRESETS", "claims", "plot", "run"]

FEATURES, HIDDEN = 6, 2
LOSS_NOISE = 1 / (8 * FEATURES**2)  # half the smallest distance between two levels, that of k and k+
BLOCK = 16  # estimates at a time on a device: their chains fit a core's cache, twice as many run a third slower
Keys = Callable[[Any, Literal["data", "start", "train", "chains"]], Key[Array, ""]]  # of a seed, for a purpose
MODEL, TASK = Autoencoder(FEATURES, HIDDEN), one_sparse(FEATURES)
LOSS = objective(MODEL, TASK)
CHANCE = 1 / 3 - 1 / (4 * FEATURES)  # loss of the best constant prediction

PRESETS = {
    "smoke": dict(seeds=2, epochs=240, watch=8, horizon=300, read=60, patience=2, chains=2, warmup=10, draws=20),
    "default": {},
    "paper": dict(seeds=100, watch=1000, chains=10, draws=1000),
}


def run(
    *,
    seeds: Annotated[int, Doc("runs with a curve, for each of the two bias initialisations: zero, normal")] = 12,
    epochs: Annotated[int, Doc("length of the curves; an epoch is samples/batch_size steps")] = 4500,
    every: Annotated[int, Doc("epochs between two checkpoints")] = 30,
    watch: Annotated[int, Doc("runs from zero biases that are watched for leaving the square")] = 96,
    horizon: Annotated[int, Doc("epoch up to which they are watched")] = 6000,
    read: Annotated[int, Doc("epoch at which the forecast is made, a multiple of `every`")] = 360,
    patience: Annotated[int, Doc("how many times longer the chains of the forecast are than those of the curves")] = 10,
    samples: Annotated[int, Doc("size n of each run's data set; n*beta is n/ln n")] = 1000,
    batch_size: Annotated[int, Doc("size of a training minibatch")] = 20,
    learning_rate: Annotated[float, Doc("of SGD")] = 5e-3,
    noise: Annotated[float, Doc("standard deviation of the noise on the square at the start")] = 0.01,
    gamma: Annotated[float, Doc("strength of the localisation of the chains")] = 1.0,
    step_size: Annotated[float, Doc("epsilon of SGLD")] = 1e-3,
    chains: Annotated[int, Doc("chains for an estimate")] = 4,
    warmup: Annotated[int, Doc("steps thrown away at the start of each chain")] = 100,
    draws: Annotated[int, Doc("draws of each chain")] = 400,
    prng: Annotated[
        str, Doc("generator of all random numbers: threefry2x32, lowbias32 (faster), or another of JAX's")
    ] = "threefry2x32",
) -> xr.Dataset:
    """Train, estimate the learning-coefficient curves, find the transitions, read early who will leave the square."""
    at_least(1, seeds=seeds, every=every, watch=watch, batch_size=batch_size, chains=chains, patience=patience)
    at_least(0, read=read, warmup=warmup)
    at_least(2, samples=samples)
    at_least(8, draws=draws)
    positive(learning_rate=learning_rate, gamma=gamma, step_size=step_size)
    at_least(8 * every, epochs=epochs)  # a shorter curve cannot hold a transition
    at_least(max(epochs, read), horizon=horizon)
    multiple(every, epochs=epochs, read=read)
    multiple(batch_size, samples=samples)

    keys = functools.partial(_key, implementation(prng))
    per_epoch = samples // batch_size
    runs = _runs(seeds, watch)
    checkpoints = linear(horizon * per_epoch, every * per_epoch)
    params = _train(
        keys, runs, checkpoints, noise=noise, samples=samples, learning_rate=learning_rate, batch_size=batch_size
    ).params

    nbeta = samples / np.log(samples)
    estimator = functools.partial(
        _estimator, keys, samples=samples, nbeta=nbeta, gamma=gamma, step_size=step_size, chains=chains
    )
    rows = lambda tree, index: jax.tree.map(lambda leaf: leaf[index], tree)
    curve, watched = np.flatnonzero(runs["seed"] < seeds), np.flatnonzero(runs["bias_scale"] == 0)[:watch]
    until = rows(params, (slice(None), slice(epochs // every + 1)))
    results = _curves(rows(runs, curve), rows(until, curve), every, estimator(warmup=warmup, draws=draws))
    patient = estimator(warmup=patience * warmup, draws=patience * draws)
    early = _forecast(rows(runs, watched), rows(params, watched), read // every, patient)
    return results.merge(early).assign_attrs(
        nbeta=nbeta, gamma=gamma, every=every, read=read, horizon=horizon, samples=samples
    )


def plot(results: xr.Dataset) -> Any:
    """Three runs with their polygons, and the comparison over all runs."""
    from experiments.tms.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _runs(seeds: int, watch: int) -> dict[str, np.ndarray]:
    """The training runs: max(seeds, watch) from zero biases, then `seeds` from normal ones; seeds 0, 1, ... each."""
    zero = sweep.product(bias_scale=[0.0], seed=range(max(seeds, watch)))
    normal = sweep.product(bias_scale=[1.0], seed=range(seeds))
    return {name: np.concatenate([zero[name], normal[name]]) for name in zero}


def _key(prng: Any, seed: Array | int, purpose: Literal["data", "start", "train", "chains"]) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.key(seed, impl=prng), ("data", "start", "train", "chains").index(purpose))


def _start(keys: Keys, point: dict[str, Array], noise: float, tx: optax.GradientTransformation) -> TrainState:
    """The square with N(0, noise^2) on W, and biases zero or N(0, 1)."""
    key_W, key_b = jax.random.split(keys(point["seed"], "start"))
    W = polygon(4, FEATURES)[0] + noise * jax.random.normal(key_W, (HIDDEN, FEATURES))
    return start({"W": W, "b": point["bias_scale"] * jax.random.normal(key_b, (FEATURES,))}, tx)


def _train(
    keys: Keys,
    runs: dict[str, np.ndarray],
    checkpoints: np.ndarray,
    *,
    noise: float,
    samples: int,
    learning_rate: float,
    batch_size: int,
) -> Trajectory:
    """All the runs at once; each has a data set of its own."""
    tx = optax.sgd(learning_rate)

    def train_on(point: dict[str, Array], state: TrainState, stops: Array) -> tuple[TrainState, Trajectory]:
        task = finite(TASK, TASK.sample(keys(point["seed"], "data"), samples))
        return advance(keys(point["seed"], "train"), state, stops, loss=LOSS, task=task, tx=tx, batch_size=batch_size)

    state = jax.jit(jax.vmap(lambda point: _start(keys, point, noise, tx), out_axes=TrainState._make((None, 0, 0))))(
        runs
    )
    return sweep.train(train_on, runs, state, checkpoints)


def _estimator(
    keys: Keys, *, samples: int, nbeta: float, gamma: float, step_size: float, chains: int, warmup: int, draws: int
) -> Any:
    """One point: lambda-hat at (W, b) on its run's data set, with the run's key, the same at every checkpoint."""

    def point(p: dict[str, Array]) -> LLC:
        data: Batch = TASK.sample(keys(p["seed"], "data"), samples)
        params, sampler = {"W": p["W"], "b": p["b"]}, sgld(step_size)
        return estimate_llc(
            keys(p["seed"], "chains"),
            LOSS,
            params,
            data,
            sampler,
            nbeta=nbeta,
            gamma=gamma,
            chains=chains,
            warmup=warmup,
            draws=draws,
            chance=CHANCE,
        )

    return point


def _curves(runs: dict[str, np.ndarray], params: dict[str, np.ndarray], every: int, estimator: Any) -> xr.Dataset:
    """Everything known of each checkpoint of each run, and the transitions in each of the three readings."""
    W, b = params["W"], params["b"]
    shape = W.shape[:2]
    points = {name: leaf.reshape(-1, *leaf.shape[2:]) for name, leaf in params.items()}
    points["seed"] = np.repeat(runs["seed"], shape[1])
    llc = _llc(sweep.run(estimator, points, name="llc", block=BLOCK))
    loss = np.asarray(jax.jit(jax.vmap(jax.vmap(potential)))(W, b))
    shapes = jax.tree.map(np.asarray, jax.jit(jax.vmap(jax.vmap(geometry)))(W, b))
    names = np.array([[kgon(*model) for model in zip(*run, strict=True)] for run in zip(W, b, strict=True)])
    theory = levels(FEATURES)
    distance = np.abs(loss[..., None] - np.array(list(theory.values())))
    nearest = np.nan_to_num(distance, nan=np.inf).argmin(-1)

    time, feature = ("run", "epoch"), ("run", "epoch", "feature")
    estimates = {
        name: (time, np.reshape(getattr(llc, name), shape), {"units": units}) for name, units in _LLC_UNITS.items()
    }
    variables = estimates | {
        "loss": (time, loss, {"long_name": "exact population loss", "units": "E|x - x'|^2"}),
        "W": (("run", "epoch", "hidden", "feature"), W),
        "b": (feature, b),
        "kgon": (time, names, {"long_name": "polygon read off W and b"}),
        "level": (time, np.array(list(theory))[nearest], {"long_name": "level of the theory nearest to the loss"}),
        "level_distance": (time, distance.min(-1), {"units": "E|x - x'|^2"}),
        "norm": (feature, shapes.norm),
        "angle": (feature, shapes.angle, {"units": "radians"}),
        "dimensionality": (feature, shapes.dimensionality, {"units": "hidden dimensions"}),
        "interference": (feature, shapes.interference),
        "dimensions_per_feature": (time, shapes.dimensions_per_feature, {"units": "hidden dimensions"}),
        "findings": (time, _findings(llc, shape), {"long_name": "what verdict says of lambda-hat"}),
        "level_loss": ("theory", np.array(list(theory.values())), {"units": "E|x - x'|^2"}),
    }
    coordinates = {
        "epoch": ("epoch", every * np.arange(shape[1]), {"units": "epochs"}),
        "init": ("run", np.where(runs["bias_scale"] == 0, "zero", "normal")),
        "seed": ("run", runs["seed"]),
        "theory": list(theory),
    }
    results = xr.Dataset(variables, coordinates)
    return results.merge(_transitions(results))


def _llc(estimates: xr.Dataset) -> LLC:
    return LLC._make(estimates[name].values for name in LLC._fields)


_LLC_UNITS = {
    "value": "1", "stderr": "1", "ess": "draws", "rhat": "1", "acceptance": "probability", "loss_at_centre": "mean |x - x'|^2", "mean_loss": "mean |x - x'|^2",
}  # fmt: skip


def _findings(llc: LLC, shape: tuple[int, int]) -> np.ndarray:
    """The kinds of trouble `verdict` finds with each estimate."""
    kinds = [", ".join(line.split(":")[0] for line in verdict(LLC(*one))) for one in zip(*llc, strict=True)]
    return np.array(kinds, dtype=str).reshape(shape)


def _transitions(results: xr.Dataset) -> xr.Dataset:
    """The jump at each transition, NaN elsewhere; for the curves also the interval of its place, in checkpoints."""
    names = [
        "loss_jump",
        "llc_jump",
        "kgon_jump",
        *(f"{c}_jump_{end}" for c in ("loss", "llc") for end in ("low", "high")),
    ]
    found = {name: np.full(results.loss.shape, np.nan) for name in names}
    noise = {"loss": np.full(results.loss.shape, LOSS_NOISE), "llc": results.stderr.values}
    for r, labels in enumerate(results.kgon.values):
        for name, curve in (("loss", results.loss.values), ("llc", results.value.values)):
            for c in change_points(curve[r, SETTLE:], noise[name][r, SETTLE:]):
                at = r, SETTLE + c.index
                found[f"{name}_jump"][at] = c.jump
                found[f"{name}_jump_low"][at], found[f"{name}_jump_high"][at] = SETTLE + c.low, SETTLE + c.high
        for i in transitions(labels[SETTLE:].tolist()):
            found["kgon_jump"][r, SETTLE + i] = (
                results.loss.values[r, SETTLE + i] - results.loss.values[r, SETTLE + i - 1]
            )
    return xr.Dataset({name: (("run", "epoch"), values) for name, values in found.items()})


def _forecast(runs: dict[str, np.ndarray], params: dict[str, np.ndarray], read: int, estimator: Any) -> xr.Dataset:
    """What is known of each run at checkpoint `read`, and whether it has more than four vertices later."""
    W, b = params["W"], params["b"]
    points = {"seed": runs["seed"], "W": W[:, read], "b": b[:, read]}
    llc = _llc(sweep.run(estimator, points, name="forecast", block=BLOCK))
    norm = np.linalg.norm(W, axis=2)
    vertices = np.sum(norm > LIVE, axis=2)
    variables = {
        "on_square": vertices[:, read] == 4,
        "leaves": (vertices[:, read:] > 4).any(axis=1),
        "read_llc": llc.value,
        "read_stderr": llc.stderr,
        "read_ess": llc.ess,
        "read_loss": np.asarray(jax.jit(jax.vmap(potential))(W[:, read], b[:, read])),
        "read_empirical_loss": llc.loss_at_centre,
        "read_dead_norm": np.sort(norm[:, read], axis=1)[:, FEATURES - 5],
    }
    return xr.Dataset({name: ("watched", np.asarray(values)) for name, values in variables.items()})
