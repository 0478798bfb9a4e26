"""Our side for transformers: a training step with its examples over all devices, and chains around a trained size."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from experiments import devices
from experiments.benchmarks.speed.work import ADAMW, Work, chain_values, timed
from slt.estimate import LLC, estimate_llc
from slt.samplers.langevin import sgld
from toymodels.models.transformer import Transformer
from toymodels.prng import lowbias32
from toymodels.task import Batch, Task, finite, objective
from toymodels.training import Trajectory, advance, start

SEQUENCES = 256
SAMPLING = dict(nbeta=100.0, gamma=100.0, step_size=1e-5)


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


def problem(size: Size) -> tuple[Transformer, Any, Task, Batch]:
    """The model, initial weights, the task of the next token, and random tokens."""
    s = size
    model = Transformer(s.vocabulary, s.vocabulary, s.width, s.heads, s.layers, s.context)
    tokens = np.random.default_rng(0).integers(0, s.vocabulary, (SEQUENCES, s.context + 1), dtype=np.int32)
    data = Batch(jnp.asarray(tokens[:, :-1]), jnp.asarray(tokens[:, 1:]))
    params = jax.jit(model.init)(jax.random.key(0), data.x[0])["params"]
    nll = lambda logits, y: optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()
    return model, params, finite(Task(lambda key, n: data, nll), data), data


def arrays(params: Any, data: Batch) -> dict[str, np.ndarray]:
    """Weights, a layer's with its number, and tokens: what a peer is handed."""
    found: dict[str, Any] = {"tokens": np.concatenate([data.x, data.y[:, -1:]], axis=1)}
    found |= {name: params[name] for name in ("W_E", "W_pos", "W_U")}
    for layer, attention in ((name[-1], leaf) for name, leaf in params.items() if name.startswith("attention_")):
        found |= {f"{name}_{layer}": W for name, W in attention.items()}
    return {name: np.asarray(leaf) for name, leaf in found.items()}


def training(size: Size, *, steps: int, compared: int) -> Work:
    """AdamW on minibatches, the examples of each over all devices; compared is the loss at the start."""
    model, params, task, data = problem(size)
    loss, tx = objective(model, task), optax.adamw(**ADAMW)
    mesh = jax.make_mesh((jax.local_device_count(),), ("examples",), axis_types=(AxisType.Auto,))
    over = NamedSharding(mesh, PartitionSpec("examples"))
    everywhere = NamedSharding(mesh, PartitionSpec())
    spread = task._replace(sample=lambda key, n: jax.lax.with_sharding_constraint(task.sample(key, n), over))

    @jax.jit
    def fit(params: Any, stops: Any) -> Trajectory:
        key = jax.random.key(0, impl=lowbias32)
        return advance(key, start(params, tx), stops, loss=loss, task=spread, tx=tx, batch_size=size.batch)[1]

    at = jax.device_put((params, np.array([steps], np.int32)), everywhere)
    first = np.mean(jax.jit(loss)(params, data))
    measure = timed(lambda _: jax.device_get(fit(*at)), steps, values=lambda _: [first])
    return Work(measure, arrays(params, data), dict(heads=size.heads, batch=size.batch, steps=compared))


def chains(size: Size, number: int, *, draws: int) -> Work:
    """SGLD chains around the initial weights, each a point; compared is lambda-hat of every chain."""
    model, params, task, data = problem(size)
    loss, s = objective(model, task), SAMPLING
    lengths: Any = dict(chains=1, warmup=0, draws=draws, batch_size=size.batch)

    def estimate(seed: Any, params: Any, data: Batch) -> LLC:
        key, sampler = jax.random.key(seed, impl=lowbias32), sgld(s["step_size"])
        return estimate_llc(key, loss, params, data, sampler, nbeta=s["nbeta"], gamma=s["gamma"], **lengths)

    seeds, shared = np.arange(number), (params, data)  # as arguments: the compiler would fold constants for minutes
    program = devices.spread(estimate, seeds, *shared, block=1)
    run = lambda first: program.apply(seeds + first * number, *shared)
    settings = SAMPLING | dict(heads=size.heads, batch=size.batch, chains=number, draws=draws)
    return Work(timed(run, number * draws, values=chain_values), arrays(params, data), settings)
