"""Losses and entropies of predictions of one of a few symbols, in nats."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Scalar


def cross_entropy(logits: Float[Array, "t k"], y: Int[Array, " t"]) -> Float[Array, ""]:
    """-mean_t log softmax(logits_t)[y_t]. For few symbols: a gather along them is slower, also backwards."""
    log_p = jax.nn.log_softmax(logits)
    hit = y[:, None] == jnp.arange(logits.shape[-1])[None]
    return -jnp.mean(jnp.sum(jnp.where(hit, log_p, 0), axis=-1))


def token_losses(logits: Float[Array, "t v"], y: Int[Array, " t"]) -> Float[Array, " t"]:
    """-log softmax(logits_t)[y_t] at every position. For many symbols: it gathers."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, y)


def answer_loss(prediction: Float[Array, "*positions outputs"], y: Int[Array, ""]) -> Scalar:
    """-log softmax(l)_y, of the logits l at the last position where there are several.

    As softplus(log sum_{z != y} exp l_z - l_y), whose value and gradient keep their relative precision where the answer
    is certain (Prieto et al. 2025, arXiv 2501.04697).
    """
    logits = prediction.reshape(-1, prediction.shape[-1])[-1]
    others = jnp.where(jnp.arange(len(logits)) == y, -jnp.inf, logits)
    return jax.nn.softplus(jax.nn.logsumexp(others) - logits[y])


def entropy(p: Float[Array | np.ndarray, "*rest k"]) -> Float[Array, "*rest"]:
    """-sum p log p."""
    return -jnp.sum(jax.scipy.special.xlogy(p, p), axis=-1)


def kl(p: Float[Array, "t k"], log_q: Float[Array, "t k"]) -> Float[Array, " t"]:
    """KL(p | q) = sum p log p/q at every position."""
    return jnp.sum(jax.scipy.special.xlogy(p, p) - p * log_q, axis=-1)
