"""Where does a feature change from ignored to superposed to dedicated, and does the learning coefficient see it?

The phase diagram of Elhage et al. 2022 (arXiv 2209.10652): two features in one dimension and three in two, over the
density of the features and the relative importance of the last one. Ten models a point are trained on the population
loss itself, by quadrature; the best of each fate is kept, and lambda-hat is estimated at the winner and at its
competitors.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float, Int, Scalar
from typing_extensions import Doc

import slt
import sweeps
import toymodels as tm
from experiments.phase_diagram import theory
from experiments.phase_diagram.report import claims
from experiments.shared.ranges import Count, Positive, Seed, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

At = dict[str, np.ndarray]  # points of the plane
COST = "1-2 min on two cores"
BLOCK = 64  # models at a time on a device
FINE = 24  # order of the quadrature with which losses are compared
LEAPFROG = 10  # steps of a draw: thirty are no better
SPLIT = 0.3, 0.7  # a norm below is an ignored feature, one above a kept one, one between is confused

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
    plane = np.stack(np.meshgrid(s, r, indexing="ij")).reshape(2, -1)
    planes, known = [], []
    for n, more in ((2, list(theory.MINIMA)), (3, [])):
        at = _points(np.concatenate([plane, np.reshape(more, (-1, 2)).T], axis=1))
        trained = _train(n, at, models=models, steps=steps, rate=rate, order=order, seed=seed)
        known.append(trained["loss"].min("model").values[points**2 :])
        at, best = _points(plane), _best(trained.isel(point=slice(points**2)))
        found = _estimate(n, best, at, order=order, nbeta=nbeta, gamma=gamma, sampling=sampling, seed=seed)
        planes.append(_labelled(n, best, at, found, (s, r)))
    both: Any = xr.concat(planes, xr.Variable("features", [2, 3]))
    return both.assign(known_minimum=("known", known[0]))


def _points(at: Float[np.ndarray, "2 k"]) -> At:
    s, r = at.astype(np.float32)
    return {"s": s, "r": r, "index": np.arange(len(s), dtype=np.int32)}


def plot(results: xr.Dataset) -> Any:
    """The plane by theory, by training, and by lambda-hat."""
    from experiments.phase_diagram.figure import draw

    return draw(results)


def population_loss(params: tm.Params, batch: tm.Batch) -> Float[Array, " nodes"]:
    """One number for each node of the quadrature, of mean E sum_i I_i (x_i - x'_i)^2; y holds the weights I_i w."""
    predict = lambda x: jax.nn.relu(params["W"].T @ (params["W"] @ x) + params["b"])
    return jnp.sum(batch.y * (batch.x - jax.vmap(predict)(batch.x)) ** 2, axis=1)


def _nodes(features: int, s: Scalar, r: Scalar, order: int) -> tm.Batch:
    x, weight = tm.quadrature(features, s, order)
    importance = jnp.ones(features).at[-1].set(r)
    return tm.Batch(x, len(weight) * weight[:, None] * importance[None])


def _train(features: int, at: At, *, models: int, steps: int, rate: float, order: int, seed: int) -> xr.Dataset:
    """`models` models at each point: W, b, and the loss by the fine quadrature."""
    tx, count = optax.adam(optax.cosine_decay_schedule(rate, steps)), len(at["s"])
    grid = {key: np.repeat(values, models) for key, values in at.items()}
    grid |= {"model": np.tile(np.arange(models, dtype=np.int32), count)}

    def begin(p: dict[str, Array]) -> tm.TrainState:
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), p["index"]), p["model"])
        key_W, key_b = jax.random.split(key)
        W = jax.random.normal(key_W, (features - 1, features)) / jnp.sqrt(features - 1)
        return tm.start({"W": W, "b": 0.1 * jax.random.normal(key_b, (features,))}, tx)

    def onward(p: dict[str, Array], state: tm.TrainState, stops: Array) -> tuple[tm.TrainState, tm.Trajectory]:
        batch = _nodes(features, p["s"], p["r"], order)
        exact = tm.Task(lambda key, n: batch, lambda prediction, y: prediction)  # every minibatch is the population
        unused = jax.random.key(seed)
        return tm.advance(unused, state, stops, loss=population_loss, task=exact, tx=tx, batch_size=1)

    runs = sweeps.scan(onward, grid, begin, [steps], name=f"{features}_features", chunk=1, block=BLOCK)
    last, fine = {key: leaf[:, -1] for key, leaf in runs.outputs.params.items()}, FINE if features == 2 else FINE // 2
    exact_loss = lambda p: jnp.mean(population_loss(_weights(p), _nodes(features, p["s"], p["r"], fine)))
    loss = sweeps.map(exact_loss, grid | last, name=f"{features}_features_loss", block=BLOCK)["result"].values
    fold = lambda leaf: np.reshape(leaf, (count, models, *leaf.shape[1:]))
    each = ("point", "model")
    variables = {"W": ((*each, "hidden", "feature"), fold(last["W"])), "b": ((*each, "feature"), fold(last["b"]))}
    return xr.Dataset(variables | {"loss": (each, fold(loss))})


def _weights(p: dict[str, Array]) -> tm.Params:
    return {"W": p["W"], "b": p["b"]}


def fate(W: Float[Array, "hidden features"]) -> Int[Array, ""]:
    """What becomes of the last feature. Superposed: half of another feature or more is read on its direction."""
    norm = jnp.linalg.norm(W, axis=0)
    unclear = jnp.any((norm > SPLIT[0]) & (norm < SPLIT[1]))
    kept = jnp.where(tm.interference(W)[-1] >= 0.5, theory.SUPERPOSED, theory.DEDICATED)
    return jnp.where(unclear, theory.CONFUSED, jnp.where(norm[-1] < SPLIT[0], theory.IGNORED, kept))


def _best(trained: xr.Dataset) -> xr.Dataset:
    """The best model of each fate at each point; its loss is infinite where no model had it."""
    W, loss = trained["W"].values, trained["loss"].values
    fates = np.asarray(jax.jit(jax.vmap(jax.vmap(fate)))(W))
    masked = np.where(fates[..., None] == np.arange(len(theory.NAMES)), loss[..., None], np.inf)
    best = xr.DataArray(masked.argmin(axis=1), dims=("point", "fate"))
    chosen = trained.isel(model=best)
    norm = np.linalg.norm(chosen["W"].transpose("point", "fate", "hidden", "feature").values, axis=2)
    each = ("point", "fate")
    return chosen.assign(loss=(each, masked.min(axis=1)), kept=(each, np.sum(norm > SPLIT[1], axis=-1)))


def _estimate(
    n: int, best: xr.Dataset, at: At, *, order: int, nbeta: float, gamma: float, sampling: slt.Sampling, seed: int
) -> dict[str, np.ndarray]:
    """lambda-hat of every model in `best`, and what its Hessian alone says; NaN where there is none."""
    exists = np.isfinite(best["loss"].values)
    where, which = np.nonzero(exists)
    models = {key: best[key].values[where, which] for key in ("W", "b")} | {key: at[key][where] for key in ("s", "r")}
    nodes = lambda p: _nodes(n, p["s"], p["r"], order)
    curvature = lambda p: slt.hessian(population_loss, _weights(p), nodes(p))
    H = sweeps.map(curvature, models, name=f"{n}_features_hessian", block=BLOCK)["result"].values
    h = np.linalg.eigvalsh(H.astype(float))  # on the host: LAPACK inside of programs on two devices may lock them
    held = nbeta * h + gamma
    gaussian = np.where((held > 0).all(1), np.sum(nbeta * h / held, axis=1) / 2, np.nan)

    def llc(p: dict[str, Array]) -> dict[str, Array]:
        sampler = slt.hmc(1 / (nbeta * p["top"] + gamma), leapfrog=LEAPFROG)
        chains: Any = dict(nbeta=nbeta, gamma=gamma, **sampling._asdict())
        found = slt.estimate_llc(jax.random.key(seed), population_loss, _weights(p), nodes(p), sampler, **chains)
        return {name: getattr(found, name) for name in ("value", "stderr", "ess", "rhat", "acceptance")}

    models |= {"top": h[:, -1].astype(np.float32)}
    found = sweeps.map(llc, models, name=f"{n}_features_llc", block=BLOCK)
    numbers = {}
    for key, values in ({str(key): found[key].values for key in found} | {"hessian": gaussian}).items():
        numbers[key] = np.full(exists.shape, np.nan, np.float32)
        numbers[key][exists] = values
    return numbers


def _labelled(n: int, best: xr.Dataset, at: At, found: dict[str, np.ndarray], axes: tuple[Any, Any]) -> xr.Dataset:
    """One plane: what theory says, what training finds, and lambda-hat of each fate."""
    (s, r), exact = axes, tuple(np.asarray(at[name], float) for name in ("s", "r"))
    plane, each = ("density", "importance"), ("density", "importance", "fate")
    fold = lambda values: np.reshape(values, (len(s), len(r), *np.shape(values)[1:]))
    values, region = best["loss"].values, theory.predicted(n, *exact)
    variables = {name: (each, fold(number)) for name, number in found.items()} | {
        "loss": (each, fold(values), {"long_name": "least loss of a trained model of this fate; infinite: none"}),
        "kept": (each, fold(best["kept"].values), {"long_name": "features that this model keeps"}),
        "winner": (plane, fold(values.argmin(axis=1)), {"long_name": "fate of the best model"}),
        "predicted": (plane, fold(region), {"long_name": "fate by the prototypes"}),
        "prototype": (plane, fold(theory.prototypes(n, *exact).min(axis=1)), {"long_name": "its loss"}),
    }
    return xr.Dataset(variables, {"density": s, "importance": r, "fate": list(theory.NAMES)})
