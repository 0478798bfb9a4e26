"""The two networks for modular addition, their runs, and what is read off a checkpoint beside lambda-hat."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Scalar

import slt
import sweeps
import toymodels as tm
from experiments.shared.coefficient_curves import Setting, curves

SHARE = 0.4  # of all questions that are trained on
KINDS = {"grokking": (1.0, 1), "no decay": (0.0, 1), "few data": (1.0, 3)}  # weight decay; copies of a question
GROKKING, *CONTROLS = KINDS
SPLIT, START, TRAIN, CHAINS = range(4)  # purposes of a seed's keys
BLOCK = 2  # estimates at a time on a device: their chains fit a core's cache


class Case(NamedTuple):
    """A network with all questions, of which `size` are trained on; `rate` is AdamW's."""

    name: str
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
        """Losses in nats and accuracies on the questions trained on and on the others, Fourier measures, sum of w^2.

        Key frequencies are those of the checkpoint itself; Nanda et al. 2023 take those of the run's end.
        """
        x, params = self.questions(at).x, checkpoint.params
        seen = jnp.zeros((self.p, self.p), bool).at[x[:, 0], x[:, 1]].set(True)
        each = jax.vmap(lambda x: self.model.apply({"params": params}, x))(self.data.x)
        logits, y = each.reshape(self.p, self.p, -1, self.p)[:, :, -1], self.data.y.reshape(self.p, self.p)
        keys = tm.key_frequencies(logits)
        cost = jax.vmap(jax.vmap(tm.answer_loss))
        mean = lambda values, where: jnp.sum(jnp.where(where, values, 0)) / jnp.sum(where)
        each, right = cost(logits, y), tm.answered(logits, y)
        return {
            "loss": mean(each, seen),
            "test_loss": mean(each, ~seen),
            "train_accuracy": mean(right, seen),
            "test_accuracy": mean(right, ~seen),
            "restricted": mean(cost(tm.restricted(logits, keys), y), ~seen),
            "excluded": mean(cost(tm.excluded(logits, keys), y), seen),
            "gini": tm.gini(tm.norms(params["W_E"][: self.p])),
            "norm": optax.tree.norm(params, squared=True),
        }


def mlp(rate: float, p: int = 59) -> Case:
    """Shared embeddings, one hidden layer: 27.8 thousand weights."""
    model = tm.EmbeddingMLP(vocabulary=p, outputs=p, width=64, hidden=128)
    return Case("mlp", p, model, tm.table(p), tm.objective(model, tm.modular(p)), int(SHARE * p * p), rate)


def transformer(rate: float, p: int = 53) -> Case:
    """One layer without norm on `a b =`, after Nanda et al. 2023 (there p = 113, width 128): 57 thousand weights."""
    layers: dict[str, Any] = dict(width=64, heads=4, layers=1, mlp=256, norm=False)
    E_init = jax.nn.initializers.normal(64**-0.5)
    model = tm.Transformer(vocabulary=p + 1, outputs=p, context=3, answer="last", E_init=E_init, **layers)
    data, loss = tm.table(p, suffix=(p,)), tm.objective(model, tm.modular(p))
    return Case("transformer", p, model, data, loss, int(SHARE * p * p), rate)


def runs(
    case: Case, counts: tuple[int, int], steps: np.ndarray, settings: Mapping[str, Setting], sampling: slt.Sampling
) -> xr.Dataset:
    """Runs that may grok, and of each kind of control: what is read off their checkpoints, and lambda-hat of them.

    Its saturation is towards the best constant answer.
    """
    number = [counts[0], counts[1], counts[1]]
    kinds, seed = np.repeat(list(KINDS), number), np.concatenate([np.arange(count) for count in number])
    decay, repeat = np.repeat(np.array(list(KINDS.values())), number, axis=0).T
    at = {"seed": seed, "weight_decay": decay, "repeat": repeat.astype(int)}
    grid = sweeps.Points(at, None, {"run": np.arange(len(seed))})
    trained = sweeps.scan(case.onward, grid, case.begin, steps, name=f"train_{case.name}", block=1)
    read = sweeps.map(case.reading, trained, name=f"reading_{case.name}", block=1)
    chains = lambda at: tm.key(at["seed"], CHAINS)
    chance, name = tm.entropies(case.p).answer, f"llc_{case.name}"
    held: dict[str, Any] = dict(settings=settings, sampling=sampling, chance=chance, name=name, block=BLOCK)
    found = read.merge(curves(case.loss, trained, case.questions, chains, **held))
    own = {"seed": seed, "kind": kinds, "model": np.full(len(seed), case.name), "p": np.full(len(seed), case.p)}
    return found.assign_coords({name: ("run", values) for name, values in own.items()})
