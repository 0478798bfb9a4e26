"""Where does a feature change from ignored to superposed to dedicated, and does the learning coefficient see it?

The phase diagram of Elhage et al. 2022 (arXiv 2209.10652): two features in one dimension and three in two, over the
density of the features and the relative importance of the last one. Ten models a point are trained on the population
loss itself, by quadrature; the best of each fate is kept, and lambda-hat is estimated at the winner and at its
competitors.

The default preset finds the boundaries of the closed form, within half a cell in the median, and the triple point; the
free minima keep a pair a little longer than the prototypes do, for n = 3 and r > 1 by a cell. lambda-hat does not see the
boundaries: winners are regular minima on both sides, and it is half the number of directions. Where it is more (a ridge
at densities below 0.1, which n*beta = 1e6 has not passed) the loss is no quadratic at the width of the chains: the
Hessian has nothing of it.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float, Int, Scalar
from typing_extensions import Doc

from experiments import sweep
from experiments.experiment import at_least, positive
from experiments.phase_diagram.report import claims
from experiments.phase_diagram.theory import (
    CONFUSED,
    DEDICATED,
    IGNORED,
    MINIMA,
    NAMES,
    SUPERPOSED,
    predicted,
    prototypes,
)
from slt.curvature import hessian
from slt.estimate import estimate_llc
from slt.samplers.hamiltonian import hmc
from toymodels.analysis.features import interference
from toymodels.task import Batch, Params, Task
from toymodels.tasks.superposition import quadrature
from toymodels.training import TrainState, Trajectory, advance, start

__all__ = ["PRESETS", "claims", "plot", "run"]

BLOCK = 64  # models at a time on a device
FINE = 24  # order of the quadrature with which losses are compared
LEAPFROG = 10  # steps of a draw: thirty are no better
SPLIT = 0.3, 0.7  # a norm below is an ignored feature, one above a kept one, one between is confused

PRESETS = {
    "smoke": dict(points=3, models=2, steps=60, order=4, chains=2, draws=10, warmup=2),
    "default": {},
    "paper": dict(points=64, steps=5000, order=16, chains=10, draws=1000, warmup=100),
}


def run(
    *,
    points: Annotated[int, Doc("values of the density, and of the relative importance")] = 24,
    models: Annotated[int, Doc("trained at each point; the best of each fate is kept")] = 10,
    steps: Annotated[int, Doc("of Adam on the population loss")] = 1000,
    rate: Annotated[float, Doc("of Adam at the start; it falls to 0 as a cosine")] = 0.05,
    order: Annotated[int, Doc("of the quadrature in each active feature, in training and in the chains")] = 5,
    nbeta: Annotated[float, Doc("n*beta of the chains")] = 1e6,
    gamma: Annotated[float, Doc("strength of the localisation of the chains")] = 1.0,
    chains: Annotated[int, Doc("chains for an estimate")] = 4,
    warmup: Annotated[int, Doc("steps of Hamiltonian Monte Carlo thrown away at the start of each chain")] = 10,
    draws: Annotated[int, Doc("draws of each chain")] = 100,
    seed: Annotated[int, Doc("of all random numbers")] = 0,
) -> xr.Dataset:
    """Train over the plane, keep the best model of each fate, estimate its learning coefficient."""
    at_least(2, points=points)
    at_least(1, models=models, steps=steps, order=order, chains=chains)
    at_least(0, warmup=warmup)
    at_least(8, draws=draws)
    positive(rate=rate, nbeta=nbeta, gamma=gamma)
    training = dict(models=models, steps=steps, rate=rate, order=order, seed=seed)
    sampling = dict(nbeta=nbeta, gamma=gamma, chains=chains, warmup=warmup, draws=draws, order=order, seed=seed)
    (two, known), (three, _) = (_diagram(n, points, training, sampling) for n in (2, 3))
    return xr.concat([two, three], xr.Variable("features", [2, 3])).assign(known_minimum=("known", known))


def plot(results: xr.Dataset) -> Any:
    """The plane by theory, by training, and by lambda-hat."""
    from experiments.phase_diagram.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def population_loss(params: Params, batch: Batch) -> Float[Array, " nodes"]:
    """One number for each node of the quadrature, whose mean is E sum_i I_i (x_i - x'_i)^2; y holds the weights I_i w."""
    predict = lambda x: jax.nn.relu(params["W"].T @ (params["W"] @ x) + params["b"])
    return jnp.sum(batch.y * (batch.x - jax.vmap(predict)(batch.x)) ** 2, axis=1)


def _nodes(features: int, s: Scalar, r: Scalar, order: int) -> Batch:
    x, weight = quadrature(features, s, order)
    importance = jnp.ones(features).at[-1].set(r)
    return Batch(x, len(weight) * weight[:, None] * importance[None])


def _points(s: Float[np.ndarray, " k"], r: Float[np.ndarray, " k"]) -> dict[str, np.ndarray]:
    return {"s": np.asarray(s, np.float32), "r": np.asarray(r, np.float32), "index": np.arange(len(s), dtype=np.int32)}


def _train(
    features: int, at: dict[str, np.ndarray], *, models: int, steps: int, rate: float, order: int, seed: int
) -> xr.Dataset:
    """`models` models at each point: W, b, and the loss by the fine quadrature."""
    tx, count = optax.adam(optax.cosine_decay_schedule(rate, steps)), len(at["s"])
    grid = {key: np.repeat(values, models) for key, values in at.items()}
    grid |= {"model": np.tile(np.arange(models, dtype=np.int32), count)}

    def begin(p: dict[str, Array]) -> TrainState:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), p["index"]), p["model"])
        key_W, key_b = jax.random.split(key)
        W = jax.random.normal(key_W, (features - 1, features)) / jnp.sqrt(features - 1)
        return start({"W": W, "b": 0.1 * jax.random.normal(key_b, (features,))}, tx)

    def onward(p: dict[str, Array], state: TrainState, stops: Array) -> tuple[TrainState, Trajectory]:
        batch = _nodes(features, p["s"], p["r"], order)
        exact = Task(lambda key, n: batch, lambda prediction, y: prediction)  # every minibatch is the population
        unused = jax.random.key(seed)
        return advance(unused, state, stops, loss=population_loss, task=exact, tx=tx, batch_size=1)

    state, stops = jax.jit(jax.vmap(begin, out_axes=TrainState._make((None, 0, 0))))(grid), np.array([steps], np.int32)
    params = sweep.train(onward, grid, state, stops, name=f"{features} features", chunk=1, block=BLOCK).params
    last = {key: leaf[:, -1] for key, leaf in params.items()}
    loss = _fine_loss(features, grid | last)
    fold = lambda leaf: np.reshape(leaf, (count, models, *leaf.shape[1:]))
    return xr.Dataset(
        {
            "W": (("point", "model", "hidden", "feature"), fold(last["W"])),
            "b": (("point", "model", "feature"), fold(last["b"])),
            "loss": (("point", "model"), fold(loss)),
        }
    )


def _fine_loss(features: int, models: dict[str, np.ndarray]) -> np.ndarray:
    """The loss of each model by a quadrature much finer than that of its training."""
    order = FINE if features == 2 else FINE // 2
    one = lambda p: jnp.mean(population_loss({"W": p["W"], "b": p["b"]}, _nodes(features, p["s"], p["r"], order)))
    return sweep.run(one, models, name=f"{features} features loss", block=BLOCK)["result"].values


def fate(W: Float[Array, "hidden features"]) -> Int[Array, ""]:
    """What becomes of the last feature: `NAMES`. Superposed: half of another feature or more is read on its direction."""
    norm = jnp.linalg.norm(W, axis=0)
    unclear = jnp.any((norm > SPLIT[0]) & (norm < SPLIT[1]))
    kept = jnp.where(interference(W)[-1] >= 0.5, SUPERPOSED, DEDICATED)
    return jnp.where(unclear, CONFUSED, jnp.where(norm[-1] < SPLIT[0], IGNORED, kept))


def _best(trained: xr.Dataset) -> xr.Dataset:
    """The best model of each fate at each point; its loss is infinite where no model had it."""
    W, loss = trained["W"].values, trained["loss"].values
    fates = np.asarray(jax.jit(jax.vmap(jax.vmap(fate)))(W))
    masked = np.where(fates[..., None] == np.arange(len(NAMES)), loss[..., None], np.inf)
    best = xr.DataArray(masked.argmin(axis=1), dims=("point", "fate"))
    chosen = trained.isel(model=best)
    norm = np.linalg.norm(chosen["W"].transpose("point", "fate", "hidden", "feature").values, axis=2)
    each = ("point", "fate")
    return chosen.assign(loss=(each, masked.min(axis=1)), kept=(each, np.sum(norm > SPLIT[1], axis=-1)))


def _estimate(
    features: int,
    best: xr.Dataset,
    at: dict[str, np.ndarray],
    *,
    order: int,
    seed: int,
    **settings: Any,
) -> dict[str, np.ndarray]:
    """lambda-hat of every model in `best`, and what its Hessian alone says; NaN where there is none."""
    nbeta, gamma = settings["nbeta"], settings["gamma"]
    exists = np.isfinite(best["loss"].values)
    where, which = np.nonzero(exists)
    models = {name: best[name].values[where, which] for name in ("W", "b")}
    models |= {name: at[name][where] for name in ("s", "r")}

    def curvature(p: dict[str, Array]) -> Array:
        params, batch = {"W": p["W"], "b": p["b"]}, _nodes(features, p["s"], p["r"], order)
        return hessian(population_loss, params, batch)

    H = sweep.run(curvature, models, name=f"{features} features hessian", block=BLOCK)["result"].values
    h = np.linalg.eigvalsh(H.astype(float))  # on the host: LAPACK inside of programs on two devices may lock them
    held = nbeta * h + gamma
    gaussian = np.where((held > 0).all(1), np.sum(nbeta * h / held, axis=1) / 2, np.nan)

    def point(p: dict[str, Array]) -> dict[str, Array]:
        params, batch = {"W": p["W"], "b": p["b"]}, _nodes(features, p["s"], p["r"], order)
        sampler = hmc(1 / (nbeta * p["top"] + gamma), leapfrog=LEAPFROG)
        llc = estimate_llc(jax.random.key(seed), population_loss, params, batch, sampler, **settings)
        return {name: getattr(llc, name) for name in ("value", "stderr", "ess", "rhat", "acceptance")}

    models |= {"top": h[:, -1].astype(np.float32)}
    found = sweep.run(point, models, name=f"{features} features llc", block=BLOCK)
    numbers = {str(name): found[name].values for name in found} | {"hessian": gaussian}
    return {name: _scatter(exists, values) for name, values in numbers.items()}


def _scatter(exists: np.ndarray, values: np.ndarray) -> np.ndarray:
    full = np.full(exists.shape, np.nan, np.float32)
    full[exists] = values
    return full


def _diagram(
    features: int, points: int, training: dict[str, Any], sampling: dict[str, Any]
) -> tuple[xr.Dataset, np.ndarray]:
    """One plane: what theory says, what training finds, and lambda-hat of each fate. And the least losses at `MINIMA`."""
    s, r = np.geomspace(0.01, 1, points), np.geomspace(0.1, 10, points)
    more = np.array(list(MINIMA)).T if features == 2 else np.zeros((2, 0))
    both = np.concatenate([np.stack(np.meshgrid(s, r, indexing="ij")).reshape(2, -1), more], axis=1)
    trained, plane_points = _train(features, _points(*both), **training), slice(points**2)
    known = trained["loss"].min("model").values[points**2 :]
    at, best = _points(*both[:, plane_points]), _best(trained.isel(point=plane_points))
    found = _estimate(features, best, at, **sampling)
    plane, each = ("density", "importance"), ("density", "importance", "fate")
    fold = lambda values: np.reshape(values, (points, points, *np.shape(values)[1:]))
    exact = tuple(np.asarray(at[name], float) for name in ("s", "r"))
    values, region, kept = best["loss"].values, *predicted(features, *exact)
    variables = {name: (each, fold(values)) for name, values in found.items()} | {
        "loss": (each, fold(values), {"long_name": "least loss of a trained model of this fate; infinite: none"}),
        "kept": (each, fold(best["kept"].values), {"long_name": "features that this model keeps"}),
        "winner": (plane, fold(values.argmin(axis=1)), {"long_name": "fate of the best model"}),
        "predicted": (plane, fold(region), {"long_name": "fate by the prototypes"}),
        "predicted_kept": (plane, fold(kept), {"long_name": "features that the least prototype keeps"}),
        "prototype": (plane, fold(prototypes(features, *exact).min(axis=1)), {"long_name": "its loss"}),
    }
    coordinates = {"density": s, "importance": r, "fate": list(NAMES)}
    return xr.Dataset(variables, coordinates), known
