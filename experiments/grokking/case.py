"""The network for modular addition, its runs, and what is read off a checkpoint beside lambda-hat."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Scalar

import sweeps
import toymodels as tm

SHARE = 0.4  # of all questions that are trained on
KINDS = {"grokking": (1.0, 1), "no decay": (0.0, 1), "few data": (1.0, 3)}  # weight decay; copies of a question
GROKKING, *CONTROLS = KINDS
SPLIT, START, TRAIN, CHAINS = range(4)  # purposes of a seed's keys
BLOCK = 2  # estimates at a time on a device: their chains fit a core's cache


class Case(NamedTuple):
    """A network with all questions, of which `size` are trained on; `rate` is AdamW's."""

    p: int
    model: Any
    data: tm.Batch
    loss: tm.Loss
    size: int
    rate: float

    def begin(self, at: Mapping[str, Any]) -> tm.TrainState:
        """The network as it is drawn for a seed."""
        params = self.model.init(tm.key(at["seed"], START), self.data.x[0])["params"]
        return tm.start(params, self.tx(at))

    def tx(self, at: Mapping[str, Any]) -> optax.GradientTransformation:
        """AdamW with beta_2 = .98 and the weight decay of a run."""
        return optax.adamw(self.rate, b2=0.98, weight_decay=at["weight_decay"])

    def onward(self, at: Mapping[str, Any], state: tm.TrainState, steps: Array) -> tuple[tm.TrainState, tm.Trajectory]:
        """Train one run on, each step on all of its questions."""
        key, task = tm.key(at["seed"], TRAIN), tm.whole(tm.modular(self.p), self.questions(at))
        return tm.advance(key, state, steps, loss=self.loss, task=task, tx=self.tx(at), batch_size=self.size)

    def questions(self, at: Mapping[str, Any]) -> tm.Batch:
        """What a run is trained on: a random share of all questions, or a third of them, each three times."""
        order = jax.random.permutation(tm.key(at["seed"], SPLIT), len(self.data.x))
        index = order[jnp.arange(self.size) % (self.size // at["repeat"])]
        return tm.Batch(self.data.x[index], self.data.y[index])

    def reading(self, at: Mapping[str, Any], checkpoint: tm.Trajectory) -> dict[str, Scalar]:
        """Losses in nats and accuracies on the questions trained on and on the others; Gini of |W_E|, sum of w^2."""
        x, params = self.questions(at).x, checkpoint.params
        seen = jnp.zeros((self.p, self.p), bool).at[x[:, 0], x[:, 1]].set(True)
        each = jax.vmap(lambda x: self.model.apply({"params": params}, x))(self.data.x)
        logits, y = each.reshape(self.p, self.p, -1, self.p)[:, :, -1], self.data.y.reshape(self.p, self.p)
        mean = lambda values, where: jnp.sum(jnp.where(where, values, 0)) / jnp.sum(where)
        each, right = jax.vmap(jax.vmap(tm.answer_loss))(logits, y), tm.answered(logits, y)
        return {
            "loss": mean(each, seen),
            "test_loss": mean(each, ~seen),
            "train_accuracy": mean(right, seen),
            "test_accuracy": mean(right, ~seen),
            "gini": tm.gini(tm.norms(params["W_E"][: self.p])),
            "norm": optax.tree.norm(params, squared=True),
        }


def mlp(rate: float, p: int = 59) -> Case:
    """Shared embeddings, one hidden layer: 27.8 thousand weights."""
    model = tm.EmbeddingMLP(vocabulary=p, outputs=p, width=64, hidden=128)
    return Case(p, model, tm.table(p), tm.objective(model, tm.modular(p)), int(SHARE * p * p), rate)


def runs(seeds: int, controls: int) -> tuple[sweeps.Points, np.ndarray]:
    """Runs that may grok and, of each kind of control, runs that never do; and the kind of each."""
    number = [seeds, controls, controls]
    decay, repeat = (np.repeat(values, number) for values in zip(*KINDS.values(), strict=True))
    seed = np.concatenate([np.arange(count) for count in number])
    at = {"seed": seed, "weight_decay": decay, "repeat": repeat}
    return sweeps.Points(at, None, {"run": np.arange(len(seed))}), np.repeat(list(KINDS), number)
