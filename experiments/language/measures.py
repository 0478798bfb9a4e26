"""The text, and what a model has learned of it: bigrams, positions, heads, the use of context."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

import toymodels as tm

HELD_OUT = 0.1  # the last tenth of the text
EARLIEST = 8  # of this many parts of the window the second is early; the second half is late
REPEATED = 64  # random sequences, written twice, on which prefix matching is measured
AT_A_TIME = 32  # windows
DIMS = {"previous": ["layer", "head"], "prefix": ["layer", "head"]}


class Corpus(NamedTuple):
    """The text in tokens; p: the bigram conditionals of its training part."""

    vocabulary: tuple[str, ...]
    train: Int[np.ndarray, " n"]
    held_out: Int[np.ndarray, " m"]
    p: Float[np.ndarray, "v v"]


def corpus(words: int) -> Corpus:
    """The King James Bible, its last tenth held out."""
    text = tm.king_james()
    vocabulary = tm.vocabulary(text, words)
    tokens = tm.encode(text, vocabulary)
    train, held_out = np.split(tokens, [round((1 - HELD_OUT) * len(tokens))])
    return Corpus(vocabulary, train, held_out, tm.bigrams(train, len(vocabulary)))


def reading(model: tm.Model, text: Corpus, batch: tm.Batch) -> Callable[[Any], dict[str, Array]]:
    """Of one model's parameters: its scores on held-out windows, and on random sequences that are written twice."""
    size, context = len(text.vocabulary), batch.x.shape[1]
    once = jax.random.randint(jax.random.key(1), (REPEATED, context // 2), 0, size)
    twice, p = jnp.tile(once, (1, 2)), jnp.asarray(text.p)

    def window(params: Any, x: Array, y: Array) -> dict[str, Array]:
        logits: Any = model.apply({"params": params}, x)
        A = jnp.stack(tm.patterns(model, params, x))
        unplaced: Any = model.apply({"params": params | {"W_pos": jnp.zeros_like(params["W_pos"])}}, x)
        return {
            "losses": tm.token_losses(logits, y),
            "bigram": tm.bigram_score(logits, x, p),
            "unplaced": jnp.mean(tm.token_losses(unplaced, y)),
            "previous": tm.previous_token_score(A),
        }

    def scores(params: Any) -> dict[str, Array]:
        each = jax.lax.map(lambda b: window(params, b.x, b.y), batch, batch_size=AT_A_TIME)
        losses = each.pop("losses")
        match = lambda x: tm.prefix_matching_score(jnp.stack(tm.patterns(model, params, x)), x)
        late, early = slice(context // 2, context), slice(context // EARLIEST, 2 * context // EARLIEST)
        means = {name: jnp.mean(values, axis=0) for name, values in each.items()}
        return means | {
            "loss": jnp.mean(losses),
            "loss_error": jnp.std(jnp.mean(losses, axis=1)) / jnp.sqrt(len(losses)),
            "context": jnp.mean(losses[:, late]) - jnp.mean(losses[:, early]),
            "prefix": jnp.mean(jax.lax.map(match, twice, batch_size=AT_A_TIME), axis=0),
        }

    return scores


def levels(text: Corpus, batch: tm.Batch) -> xr.Dataset:
    """What the same windows give to the bigram conditionals themselves, to ignorance, and to even attention."""
    values = {
        "bigram_entropy": tm.entropy(text.p)[np.asarray(batch.x)].mean(),
        "uniform_loss": np.log(len(text.vocabulary)),
        "even_previous": np.mean(1 / np.arange(2, batch.x.shape[1] + 1)),  # a causal head: to every position it sees
    }
    return xr.Dataset({name: float(value) for name, value in values.items()})
