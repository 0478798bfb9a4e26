"""Models whose learning coefficient is known, and what an exact sampler returns at finite nbeta and gamma."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import slt


class Case(NamedTuple):
    """A loss, its minimum w* = `params`, and what is known there.

    value: lambda.      finite: (nbeta, gamma) -> nbeta E[K] under exact sampling, NaN where there is no posterior; None
    where it is not known in closed form.      curvature: the largest Hessian eigenvalue of the loss at w*.
    """

    loss: Callable[[Any, Any], Array]
    params: Any
    data: Any
    value: float
    finite: Callable[[float, float], float] | None
    curvature: float
    batch_size: int | None = None


SIZE, BATCH = 1000, 32  # of the data set and of its minibatches
CURVATURES = np.geomspace(0.01, 1, 10)
POWERS = (1, 2)
SHAPE = 5, 3, 5
WIDTHS, RANK = (4, 3, 3, 4), 1
NOTHING = jnp.zeros((1,))


def regular() -> Case:
    """K = sum_i h_i w_i^2/2, ten curvatures from .01 to 1: lambda = 5."""
    loss = lambda w, data: jnp.sum(jnp.asarray(CURVATURES, jnp.float32) * w**2) / 2
    finite = lambda nbeta, gamma: slt.regular_finite(CURVATURES, nbeta=nbeta, gamma=gamma)
    return Case(loss, jnp.zeros(len(CURVATURES)), NOTHING, len(CURVATURES) / 2, finite, CURVATURES[-1])


def minibatches() -> Case:
    """Linear regression with these curvatures, on minibatches of 32 of 1000 examples, paired with those of w*."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SIZE, len(CURVATURES))) * np.sqrt(CURVATURES)
    y = x.sum(axis=1) + rng.normal(size=SIZE)
    w, h = np.linalg.lstsq(x, y, rcond=None)[0], np.linalg.eigvalsh(x.T @ x / SIZE)

    loss = lambda w, data: (data[1] - data[0] @ w) ** 2 / 2
    data = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    finite = lambda nbeta, gamma: slt.regular_finite(h, nbeta=nbeta, gamma=gamma)
    return Case(loss, jnp.asarray(w, jnp.float32), data, len(h) / 2, finite, h[-1], BATCH)


def monomial() -> Case:
    """K = w1^2 w2^4 at the origin, where it has no curvature at all: lambda = 1/4."""
    loss = lambda w, data: jnp.prod(w ** (2 * jnp.array(POWERS)))

    def finite(nbeta: float, gamma: float) -> float:
        return slt.normal_crossing_finite(POWERS, nbeta=nbeta, gamma=gamma) if gamma > 0 else np.nan

    return Case(loss, jnp.zeros(len(POWERS)), NOTHING, slt.normal_crossing(POWERS)[0], finite, 0.0)


def reduced() -> Case:
    """Reduced-rank regression, 5 -> 3 -> 5, at zero: lambda = 6.5."""
    M, H, N = SHAPE
    loss = lambda params, data: jnp.sum((params["B"] @ params["A"]) ** 2) / 2

    def finite(nbeta: float, gamma: float) -> float:
        return slt.reduced_rank_finite(M, H, N, nbeta=nbeta, gamma=gamma) if gamma > 0 else np.nan

    params = {"A": jnp.zeros((H, M)), "B": jnp.zeros((N, H))}
    return Case(loss, params, NOTHING, slt.reduced_rank(M, H, N, 0)[0], finite, 0.0)


def deep() -> Case:
    """The deep linear network 4 -> 3 -> 3 -> 4 at its most degenerate point of rank one; lambda from `slt.strata`."""
    layers = [np.eye(outputs, inputs) * (np.arange(inputs) < RANK) for inputs, outputs in itertools.pairwise(WIDTHS)]
    target = jnp.asarray(layers[2] @ layers[1] @ layers[0], jnp.float32)
    loss = lambda W, data: jnp.sum((W["3"] @ W["2"] @ W["1"] - target) ** 2) / 2
    params = {str(l): jnp.asarray(W, jnp.float32) for l, W in enumerate(layers, 1)}
    return Case(loss, params, NOTHING, slt.deep_linear_local(slt.rank_array(layers)), None, 3.0)


CASES: dict[str, Callable[[], Case]] = {
    "regular": regular,
    "minibatches": minibatches,
    "monomial": monomial,
    "reduced rank": reduced,
    "deep linear": deep,
}
