"""Our side of the comparison: the same work as the peers', through the functions that experiments use."""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from experiments.benchmarks.speed.measure import Measured, cores
from slt.estimate import LLC, estimate_llc
from slt.samplers.langevin import sgld
from sweeps import devices
from toymodels.models.autoencoder import Autoencoder
from toymodels.models.transformer import Transformer
from toymodels.prng import implementation
from toymodels.task import Batch, Task, finite, objective
from toymodels.tasks.superposition import one_sparse, polygon, sparse_features
from toymodels.training import TrainState, Trajectory, advance, start

SAMPLES, SEQUENCES = 1000, 256
POINTS, CHAINS = 50, 8  # of the curve
ADAMW: Any = dict(learning_rate=1e-3, weight_decay=0.01)


class Work(NamedTuple):
    """Something to be timed. `arrays`, `settings`: what a peer is handed so as to do the same.

    agree: how results are compared (`measure.disagreement`). compiles: the first call takes longer, and is not timed.
    """

    measure: Callable[[int], Measured]
    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]
    agree: str = ""
    compiles: bool = True


def timed(
    run: Callable[[int], Any], steps: float | int, *, repeats: int = 1, values: Callable[[Any], Any] = lambda _: ()
) -> Callable[[int], Measured]:
    """Measure `run(seed)` with its result on the host, so many times with seeds of their own; it does `steps` steps."""

    def measure(seed: int) -> Measured:
        begin, cpu = time.perf_counter(), time.process_time()
        for i in range(repeats):
            result = run(seed * repeats + i)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        return Measured(steps * repeats, seconds, cpu, np.asarray(values(result)))

    return measure


def instances(
    size: tuple[int, int, int],
    *,
    steps: int,
    compared: int | None = None,
    batch: int = 1024,
    prng: str = "lowbias32",
    block: int | None = None,
    repeats: int = 1,
) -> Work:
    """AdamW on the toy model of superposition, a fresh batch each step; size: features, hidden, instances.

    The peer trains `compared` steps from the same weights; the losses then are compared.
    """
    features, hidden, number = size
    impl, model, tx = implementation(prng), Autoencoder(features, hidden), optax.adamw(**ADAMW)

    def fit(at: Any, stops: Any) -> tuple[TrainState, Trajectory]:
        task = sparse_features(jnp.full(features, 1 / features), at["density"])
        state, key = start({"W": at["W"].T, "b": jnp.zeros(features)}, tx), jax.random.key(at["seed"], impl=impl)
        return advance(key, state, stops, loss=objective(model, task), task=task, tx=tx, batch_size=batch)

    arrays = {"W": weights(size), "density": (20.0 ** -np.linspace(0, 1, number)).astype(np.float32)}
    points = arrays | {"seed": np.arange(number)}
    stops = np.array([steps] if compared is None else [compared, steps], np.int32)
    apply = ready(fit, points, stops, block=block)
    run = lambda _: apply(points)[1]
    values = lambda trajectory: () if compared is None else losses(trajectory.params, arrays["density"])
    settings = dict(instances=number, batch=batch, steps=compared)
    return Work(timed(run, steps * number, repeats=repeats, values=values), arrays, settings, agree="paired")


def ready(f: Callable[..., Any], points: Any, *shared: Any, block: int | None) -> Callable[[Any], Any]:
    """`f(point, *shared)` at all points on all devices, as a sweep computes it, without its bookkeeping."""
    one = lambda point, shared: (f(point, *shared), ())
    block = block or devices.block_size(one, points, shared, memory=None)
    program = devices.spread(one, points, shared, block=block)
    return lambda points: program.apply(points, shared)[0]


def weights(size: tuple[int, int, int]) -> np.ndarray:
    """Initial weights (instances, features, hidden) of all sides: normal, of variance 2/(features + hidden)."""
    features, hidden, number = size
    draw = np.random.default_rng(0).normal(size=(number, features, hidden))
    return (draw * np.sqrt(2 / (features + hidden))).astype(np.float32)


def losses(params: Any, density: np.ndarray, examples: int = 4096) -> np.ndarray:
    """Each instance's loss at its first checkpoint on fresh examples, mean over examples and features."""
    generator, found = np.random.default_rng(1), []
    for W, b, p in zip(params["W"][:, 0], params["b"][:, 0], density, strict=True):
        active = generator.random((examples, len(b))) < p
        x = active * generator.random((examples, len(b)))
        found.append(np.mean((x - np.maximum(x @ W.T @ W + b, 0)) ** 2))
    return np.array(found)


class Problem(NamedTuple):
    """A model at some weights, its data, and how both sides sample there; `arrays` is what a peer is handed."""

    loss: Callable[..., Any]
    params: Any
    data: Batch
    task: Task
    arrays: dict[str, np.ndarray]
    settings: dict[str, Any]


def pentagon() -> Problem:
    """The 18-parameter model of superposition at its pentagon, and 1,000 examples."""
    W, b = polygon(5, features=6, positive=1)
    task, params = one_sparse(6), {"W": W, "b": b}
    data = task.sample(jax.random.key(1), SAMPLES)
    settings = dict(nbeta=float(SAMPLES / np.log(SAMPLES)), gamma=1.0, step_size=1e-3, batch=256)
    arrays = {name: np.asarray(leaf) for name, leaf in (params | {"x": data.x}).items()}
    return Problem(objective(Autoencoder(6, 2), task), params, data, task, arrays, settings)


class Size(NamedTuple):
    """An attention-only transformer and its minibatch."""

    width: int
    heads: int
    layers: int
    context: int
    vocabulary: int
    batch: int

    def products(self) -> float:
        """Operations in the matrix products of one step: forward, and twice as many backward."""
        projections, pattern = 4 * self.width**2, 2 * self.context * self.width
        each = self.layers * (projections + pattern) + self.width * self.vocabulary
        return 3.0 * 2 * self.batch * self.context * each


LARGE = Size(width=128, heads=4, layers=2, context=64, vocabulary=64, batch=64)
SMALL = Size(width=16, heads=2, layers=2, context=32, vocabulary=4, batch=32)


def transformer(size: Size) -> Problem:
    """A transformer at its initial weights, handed over with a layer's number behind their names, and random tokens."""
    s = size
    model = Transformer(s.vocabulary, s.vocabulary, s.width, s.heads, s.layers, s.context)
    tokens = np.random.default_rng(0).integers(0, s.vocabulary, (SEQUENCES, s.context + 1), dtype=np.int32)
    data = Batch(jnp.asarray(tokens[:, :-1]), jnp.asarray(tokens[:, 1:]))
    params = jax.jit(model.init)(jax.random.key(0), data.x[0])["params"]
    nll = lambda logits, y: optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    task = finite(Task(lambda key, n: data, nll), data)
    arrays = {"tokens": tokens} | {name: np.asarray(params[name]) for name in ("W_E", "W_pos", "W_U")}
    for layer in range(s.layers):
        arrays |= {f"{name}_{layer}": np.asarray(W) for name, W in params[f"attention_{layer}"].items()}
    settings = dict(nbeta=100.0, gamma=100.0, step_size=1e-5, batch=s.batch, heads=s.heads)
    return Problem(objective(model, task), params, data, task, arrays, settings)


def chains(
    problem: Problem,
    number: int,
    *,
    draws: int,
    each: int = 1,
    prng: str = "lowbias32",
    block: int | None = None,
    repeats: int = 1,
) -> Work:
    """SGLD chains, `each` of them an estimate; compared is lambda-hat of every chain."""
    s, shared = problem.settings, (problem.params, problem.data)
    lengths: Any = dict(chains=each, warmup=0, draws=draws, batch_size=s["batch"])

    def estimate(seed: Any, params: Any, data: Batch) -> LLC:
        key, sampler = jax.random.key(seed, impl=implementation(prng)), sgld(s["step_size"])
        return estimate_llc(key, problem.loss, params, data, sampler, nbeta=s["nbeta"], gamma=s["gamma"], **lengths)

    seeds = np.arange(number // each)
    apply = ready(estimate, seeds, *shared, block=block)
    run = lambda first: apply(seeds + first * len(seeds))
    values = lambda llc: np.asarray(llc.trace).mean(-1).ravel()
    measure = timed(run, number * draws, repeats=repeats, values=values)
    return Work(measure, problem.arrays, s | dict(chains=number, draws=draws), agree="independent")


def on_all_devices(problem: Problem, batch: int) -> tuple[Callable[..., Trajectory], Any]:
    """AdamW whose minibatches lie over all devices: a function (params, stops), and its params on every device."""
    task, tx = problem.task, optax.adamw(**ADAMW)
    mesh = jax.make_mesh((jax.local_device_count(),), ("examples",), axis_types=(AxisType.Auto,))
    over, everywhere = NamedSharding(mesh, PartitionSpec("examples")), NamedSharding(mesh, PartitionSpec())
    spread = task._replace(sample=lambda key, n: jax.lax.with_sharding_constraint(task.sample(key, n), over))

    def fit(params: Any, stops: Any) -> Trajectory:
        key = jax.random.key(0, impl=implementation("lowbias32"))
        return advance(key, start(params, tx), stops, loss=problem.loss, task=spread, tx=tx, batch_size=batch)[1]

    return jax.jit(fit), jax.device_put(problem.params, everywhere)


def transformer_training(size: Size, *, steps: int, compared: int) -> Work:
    """AdamW on a transformer; compared is the loss at the start."""
    problem, stops = transformer(size), np.array([steps], np.int32)
    fit, params = on_all_devices(problem, size.batch)
    first = np.mean(jax.jit(problem.loss)(problem.params, problem.data))
    measure = timed(lambda _: jax.device_get(fit(params, stops)), steps, values=lambda _: [first])
    return Work(measure, problem.arrays, problem.settings | dict(steps=compared), agree="equal")


def peak(operations: float, *, size: int) -> Work:
    """Steps a second if their matrix products alone, so many operations, ran as fast as one large product does."""
    number = jax.local_device_count()
    points = np.ones((number, size, size), np.float32)
    apply = ready(lambda x: (x @ x).max(), points, block=1)
    measure = timed(lambda _: apply(points), number * 2 * size**3 / operations, repeats=4)
    return Work(measure, {}, {})


def curve(draws: int, folder: Path, *, cold: bool) -> Work:
    """A learning-coefficient curve in a new process, imports and compilation included.

    cold: nothing compiled is kept from one time to the next.
    """
    problem = pentagon()
    W, b = (np.stack([problem.arrays[name]] * POINTS) for name in "Wb")
    np.savez(folder / "curve.npz", x=problem.arrays["x"], W=W, b=b)
    settings = problem.settings | dict(chains=CHAINS, draws=draws)

    def measure(_: int) -> Measured:
        cache = tempfile.mkdtemp(dir=folder) if cold else str(folder / "cache")
        return new_process(settings | {"problem": str(folder / "curve.npz")}, cache, POINTS * CHAINS * draws)

    return Work(measure, problem.arrays, settings, compiles=not cold)


def new_process(request: dict[str, Any], cache: str, steps: int) -> Measured:
    """Run `start.py` with that compilation cache. Raises RuntimeError with its last words if it fails."""
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_NUM_CPU_DEVICES": str(cores()),
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    command = [sys.executable, str(Path(__file__).parent / "start.py"), json.dumps(request)]
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command[1]}: {done.stderr.strip().splitlines()[-1]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Measured(steps, seconds, cpu, np.zeros(0))
