"""The text, and what a model has learned of it: bigrams, n-grams, positions, heads, the use of context."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

import toymodels as tm

NGRAMS, COMMON = (2, 3, 4), 300  # lengths, and how many of each count as common
HELD_OUT = 0.1  # the last tenth of the text
EARLIEST = 8  # of this many parts of the window the second is early; the second half is late
REPEATED = 64  # random sequences, written twice, on which prefix matching is measured
AT_A_TIME = 32  # windows
DIMS = {"ngram": ["n"], "previous": ["layer", "head"], "prefix": ["layer", "head"]}


class Corpus(NamedTuple):
    """The text in tokens; p: its bigram conditionals, frequency: that of its tokens, both of the training part."""

    vocabulary: tuple[str, ...]
    train: Int[np.ndarray, " n"]
    held_out: Int[np.ndarray, " m"]
    p: Float[np.ndarray, "v v"]
    frequency: Float[np.ndarray, " v"]


def corpus(words: int) -> Corpus:
    """The King James Bible, its last tenth held out."""
    text = tm.king_james()
    vocabulary = tm.vocabulary(text, words)
    tokens = tm.encode(text, vocabulary)
    train, held_out = np.split(tokens, [round((1 - HELD_OUT) * len(tokens))])
    frequency = np.bincount(train, minlength=len(vocabulary)) / len(train)
    return Corpus(vocabulary, train, held_out, tm.bigrams(train, len(vocabulary)), frequency)


def reading(model: tm.Model, text: Corpus, batch: tm.Batch) -> Callable[[Any], dict[str, Array]]:
    """Of one model's parameters: its scores on held-out windows, and on random sequences that are written twice."""
    size, context = len(text.vocabulary), batch.x.shape[1]
    common = [tm.common_ngrams(text.train, n, count=COMMON, size=size) for n in NGRAMS]
    ends = np.stack([tm.ends_ngram(batch, g, n=n, size=size) for n, g in zip(NGRAMS, common, strict=True)])
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
        later = jnp.mean(losses[:, late], axis=1) - jnp.mean(losses[:, early], axis=1)
        means = {name: jnp.mean(values, axis=0) for name, values in each.items()}
        error = lambda values: jnp.std(values) / jnp.sqrt(len(values))
        of_ends = jnp.sum(losses[None] * ends, axis=(1, 2)) / jnp.sum(ends, axis=(1, 2))
        return means | {
            "loss": jnp.mean(losses),
            "loss_error": error(jnp.mean(losses, axis=1)),
            "context": jnp.mean(later),
            "context_error": error(later),
            "ngram": jnp.mean(losses) / of_ends,
            "prefix": jnp.mean(jax.lax.map(match, twice, batch_size=AT_A_TIME), axis=0),
        }

    return scores


def levels(text: Corpus, batch: tm.Batch) -> xr.Dataset:
    """What the same windows give to predictors that know the text's statistics alone, and to even attention."""
    x, y, context = np.asarray(batch.x), np.asarray(batch.y), batch.x.shape[1]
    smooth = lambda p: 0.99 * p + 0.01 / len(text.vocabulary)
    mixed = 0.99 * text.p + 0.01 * smooth(text.frequency)[None]  # a bigram that the training text has not: no infinity
    even = 1 / np.arange(1, context + 1)  # of a causal head: to every position it sees
    return xr.Dataset(
        {
            "bigram_entropy": float(tm.entropy(text.p)[x].mean()),
            "bigram_loss": float(-np.log(mixed[x, y]).mean()),
            "uniform_loss": float(np.log(len(text.vocabulary))),
            "even_previous": float(even[1:].mean()),
            "even_prefix": float(even[context // 2 :].mean()),
        },
        {"n": list(NGRAMS)},
    )
