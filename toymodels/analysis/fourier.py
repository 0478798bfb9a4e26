"""Fourier measures of networks for addition modulo an odd p (Nanda et al. 2023, arXiv 2301.05217).

Such a network answers with the waves cos(w_k (a + b - z)), w_k = 2 pi k / p, of a few frequencies k. A function of the
two numbers is an array with the axes a and b first; there are K = (p - 1)/2 frequencies, 1 to K.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Real, Scalar

Keys = Bool[Array | np.ndarray, " K"] | Real[Array | np.ndarray, " K"]  # which frequencies, or with which weights


def basis(p: int) -> Float[np.ndarray, "p p"]:
    """The orthonormal rows 1, cos(w_1 x), sin(w_1 x), cos(w_2 x), ... of functions of x modulo p."""
    if p < 3 or p % 2 == 0:
        raise ValueError(f"got p={p}: write an odd modulus of 3 or more; an even one has a frequency without a sine")
    angle = 2 * np.pi / p * np.outer(np.arange(1, p // 2 + 1), np.arange(p))
    waves = np.stack([np.cos(angle), np.sin(angle)], axis=1).reshape(-1, p) * np.sqrt(2 / p)
    return np.concatenate([np.full((1, p), p**-0.5), waves])


def directions(p: int) -> Float[np.ndarray, "K 2 p p"]:
    """cos(w_k (a + b)) and sin(w_k (a + b)), normalised."""
    cos, sin = basis(p)[1::2], basis(p)[2::2]
    outer = lambda f, g: np.einsum("ka,kb->kab", f, g)
    return np.stack([outer(cos, cos) - outer(sin, sin), outer(sin, cos) + outer(cos, sin)], axis=1) / np.sqrt(2)


def projection(logits: Float[Array, "p p outputs"], keys: Keys) -> Float[Array, "p p outputs"]:
    """The part of every logit, as a function of (a, b), along the two `directions` of the frequencies `keys`."""
    along = jnp.asarray(directions(len(logits)), logits.dtype)
    coefficients = jnp.einsum("kcab,abz->kcz", along, logits) * jnp.asarray(keys, logits.dtype)[:, None, None]
    return jnp.einsum("kcab,kcz->abz", along, coefficients)


def restricted(logits: Float[Array, "p p outputs"], keys: Keys) -> Float[Array, "p p outputs"]:
    """The key frequencies alone, and the mean of the rest over (a, b); their cross-entropy is the restricted loss."""
    waves = projection(logits, keys)
    return waves + jnp.mean(logits - waves, axis=(0, 1), keepdims=True)


def excluded(logits: Float[Array, "p p outputs"], keys: Keys) -> Float[Array, "p p outputs"]:
    """Logits without the key frequencies; their cross-entropy on the training set is the excluded loss."""
    return logits - projection(logits, keys)


def shares(logits: Float[Array, "p p outputs"]) -> Float[Array, " K"]:
    """Of the variance of the logits over (a, b), the share along the directions of each frequency."""
    along = jnp.asarray(directions(len(logits)), logits.dtype)
    power = jnp.sum(jnp.einsum("kcab,abz->kcz", along, logits) ** 2, axis=(1, 2))
    return power / jnp.sum((logits - jnp.mean(logits, axis=(0, 1), keepdims=True)) ** 2)


def key_frequencies(logits: Float[Array, "p p outputs"]) -> Bool[Array, " K"]:
    """The frequencies with more than an even share, 1/K, of the variance of the logits."""
    each = shares(logits)
    return each > 1 / len(each)


def norms(W: Float[Array, "p d"]) -> Float[Array, " p"]:
    """Norm of each row of the Fourier transform of W over its tokens: 1, cos w_1, sin w_1, ...."""
    return jnp.linalg.norm(jnp.asarray(basis(len(W)), W.dtype) @ W, axis=1)


def gini(x: Float[Array, " n"]) -> Scalar:
    """sum_ij |x_i - x_j| / (2 n sum x) of numbers that are not negative: 0 if all are equal."""
    n, x = len(x), jnp.sort(x)
    return jnp.sum((2 * jnp.arange(1, n + 1) - n - 1) * x) / (n * jnp.sum(x))


def answered(logits: Float[Array, "p p outputs"], y: Int[Array | np.ndarray, "p p"]) -> Bool[Array, "p p"]:
    """Which questions have the right answer as their largest logit."""
    return jnp.argmax(logits, axis=-1) == y
