"""Which developmental stages of in-context linear regression does the learning coefficient see once its chains are localised?

Hoogland et al. 2024 (arXiv 2402.02364): a transformer first learns to predict zero (LR1), then to regress in context (LR2);
with longer training lambda-hat falls while the loss does (LR3 to LR5). Here the model is a small one by default and the
published one under `paper`, and one trajectory is estimated under loose settings, as published, and localised ones at
two temperatures. Beside it, runs on few tasks, against ridge regression and the Bayes predictor of their tasks.

Not as published: blocks add to the residual stream once (the published stack adds each block's output to a stream that
already has it, which doubles the stream at every block), matrices of attention start from LeCun's normal, biases at zero,
and the model has one output and no bias there. The published chains draw from 2^20 sequences, `paper` from 2^16: L(w*) is
computed on all of them at once.
"""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Key
from typing_extensions import Doc

from experiments import curves, sweep
from experiments.curves import Setting
from experiments.experiment import at_least, positive
from experiments.icl_regression.report import claims
from experiments.icl_regression.stages import readings
from toymodels.models.transformer import Transformer
from toymodels.task import Loss, Task, objective
from toymodels.tasks.in_context_regression import (
    dmmse,
    gaussian_prior,
    guesses,
    icl_regression,
    pairs,
    ridge,
    uniform_prior,
)
from toymodels.training import TrainState, Trajectory, advance, start, union

__all__ = ["PRESETS", "claims", "plot", "run"]

BLOCK = 4  # estimates at a time on a device
PUBLISHED_INIT = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")

PRESETS = {
    "smoke": dict(
        seeds=2, steps=60, first=5, checkpoints=7, layers=1, heads=1, width=8, mlp=0, train_batch=16, samples=64, chains=2, warmup=4,
        draws=8, batch_size=16, restarts=0,
    ),
    "default": {},
    "paper": dict(
        seeds=5, steps=500_000, first=100, checkpoints=190, dimensions=4, width=64, heads=4, mlp=64, train_batch=256,
        samples=2**16, pool=64, loose_nbeta=66.7, loose_gamma=6.67, loose_step_size=3e-4, chains=10, warmup=1000,
        draws=5000, batch_size=1024,
    ),
}  # fmt: skip


class Case(NamedTuple):
    """The model, its task (that of fresh maps, of noise^2 `variance`) and how many maps the runs with few tasks have."""

    model: Transformer
    task: Callable[[Any], Task]  # of a point of the sweep
    loss: Loss
    dimensions: int
    examples: int
    variance: float
    pool: int


def run(
    *,
    seeds: Annotated[int, Doc("training runs on fresh tasks, and as many on few")] = 3,
    steps: Annotated[int, Doc("of Adam; the rate rises linearly to the middle and falls to 0")] = 3000,
    first: Annotated[int, Doc("checkpoint after the start; from it on they are evenly spaced in log(step)")] = 30,
    checkpoints: Annotated[int, Doc("of each run")] = 16,
    peak_rate: Annotated[float, Doc("largest learning rate")] = 3e-3,
    train_batch: Annotated[int, Doc("sequences of a training step, fresh ones")] = 128,
    dimensions: Annotated[int, Doc("D of the inputs")] = 2,
    examples: Annotated[int, Doc("K pairs in a sequence")] = 8,
    variance: Annotated[float, Doc("of the noise on y")] = 0.125,
    pool: Annotated[int, Doc("tasks of the runs with few")] = 4,
    width: Annotated[int, Doc("of the residual stream")] = 32,
    layers: Annotated[int, Doc("of attention and MLP")] = 2,
    heads: Annotated[int, Doc("of attention, in each layer")] = 2,
    mlp: Annotated[int, Doc("hidden units of each layer")] = 32,
    samples: Annotated[int, Doc("sequences of the fixed data of the chains; as many others measure the model")] = 2048,
    loose_nbeta: Annotated[float, Doc("n*beta of the loose chains")] = 60.0,
    loose_gamma: Annotated[float, Doc("localisation of the loose chains")] = 6.0,
    loose_step_size: Annotated[float, Doc("epsilon of the loose chains")] = 1e-3,
    nbeta: Annotated[float, Doc("n*beta of the localised chains")] = 1000.0,
    other_nbeta: Annotated[float, Doc("n*beta at which they run a second time")] = 300.0,
    gamma: Annotated[float, Doc("localisation of the localised chains")] = 1000.0,
    step_size: Annotated[float, Doc("epsilon of the localised chains")] = 1e-5,
    chains: Annotated[int, Doc("chains for an estimate")] = 2,
    warmup: Annotated[int, Doc("steps thrown away at the start of each chain")] = 100,
    draws: Annotated[int, Doc("draws of each chain")] = 100,
    batch_size: Annotated[int, Doc("sequences of a step of a chain")] = 64,
    restarts: Annotated[int, Doc("of the fit of the Gaussian process whose plateaus are milestones")] = 10,
) -> xr.Dataset:
    """Train on fresh tasks and on few, measure against the Bayes predictors, estimate the curves, find their stages."""
    at_least(1, seeds=seeds, first=first, layers=layers, train_batch=train_batch, dimensions=dimensions, pool=pool)
    at_least(1, chains=chains)
    at_least(2, examples=examples)
    at_least(7, checkpoints=checkpoints)
    at_least(0, mlp=mlp, warmup=warmup, restarts=restarts)
    at_least(8, draws=draws)
    at_least(first + checkpoints, steps=steps)
    at_least(batch_size, samples=samples)
    positive(
        peak_rate=peak_rate, variance=variance, loose_nbeta=loose_nbeta, loose_gamma=loose_gamma,
        loose_step_size=loose_step_size, nbeta=nbeta, other_nbeta=other_nbeta, gamma=gamma, step_size=step_size,
    )  # fmt: skip
    inits: Any = dict(W_init=PUBLISHED_INIT, E_init=PUBLISHED_INIT)
    model = Transformer(dimensions + 1, 1, width, heads, layers, 2 * examples, mlp=mlp, **inits)
    case = _case(model, dimensions, examples, variance, pool)
    runs, at = sweep.product(few=[0, 1], seed=range(seeds)), _schedule(first, steps, checkpoints)
    params = _train(case, runs, at, steps=steps, peak_rate=peak_rate, batch_size=train_batch).params
    measured = _measured(case, runs, params, samples).assign_coords(step=("time", at), on=["fresh", "few"])
    settings = {
        "loose": Setting(loose_nbeta, loose_gamma, loose_step_size),
        "localised": Setting(nbeta, gamma, step_size),
        "second": Setting(other_nbeta, gamma, step_size),
    }
    lengths: Any = dict(chains=chains, warmup=warmup, draws=draws, batch_size=batch_size)
    found = _curves(case, params, seeds, settings, samples=samples, lengths=lengths)
    about: Any = dict(chance=dimensions + variance, steps=steps, dimensions=dimensions, examples=examples, pool=pool)
    about |= dict(parameters=sum(leaf[0, 0].size for leaf in jax.tree.leaves(params)), samples=samples)
    results = xr.merge([measured, found], join="exact").assign_attrs(about)
    return results.merge(readings(results, restarts=restarts))


def _curves(
    case: Case, params: Any, seeds: int, settings: dict[str, Setting], *, samples: int, lengths: dict[str, Any]
) -> xr.Dataset:
    """lambda-hat of the runs on fresh tasks, on data of each run's own; saturation is towards predicting zero."""
    return curves.curves(
        lambda seed: _key(seed, "chains"), case.loss, jax.tree.map(lambda leaf: leaf[:seeds], params),
        lambda seed: case.task({"few": 0, "seed": seed}).sample(_key(seed, "data"), samples),
        seeds=range(seeds), settings=settings, chance=case.dimensions + case.variance, block=BLOCK, **lengths,
    )  # fmt: skip


def plot(results: xr.Dataset) -> Any:
    """What is learned, the curves under loose and localised settings, and where each places the stages."""
    from experiments.icl_regression.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _key(seed: Any, purpose: str) -> Key[Array, ""]:
    purposes = ("start", "train", "chains", "data", "pool", "measure")
    return jax.random.fold_in(jax.random.key(seed), purposes.index(purpose))


def _schedule(first: int, steps: int, count: int) -> np.ndarray:
    return union(np.array([0]), np.round(np.geomspace(first, steps, count - 1)).astype(int))


def _case(model: Transformer, dimensions: int, examples: int, variance: float, pool: int) -> Case:
    fresh, noise = gaussian_prior(dimensions), np.sqrt(variance)

    def task(point: dict[str, Any]) -> Task:
        few = uniform_prior(_pool(point["seed"], pool, dimensions))

        def prior(key: Key[Array, ""], n: int) -> Array:
            each = jax.random.split(key)
            return jnp.where(point["few"], few(each[0], n), fresh(each[1], n))

        return icl_regression(prior, examples, noise)

    loss = objective(model, icl_regression(fresh, examples, noise))
    return Case(model, task, loss, dimensions, examples, variance, pool)


def _pool(seed: Any, pool: int, dimensions: int) -> Array:
    return jax.random.normal(_key(seed, "pool"), (pool, dimensions))


def _train(
    case: Case, runs: dict[str, np.ndarray], at: np.ndarray, *, steps: int, peak_rate: float, batch_size: int
) -> Trajectory:
    half = max(1, steps // 2)
    up, down = optax.linear_schedule(0.0, peak_rate, half), optax.linear_schedule(peak_rate, 0.0, steps - half)
    tx = optax.adam(optax.join_schedules([up, down], [half]))
    like = jnp.zeros((2 * case.examples, case.dimensions + 1))

    def begin(point: dict[str, Array]) -> TrainState:
        return start(case.model.init(_key(point["seed"], "start"), like)["params"], tx)

    def onward(point: dict[str, Array], state: TrainState, stops: Array) -> tuple[TrainState, Trajectory]:
        own, task = _key(point["seed"], "train"), case.task(point)
        return advance(own, state, stops, loss=case.loss, task=task, tx=tx, batch_size=batch_size)

    state = jax.jit(jax.vmap(begin, out_axes=TrainState._make((None, 0, 0))))(runs)
    return sweep.train(onward, runs, state, at, block=len(runs["seed"]) // 2)


def _measured(case: Case, runs: dict[str, np.ndarray], params: Any, samples: int) -> xr.Dataset:
    """Every checkpoint on fresh sequences of both priors: axes (prior of training, run, time, prior of these)."""

    def on(point: dict[str, Any], few: Array) -> dict[str, Array]:
        key = jax.random.fold_in(_key(point["seed"], "measure"), few)
        batch = case.task({"few": few, "seed": point["seed"]}).sample(key, samples)
        x, y = pairs(batch.x)
        said = jax.vmap(lambda x: guesses(case.model.apply({"params": point["params"]}, x)))(batch.x)  # type: ignore[arg-type]
        W, noise = _pool(point["seed"], case.pool, case.dimensions), np.sqrt(case.variance)
        best = jax.vmap(lambda x, y: ridge(x, y, noise))(x, y)
        among = jax.vmap(lambda x, y: dmmse(x, y, W, noise))(x, y)
        mean = lambda one, other: jnp.mean((one - other) ** 2, axis=0)  # of each place in the sequence
        return {
            "mse": mean(said, y), "size": mean(said, 0.0), "to_ridge": mean(said, best), "to_dmmse": mean(said, among),
            "ridge": mean(best, y), "dmmse": mean(among, y), "zero": mean(y, 0.0),
        }  # fmt: skip

    def point(p: dict[str, Any]) -> dict[str, Array]:
        return jax.lax.map(lambda few: on(p, few), jnp.arange(2))

    count, time = jax.tree.leaves(params)[0].shape[:2]
    points = {"params": jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *np.shape(leaf)[2:])), params)}
    points["seed"] = np.repeat(runs["seed"], time)
    found = sweep.run(point, points, name="measured", block=1)
    dims = ("prior", "run", "time", "on", "position")
    shape = (2, count // 2, time, 2, case.examples)
    variables = {name: (dims, found[name].values.reshape(shape)) for name in found.data_vars}
    losses = found["mse"].values.reshape(shape)[0, :, :, 0].mean(-1)
    return xr.Dataset(variables, {"prior": ["fresh", "few"]}).assign(loss=(("run", "time"), losses))
