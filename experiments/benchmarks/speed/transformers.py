"""Our side for transformers: a training step with its examples over all devices, and chains around a trained size.

What was tried, in milliseconds of processor time a step at width 128, 4 heads, 2 layers, context 64, batch 64, 64 tokens,
on cores that multiply at 100 G operations a second (the products alone, 4.2 G, would take 42 on them):

- one device whose operations are spread over the threads of two cores 77 to 85; two devices, half of the examples each,
  71 to 75 (64 in the operations). The compiler adds up all gradients in one `all-reduce`.
- one product for queries, keys and values 81 (joined head by head) and 100 (joined flat); a loop over heads 111; queries
  as (h, t, k) or (h, k, t), keys and values too, six ways: 76 to 82. All copy before products of heads: 10 ms in all.
- examples last, as `objective` has them, 32.1 a half; examples first 33.3. Queries scaled instead of scores 34.8, the
  gradient of softmax by its formula 33.5, the unembedding the other way round 33.2, the variance in two passes 37.7.
- chains at width 16, each by itself 2.7, four to a device 2.9, four in one `estimate_llc` 2.9.
- eight examples at a time, so that everything stays in a second-level cache: a tenth less, and not worth a loop.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import devices
from experiments.speed.ours import Workload
from experiments.speed.peer import Peer
from experiments.sweep import examples
from slt.estimate import LLC, estimate_llc
from slt.samplers.langevin import sgld
from toymodels.models.transformer import Transformer
from toymodels.prng import lowbias32
from toymodels.task import Batch, Task, finite, objective
from toymodels.training import TrainState, Trajectory, advance, start

SEQUENCES, NBETA, GAMMA, STEP_SIZE = 256, 100.0, 100.0, 1e-5


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


def arrays(size: Size) -> dict[str, Any]:
    """Weights and tokens as the peer's file has them."""
    _, params, _, data = problem(size)
    named = {name: params[name] for name in ("W_E", "W_pos", "W_U")}
    for l in range(size.layers):
        named |= {f"{name}_{l}": W for name, W in params[f"attention_{l}"].items()}
    tokens = np.concatenate([data.x, data.y[:, -1:]], axis=1)
    return {name: np.asarray(W) for name, W in named.items()} | {"tokens": tokens}


def request(asked: dict[str, Any], scale: float, seed: int, folder: Path) -> dict[str, Any]:
    """What to ask the peer: our weights and data, at the length of this run."""
    size = Size(**asked["size"])
    file, length = folder / f"transformer{size.width}.npz", "steps" if asked["do"] == "train" else "draws"
    if not file.exists():
        np.savez(file, **arrays(size))
    settings = dict(nbeta=NBETA, gamma=GAMMA, step_size=STEP_SIZE, batch=size.batch, heads=size.heads)
    return asked | settings | {"seed": seed, "problem": str(file), length: max(4, int(asked[length] * scale))}


def training(size: Size) -> Workload:
    """AdamW on minibatches, the examples of each over all devices: `run(n)` gives the trajectory at step(s) n."""
    model, params, task, _ = problem(size)
    loss, tx = objective(model, task), optax.adamw(1e-3, weight_decay=0.01)

    def fit(task: Task) -> Any:
        def point(seed: Any, stops: Any) -> tuple[TrainState, Trajectory]:
            key = jax.random.key(seed, impl=lowbias32)
            return advance(key, start(params, tx), stops, loss=loss, task=task, tx=tx, batch_size=size.batch)

        return point

    seeds, stop = np.arange(1), np.array([1])
    program = devices.together(fit(examples(task)), seeds, stop)
    run = lambda n: program.apply(seeds, np.atleast_1d(np.asarray(n, np.int32)))[1]
    return Workload(run, lambda n: n, 1, fit(task), seeds, (stop,), size.products())


def chains(size: Size, number: int, draws: int) -> Workload:
    """SGLD chains around the initial weights, each a point: `run(i)` gives the LLC of every one, by the i-th seeds."""
    model, params, task, data = problem(size)
    loss = objective(model, task)

    def point(seed: Any, params: Any, data: Batch) -> LLC:
        settings: Any = dict(nbeta=NBETA, gamma=GAMMA, chains=1, warmup=0, draws=draws, batch_size=size.batch)
        return estimate_llc(jax.random.key(seed, impl=lowbias32), loss, params, data, sgld(STEP_SIZE), **settings)

    seeds, shared = np.arange(number), (params, data)  # as arguments: the compiler would fold constants for minutes
    program = devices.spread(point, seeds, *shared, block=1)
    run = lambda first: program.apply(seeds + first * number, *shared)
    return Workload(run, lambda _: number * draws, 1, point, seeds, shared, size.products())


def agreement(folder: Path) -> dict[str, Any]:
    """The loss of the same weights on the same tokens, and lambda-hat there after 200 draws: ours, and the peer's."""
    peer, asked = Peer("transformer", 1), dict(do="chains", size=SMALL._asdict(), chains=8, draws=200)
    answer = peer.ask(**request(asked, 1.0, 7, folder))
    peer.close()
    mine = chains(SMALL, 8, 200).run(0)
    values = np.stack([np.asarray(mine.value), answer["llc_per_chain"]])
    error = values.std(1, ddof=1) / np.sqrt(values.shape[1])
    return {
        "transformer_loss": ("two", [mine.loss_at_centre[0], answer["initial_loss"]], {"units": "nats a token"}),
        "transformer_llc": ("two", values.mean(1), {"units": "1"}),
        "transformer_llc_error": ("two", error, {"units": "1"}),
    }
