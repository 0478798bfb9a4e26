"""The runs of `markov_induction`: model, optimiser, and what is read off one checkpoint."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

from toymodels.analysis.circuits import patterns, prefix_matching_score, previous_token_score
from toymodels.models.transformer import Transformer
from toymodels.task import Loss, Task, objective
from toymodels.tasks.markov import cross_entropy, kl, markov_chains, predictors, sequences, transition_matrices
from toymodels.training import TrainState, Trajectory, advance, start

WIDTH = 16
DECAYED = ("W_Q", "W_K", "W_V", "W_O", "W_U")  # linear maps: not the embedding, norms and vectors of distances


class Case(NamedTuple):
    """Everything about the runs with one number of symbols."""

    symbols: int
    length: int
    task: Task
    model: Transformer
    loss: Loss
    tx: optax.GradientTransformation
    batch_size: int

    @classmethod
    def of(cls, symbols: int, length: int, *, learning_rate: float, batch_size: int) -> "Case":
        """Two layers of one head without MLPs, and AdamW as in the source: decay .1 on linear maps, gradients cut at 1."""
        task = markov_chains(symbols, length)
        model = Transformer(
            vocabulary=symbols, outputs=symbols, width=WIDTH, heads=1, layers=2, context=length, positions="relative"
        )
        adamw = optax.adamw(learning_rate, 0.9, 0.95, weight_decay=0.1, mask=_decayed)
        tx = optax.chain(optax.clip_by_global_norm(1.0), adamw)
        return cls(symbols, length, task, model, objective(model, task), tx, batch_size)


def _decayed(params: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in DECAYED, params)


def begin(key: Key[Array, ""], case: Case) -> TrainState:
    """Weights from N(0, .02^2), those that write to the stream from N(0, .01^2), as in the source."""
    params = case.model.init(key, jnp.zeros(case.length, int))["params"]
    paths, tree = jax.tree_util.tree_flatten_with_path(params)

    def weight(i: int, name: str, leaf: Array) -> Array:
        scale = 0.01 if name == "W_O" else 0.02
        return scale * jax.random.normal(jax.random.fold_in(key, i), leaf.shape) if name.startswith("W_") else leaf

    leaves = [weight(i, path[-1].key, leaf) for i, (path, leaf) in enumerate(paths)]  # type: ignore[attr-defined]
    return start(jax.tree.unflatten(tree, leaves), case.tx)


def trainer(case: Case, key: Callable[[Any], Key[Array, ""]]) -> Callable[..., tuple[TrainState, Trajectory]]:
    """Training one run on, from a state through some checkpoints; `key` is of its seed."""

    def train_on(point: dict[str, Array], state: TrainState, stops: Array) -> tuple[TrainState, Trajectory]:
        return advance(
            key(point["seed"]), state, stops, loss=case.loss, task=case.task, tx=case.tx, batch_size=case.batch_size
        )

    return train_on


def readings(key: Key[Array, ""], case: Case, params: PyTree, n: int) -> dict[str, Float[Array, ""]]:
    """Of one checkpoint on n new sequences: loss, KL from every predictor to the model, and what the heads attend to.

    Of each KL there is the mean over positions and sequences, and of that from the bigram its standard error; `previous` is
    of the first layer; `induction` of the second, to positions after the present token, and `induction_uniform` is what
    attending everywhere equally would give.
    """
    key_P, key_x = jax.random.split(jax.random.fold_in(key, 1))
    P = transition_matrices(key_P, n, case.symbols)
    tokens = sequences(key_x, P, case.length + 1)
    uniform = jnp.tril(jnp.ones((case.length, case.length))) / jnp.arange(1, case.length + 1)[:, None]

    def one(P: Array, tokens: Array) -> dict[str, Array]:
        x, y = tokens[:-1], tokens[1:]
        logits: Any = case.model.apply({"params": params}, x)
        log_q = jax.nn.log_softmax(logits)
        first, second = (A[0] for A in patterns(case.model, params, x))
        found = {"loss": cross_entropy(logits, y), "previous": previous_token_score(first)}
        found |= {"induction": prefix_matching_score(second, x), "induction_uniform": prefix_matching_score(uniform, x)}
        for name, p in predictors(x, P).items():
            found[f"kl_{name}"] = jnp.mean(kl(p, log_q))
            found[f"true_{name}"] = jnp.mean(kl(P[x], jnp.log(p)))
        return found

    each = jax.vmap(one)(P, tokens)
    mean = {name: jnp.mean(values) for name, values in each.items() if name != "true_true"}
    return mean | {"kl_bigram_stderr": jnp.std(each["kl_bigram"]) / jnp.sqrt(n)}
