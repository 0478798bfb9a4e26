"""Our side of the comparison: the same work as the peers', through the same functions that the experiments use.

What was tried, in thousands of steps a second on two cores whose own speed wanders by a third (6/2/64 is features, hidden,
instances; batch 1024):

- training 6/2/64: threefry with examples first 23, examples last 87; philox2x32 with seven rounds 165, both its words used
  185; lowbias32 240, in blocks of 8 to 16 instances on each device 255, of one 94; no random numbers at all 360. Bits
  compared as integers instead of `jax.random.uniform`: slower.
- training 80/20/16: lowbias32 4.5, examples last 5.5, in blocks of two 7.8. 200/20/20: 1.5, 2.0, 3.1. Blocks of one half
  of that: products without a batch axis go another way through the compiler.
- chains of 18 parameters: threefry 250, lowbias32 400; on all data instead of minibatches 460 and 1200, so the rest is
  the gather of the minibatch (along the last axis, or without bounds checks: no faster).
- XLA's flags (vector width, fast minima, fast mathematics, other libraries for products, threads inside operations): none
  that helped beyond the noise.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import devices
from slt.estimate import LLC, estimate_llc
from slt.samplers.langevin import sgld
from toymodels.models.autoencoder import Autoencoder
from toymodels.prng import implementation
from toymodels.task import Batch, objective
from toymodels.tasks.superposition import one_sparse, polygon, sparse_features
from toymodels.training import TrainState, Trajectory, advance, start

SAMPLES, GAMMA, STEP_SIZE, BATCH = 1000, 1.0, 1e-3, 256
NBETA = float(SAMPLES / np.log(SAMPLES))


class Workload(NamedTuple):
    """Something to be timed. `run(n)`: do it n steps long, give the result; `count(n)`: how many steps that is in all.

    `point`, `points`, `shared`: the function of one point that it maps, and on what, for the compiler's cost analysis.
    products: operations in the matrix products of one step, by the sizes (NaN: not counted).
    """

    run: Callable[[Any], Any]
    count: Callable[[int], int]
    block: int
    point: Callable
    points: Any
    shared: tuple
    products: float = np.nan

    def seconds(self, n: Any) -> float:
        """Wall time of `run(n)`, the result on the host."""
        begin = time.perf_counter()
        self.run(n)
        return time.perf_counter() - begin


def weights(features: int, hidden: int, instances: int) -> np.ndarray:
    """Initial weights (instances, features, hidden), the same for all sides: normal, variance 2/(features + hidden)."""
    draw = np.random.default_rng(0).normal(size=(instances, features, hidden))
    return (draw * np.sqrt(2 / (features + hidden))).astype(np.float32)


def densities(instances: int) -> np.ndarray:
    """From 1 to 1/20, evenly in the logarithm, as in the notebook."""
    return (20.0 ** -np.linspace(0, 1, instances)).astype(np.float32)


def training(
    features: int, hidden: int, instances: int, batch: int = 1024, prng: str = "lowbias32", block: int | None = None
) -> Workload:
    """AdamW on the toy model of superposition, a fresh batch each step: `run(n)` gives the trajectory at step(s) n."""
    impl, model, tx = implementation(prng), Autoencoder(features, hidden), optax.adamw(1e-3, weight_decay=0.01)

    def point(at: Any, stops: Any) -> tuple[TrainState, Trajectory]:
        task = sparse_features(jnp.full(features, 1 / features), at["density"])
        state, key = start({"W": at["W"].T, "b": jnp.zeros(features)}, tx), jax.random.key(at["seed"], impl=impl)
        return advance(key, state, stops, loss=objective(model, task), task=task, tx=tx, batch_size=batch)

    points = {"W": weights(features, hidden, instances), "density": densities(instances), "seed": np.arange(instances)}
    block = block or devices.block_size(point, points, np.array([1]), memory=None)
    program = devices.spread(point, points, np.array([1]), block=block)
    run = lambda n: program.apply(points, np.atleast_1d(np.asarray(n, np.int32)))[1]
    return Workload(run, lambda n: n * instances, block, point, points, (np.array([1]),))


def problem() -> tuple[Batch, np.ndarray, np.ndarray]:
    """The 18-parameter model at its pentagon, and 1,000 examples: what all samplers sample."""
    W, b = polygon(5, features=6, positive=1)
    return one_sparse(6).sample(jax.random.key(1), SAMPLES), np.asarray(W), np.asarray(b)


def chains(
    number: int, each: int, draws: int, batch: int | None = BATCH, prng: str = "lowbias32", block: int | None = None
) -> Workload:
    """SGLD chains at the pentagon, `each` of them a point: `run(i)` gives the LLC of every point, by the i-th set of seeds."""
    data, W, b = problem()
    loss = objective(Autoencoder(6, 2), one_sparse(6))

    def point(seed: Any) -> LLC:
        key = jax.random.key(seed, impl=implementation(prng))
        settings: Any = dict(nbeta=NBETA, gamma=GAMMA, chains=each, warmup=0, draws=draws, batch_size=batch)
        return estimate_llc(key, loss, {"W": jnp.asarray(W), "b": jnp.asarray(b)}, data, sgld(STEP_SIZE), **settings)

    seeds = np.arange(number // each)
    block = block or devices.block_size(point, seeds, memory=None)
    program = devices.spread(point, seeds, block=block)
    run = lambda first: program.apply(seeds + first * len(seeds))
    return Workload(run, lambda _: number * draws, block, point, seeds, ())


def from_nothing(cache: Path, problem: Path, do: str, chains: int = 1, draws: int = 4) -> float:
    """Seconds of a new process with that compilation cache, imports and all: a training "step", or a "curve".

    The curve is at the points of `problem`, eight of which a device takes at a time: 64 chains (`devices.block_size`
    would compile once more to find that).
    """
    environment = os.environ | {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_NUM_CPU_DEVICES": str(len(os.sched_getaffinity(0))),
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    request: dict[str, Any] = dict(do=do, problem=str(problem), chains=chains, draws=draws, batch_size=BATCH, block=8)
    request |= dict(nbeta=NBETA, gamma=GAMMA, step_size=STEP_SIZE, begun=time.time())
    command = [sys.executable, str(Path(__file__).parent / "start.py"), json.dumps(request)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])["seconds"]
