"""In-context Markov chains: every sequence has a transition matrix of its own, which a model must read off it.

Edelman et al. 2024 (arXiv 2402.11004): the rows of P are Dirichlet(1), the sequence starts from the stationary
distribution. What may be predicted without order (unigram), from pairs (bigram), and by who knows P, is here too.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from toymodels.task import Batch, Task, sampling
from toymodels.tasks.losses import cross_entropy, entropy


def markov_chains(symbols: int, length: int) -> Task:
    """Next-token prediction on chains drawn afresh: x is tokens 0..length-1, y tokens 1..length.

    The loss is the mean cross-entropy over positions, in nats; the prediction is logits (length, symbols).
    """
    if symbols < 2 or length < 1:
        raise ValueError(f"got symbols={symbols}, length={length}: write symbols=2 or more, length=1 or more")

    @sampling
    def sample(key: Key[Array, ""], n: int) -> Batch:
        key_P, key_x = jax.random.split(key)
        tokens = sequences(key_x, transition_matrices(key_P, n, symbols), length + 1)
        return Batch(tokens[:, :-1], tokens[:, 1:])

    return Task(sample, cross_entropy)


def transition_matrices(key: Key[Array, ""], n: int, symbols: int) -> Float[Array, "n k k"]:
    """n matrices with rows from Dirichlet(1, ..., 1): exponentials, normalised."""
    rows = jax.random.exponential(key, (n, symbols, symbols))
    return rows / jnp.sum(rows, axis=-1, keepdims=True)


def stationary(P: Float[Array, "k k"]) -> Float[Array, " k"]:
    """pi with pi P = pi, by elimination of the last state, then the one before, without a subtraction.

    Grassmann, Taksar and Heyman 1985 (Operations Research 33): to the last bits however slowly P mixes.
    """
    k = len(P)
    for s in range(k - 1, 0, -1):
        into = P[:s, s] / jnp.sum(P[s, :s])
        P = P.at[:s, s].set(into).at[:s, :s].add(into[:, None] * P[s, :s][None])
    pi = jnp.ones(1, P.dtype)
    for s in range(1, k):
        pi = jnp.append(pi, pi @ P[:s, s])
    return pi / jnp.sum(pi)


def sequences(key: Key[Array, ""], P: Float[Array, "n k k"], length: int) -> Int[Array, "n length"]:
    """One sequence of `length` tokens of each chain, the first token from its stationary distribution."""
    u = jax.random.uniform(key, (length, len(P)))
    pick = lambda p, u: jnp.sum(u[:, None] >= jnp.cumsum(p, axis=-1)[:, :-1], axis=-1)  # the inverse of the sums
    first = pick(jax.vmap(stationary)(P), u[0])

    def step(token: Int[Array, " n"], u: Float[Array, " n"]) -> tuple[Array, Array]:
        following = pick(P[jnp.arange(len(P)), token], u)
        return following, following

    rest = jax.lax.scan(step, first, u[1:])[1]
    return jnp.concatenate([first[:, None], rest.T], axis=1)


def unigram(x: Int[Array, " t"], symbols: int) -> Float[Array, "t k"]:
    """p_i(s) = (1 + #{j <= i: x_j = s})/(i + k): exact for independent tokens whose distribution is Dirichlet(1)."""
    seen = jnp.cumsum(jax.nn.one_hot(x, symbols), axis=0)
    return (1 + seen) / jnp.sum(1 + seen, axis=-1, keepdims=True)


def bigram(x: Int[Array, " t"], symbols: int) -> Float[Array, "t k"]:
    """p_i(s) = (1 + #{j < i: x_j = x_i, x_{j+1} = s})/(k + #{j < i: x_j = x_i}): what followed the present token.

    Exact for Dirichlet(1) rows but for the likelihood pi(x_0) of the first token, left out as in the source.
    """
    one = jax.nn.one_hot(x, symbols)
    pairs = one[:-1, :, None] * one[1:, None, :]
    seen = jnp.cumsum(jnp.concatenate([jnp.zeros((1, symbols, symbols)), pairs]), axis=0)
    counts = 1 + jnp.einsum("tk,tks->ts", one, seen)
    return counts / jnp.sum(counts, axis=-1, keepdims=True)


def predictors(x: Int[Array, " t"], P: Float[Array, "k k"]) -> dict[str, Float[Array, "t k"]]:
    """What four readers of the sequence predict at every position: uniform, unigram, bigram, and who knows P."""
    symbols = len(P)
    return {
        "uniform": jnp.full((len(x), symbols), 1 / symbols),
        "unigram": unigram(x, symbols),
        "bigram": bigram(x, symbols),
        "true": P[x],
    }


def entropy_rate(P: Float[Array, "k k"]) -> Float[Array, ""]:
    """sum_s pi_s H(P_s), in nats: the loss of who knows P. Cover and Thomas 2006, theorem 4.2.4."""
    return stationary(P) @ entropy(P)
