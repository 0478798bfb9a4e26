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

from experiments import devices
from experiments.benchmarks.speed.measure import Measured, cores
from slt.estimate import LLC, estimate_llc
from slt.samplers.langevin import sgld
from toymodels.models.autoencoder import Autoencoder
from toymodels.prng import implementation
from toymodels.task import Batch, objective
from toymodels.tasks.superposition import one_sparse, polygon, sparse_features
from toymodels.training import TrainState, Trajectory, advance, start

SAMPLES = 1000
SAMPLING = dict(nbeta=float(SAMPLES / np.log(SAMPLES)), gamma=1.0, step_size=1e-3, batch=256)
POINTS, CHAINS = 50, 8  # of the curve
ADAMW: Any = dict(learning_rate=1e-3, weight_decay=0.01)


class Work(NamedTuple):
    """Something to be timed. `arrays`, `settings`: what a peer is handed so as to do the same.

    compiles: the first call takes longer, and is not timed.
    """

    measure: Callable[[int], Measured]
    arrays: dict[str, np.ndarray] = {}
    settings: dict[str, Any] = {}
    compiles: bool = True


def timed(
    run: Callable[[int], Any], steps: float, *, repeats: int = 1, values: Callable[[Any], Any] = lambda _: ()
) -> Callable[[int], Measured]:
    """Measure `run(seed)` with its result on the host, so many times with seeds of their own; it does `steps` steps."""

    def measure(seed: int) -> Measured:
        begin, cpu = time.perf_counter(), time.process_time()
        for i in range(repeats):
            result = run(seed * repeats + i)
        seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
        return Measured(steps * repeats, seconds, cpu, np.asarray(values(result)))

    return measure


def training(
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
    features, hidden, instances = size
    impl, model, tx = implementation(prng), Autoencoder(features, hidden), optax.adamw(**ADAMW)

    def fit(at: Any, stops: Any) -> tuple[TrainState, Trajectory]:
        task = sparse_features(jnp.full(features, 1 / features), at["density"])
        state, key = start({"W": at["W"].T, "b": jnp.zeros(features)}, tx), jax.random.key(at["seed"], impl=impl)
        return advance(key, state, stops, loss=objective(model, task), task=task, tx=tx, batch_size=batch)

    points = {"W": weights(size), "density": densities(instances), "seed": np.arange(instances)}
    stops = np.array([steps] if compared is None else [compared, steps], np.int32)
    block = block or devices.block_size(fit, points, stops, memory=None)
    program = devices.spread(fit, points, stops, block=block)
    run = lambda _: program.apply(points, stops)[1]
    values = lambda trajectory: () if compared is None else losses(trajectory.params, points["density"])
    arrays = {"W": points["W"], "density": points["density"]}
    settings = dict(instances=instances, batch=batch, steps=compared)
    return Work(timed(run, steps * instances, repeats=repeats, values=values), arrays, settings)


def weights(size: tuple[int, int, int]) -> np.ndarray:
    """Initial weights (instances, features, hidden) of all sides: normal, of variance 2/(features + hidden)."""
    features, hidden, instances = size
    draw = np.random.default_rng(0).normal(size=(instances, features, hidden))
    return (draw * np.sqrt(2 / (features + hidden))).astype(np.float32)


def densities(instances: int) -> np.ndarray:
    """From 1 to 1/20, evenly in the logarithm, as in the notebook."""
    return (20.0 ** -np.linspace(0, 1, instances)).astype(np.float32)


def losses(params: Any, density: np.ndarray, examples: int = 4096) -> np.ndarray:
    """Each instance's loss at its first checkpoint on fresh examples, mean over examples and features."""
    generator, found = np.random.default_rng(1), []
    for W, b, p in zip(params["W"][:, 0], params["b"][:, 0], density, strict=True):
        active = generator.random((examples, len(b))) < p
        x = active * generator.random((examples, len(b)))
        found.append(np.mean((x - np.maximum(x @ W.T @ W + b, 0)) ** 2))
    return np.array(found)


def problem() -> dict[str, np.ndarray]:
    """The 18-parameter model at its pentagon, W and b, and 1,000 examples x: what all samplers sample."""
    W, b = polygon(5, features=6, positive=1)
    x = one_sparse(6).sample(jax.random.key(1), SAMPLES).x
    return {name: np.asarray(leaf, np.float32) for name, leaf in dict(x=x, W=W, b=b).items()}


def chains(
    number: int, *, each: int, draws: int, prng: str = "lowbias32", block: int | None = None, repeats: int = 1
) -> Work:
    """SGLD chains at the pentagon, `each` of them an estimate; compared is lambda-hat of every chain."""
    arrays, loss, s = problem(), objective(Autoencoder(6, 2), one_sparse(6)), SAMPLING
    data, params = Batch(jnp.asarray(arrays["x"]), jnp.asarray(arrays["x"])), {name: arrays[name] for name in "Wb"}
    lengths: Any = dict(chains=each, warmup=0, draws=draws, batch_size=s["batch"])

    def estimate(seed: Any) -> LLC:
        key, sampler = jax.random.key(seed, impl=implementation(prng)), sgld(s["step_size"])
        return estimate_llc(key, loss, params, data, sampler, nbeta=s["nbeta"], gamma=s["gamma"], **lengths)

    seeds = np.arange(number // each)
    block = block or devices.block_size(estimate, seeds, memory=None)
    program = devices.spread(estimate, seeds, block=block)
    run = lambda first: program.apply(seeds + first * len(seeds))
    measure = timed(run, number * draws, repeats=repeats, values=chain_values)
    return Work(measure, arrays, SAMPLING | {"draws": draws})


def chain_values(llc: LLC) -> np.ndarray:
    """Lambda-hat of every chain."""
    return np.asarray(llc.trace).mean(-1).ravel()


def peak(operations: float, *, size: int) -> Work:
    """Steps a second if their matrix products alone, so many operations, ran as fast as one large product does."""
    number = jax.local_device_count()
    points = np.ones((number, size, size), np.float32)
    program = devices.spread(lambda x: (x @ x).max(), points, block=1)
    return Work(timed(lambda _: program.apply(points), number * 2 * size**3 / operations, repeats=4))


def curve(draws: int, folder: Path, *, cold: bool) -> Work:
    """A learning-coefficient curve in a new process, imports and compilation included.

    cold: nothing compiled is kept from one time to the next.
    """
    arrays = problem()
    at = {name: np.stack([arrays[name]] * POINTS) for name in "Wb"}
    np.savez(folder / "curve.npz", x=arrays["x"], **at)
    asked = SAMPLING | dict(problem=str(folder / "curve.npz"), chains=CHAINS, draws=draws)

    def measure(_: int) -> Measured:
        cache = tempfile.mkdtemp(dir=folder) if cold else str(folder / "cache")
        return new_process(asked, cache, POINTS * CHAINS * draws)

    return Work(measure, arrays, SAMPLING | dict(chains=CHAINS, draws=draws), compiles=not cold)


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
