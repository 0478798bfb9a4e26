"""The two networks for modular addition, their training runs, and what is measured at a checkpoint beside lambda-hat."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Key, Scalar

from experiments import sweep
from toymodels.analysis.fourier import answered, excluded, gini, key_frequencies, norms, restricted, shares
from toymodels.models.embedding_mlp import EmbeddingMLP
from toymodels.models.transformer import Transformer
from toymodels.task import Batch, Loss, Model, Params, objective
from toymodels.tasks.modular_arithmetic import cross_entropy, modular, table, whole
from toymodels.training import TrainState, Trajectory, advance, start

SHARE = 0.4  # of all questions that are trained on
FEW = 3  # by which the controls with few data divide it
KINDS = ("grokking", "no decay", "few data")


class Case(NamedTuple):
    """A network with all questions, of which `size` are trained on; `rate` is AdamW's."""

    name: str
    p: int
    model: Any
    data: Batch
    size: int
    rate: float


def mlp(rate: float, p: int = 59) -> Case:
    """Shared embeddings, one hidden layer: 27.8 thousand weights."""
    model = EmbeddingMLP(vocabulary=p, outputs=p, width=64, hidden=128)
    return Case("mlp", p, model, table(p), int(SHARE * p * p), rate)


def transformer(rate: float, p: int = 53) -> Case:
    """One layer without norm on `a b =`, after Nanda et al. 2023 (there p = 113, width 128): 57 thousand weights."""
    normal = jax.nn.initializers.normal(64**-0.5)
    model = Transformer(
        vocabulary=p + 1, outputs=p, width=64, heads=4, layers=1, context=3, mlp=256, norm=False, answer="last",
        E_init=normal,
    )  # fmt: skip
    return Case("transformer", p, model, table(p, suffix=(p,)), int(SHARE * p * p), rate)


def loss(case: Case) -> Loss:
    """Cross-entropy of the answer, in nats."""
    model: Model = case.model
    return objective(model, modular(case.p))


def runs(seeds: int, controls: int) -> dict[str, np.ndarray]:
    """`seeds` runs that may grok, and `controls` of each kind that cannot: without weight decay, and with few data."""
    part = lambda count, decay, repeat: sweep.product(weight_decay=[decay], repeat=[repeat], seed=range(count))
    parts = [part(count, *how) for count, how in zip((seeds, controls, controls), ((1.0, 1), (0.0, 1), (1.0, FEW)), strict=True) if count]  # fmt: skip
    return {name: np.concatenate([p[name] for p in parts]) for name in ("seed", "weight_decay", "repeat")}


def kinds(seeds: int, controls: int) -> list[str]:
    """The names of `runs`."""
    return [kind for kind, count in zip(KINDS, (seeds, controls, controls), strict=True) for _ in range(count)]


def key(seed: Any, purpose: str) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.key(seed), ("split", "start", "train", "chains").index(purpose))


def train_set(case: Case, seed: Any, repeat: Any) -> Batch:
    """The questions of a run: a random share of all; with few data, a third of them, each three times."""
    order = jax.random.permutation(key(seed, "split"), len(case.data.x))
    index = order[jnp.arange(case.size) % (case.size // repeat)]
    return Batch(case.data.x[index], case.data.y[index])


def trained(case: Case, points: dict[str, np.ndarray], checkpoints: np.ndarray) -> Trajectory:
    """All the runs, full-batch AdamW (beta_2 = .98), each on its own questions from its own start."""
    tx = lambda point: optax.adamw(case.rate, b2=0.98, weight_decay=point["weight_decay"])
    objective = loss(case)

    def begin(point: Any) -> TrainState:
        return start(case.model.init(key(point["seed"], "start"), case.data.x[0])["params"], tx(point))

    def onward(point: Any, state: TrainState, stops: Array) -> tuple[TrainState, Trajectory]:
        task = whole(modular(case.p), train_set(case, point["seed"], point["repeat"]))
        return advance(
            key(point["seed"], "train"), state, stops, loss=objective, task=task, tx=tx(point), batch_size=case.size
        )

    state = jax.jit(jax.vmap(begin, out_axes=TrainState._make((None, 0, 0))))(points)
    return sweep.train(onward, points, state, checkpoints, name=f"steps-{case.name}", chunk=len(checkpoints), block=1)


def logits(case: Case, params: Params) -> Array:
    """The answers to all questions, (p, p, p) with the axes a, b, z."""
    each = jax.vmap(lambda x: case.model.apply({"params": params}, x))(case.data.x)
    return each.reshape(case.p, case.p, -1, case.p)[:, :, -1]


def measures(case: Case, params: Params, last: Params, seen: Bool[Array, "p p"]) -> dict[str, Scalar]:
    """Losses in nats and accuracies on the questions trained on and on the others, Fourier measures, sum of w^2.

    Key frequencies are those of the checkpoint itself; `*_hindsight` take those of the run's last checkpoint (`last`),
    as Nanda et al. 2023 do, which no one has while the run is under way.
    """
    own, y = logits(case, params), case.data.y.reshape(case.p, case.p)
    cost = lambda l: jax.vmap(jax.vmap(cross_entropy))(l, y)
    mean = lambda f, where: jnp.sum(jnp.where(where, f, 0)) / jnp.sum(where)
    keys, final = key_frequencies(own), key_frequencies(logits(case, last))
    each, right = cost(own), answered(own, y)
    return {
        "loss": mean(each, seen),
        "test_loss": mean(each, ~seen),
        "train_accuracy": mean(right, seen),
        "test_accuracy": mean(right, ~seen),
        "restricted": mean(cost(restricted(own, keys)), ~seen),
        "excluded": mean(cost(excluded(own, keys)), seen),
        "restricted_hindsight": mean(cost(restricted(own, final)), ~seen),
        "excluded_hindsight": mean(cost(excluded(own, final)), seen),
        "keys": jnp.sum(keys),
        "explained": jnp.sum(jnp.where(keys, shares(own), 0)),
        "gini": gini(norms(params["W_E"][: case.p])),
        "norm": optax.tree.norm(params, squared=True),
    }


def measured(case: Case, points: dict[str, np.ndarray], params: Params) -> dict[str, np.ndarray]:
    """`measures` of every checkpoint of every run: (run, time)."""
    count, time = jax.tree.leaves(params)[0].shape[:2]

    def point(p: Any) -> dict[str, Array]:
        x = train_set(case, p["seed"], p["repeat"]).x
        seen = jnp.zeros((case.p, case.p), bool).at[x[:, 0], x[:, 1]].set(True)
        return jax.lax.map(lambda w: measures(case, w, p["last"], seen), p["params"])

    each = {"params": params, "last": jax.tree.map(lambda leaf: leaf[:, -1], params)} | points
    found = sweep.run(point, each, name=f"measures-{case.name}", block=1)
    return {str(name): np.reshape(found[name].values, (count, time)) for name in found.data_vars}
