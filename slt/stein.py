"""Stein's control variate: a quantity whose mean under exp(-U) is zero, and which moves with the loss.

For every matrix B, E[delta' B grad U] = tr B under exp(-U), with delta = w - w* (integration by parts). Where U is the
quadratic delta' P delta/2 with P = nbeta H + gamma, nbeta (L - L*) = delta' B grad U for B = (1 - gamma P^{-1})/2: its
draws less those of delta' B grad U are then its mean, without noise. B = 1/2, its limit at gamma = 0, needs no Hessian.
Zero-variance Monte Carlo is Assaraf and Caffarel 1999; with gradients, Mira, Solgi and Imparato 2013.
"""

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree, Scalar

from slt.samplers.base import Data, Loss, Number, Params, mean_loss, select

MOST = 1024  # parameters of which a Hessian is kept
PRODUCT = 3  # gradients that a product H v costs, about
WORTH = 0.25  # of the gradients of the chains, that the Hessian may cost


def affords(params: Params, gradients: int) -> bool:
    """Whether the Hessian of so many parameters is worth taking for chains of so many gradients."""
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    return size <= MOST and PRODUCT * size <= WORTH * gradients


def weights(
    loss: Loss, params: Params, data: Data, *, nbeta: Number, gamma: Number, mask: PyTree | None
) -> Float[Array, "d d"]:
    """B = (1 - gamma P^{-1})/2 with the Hessian at w* = `params`; 0 at the frozen coordinates. d^2 numbers."""
    flat, unravel = ravel_pytree(params)
    ones = jnp.ones_like(flat)
    free = ones if mask is None else ravel_pytree(select(mask, unravel(ones), unravel(0 * ones)))[0]
    H = jax.hessian(lambda w: mean_loss(loss, unravel(w), data))(flat)
    P = nbeta * H * jnp.outer(free, free) + jnp.diag(gamma * free + (1 - free))
    return (jnp.diag(free) - gamma * inverse(P, least=gamma / 2) * jnp.outer(free, free)) / 2


def control(B: Float[Array, "d d"], delta: Params, grad: Params) -> Scalar:
    """delta' B grad U - tr B, of mean zero."""
    return ravel_pytree(delta)[0] @ (B @ ravel_pytree(grad)[0]) - jnp.trace(B)


def inverse(P: Float[Array, "d d"], *, least: Number) -> Float[Array, "d d"]:
    """The inverse of a positive definite P by Gauss and Jordan's elimination; no pivot goes below `least`.

    Of a P that is not it is some other matrix, which Stein's identity allows. A call of LAPACK has hung in programs
    that run on several CPU devices.
    """

    def eliminate(A: Array, k: Array) -> tuple[Array, None]:
        column, row = A[:, k], A[k]
        pivot = jnp.maximum(A[k, k], least)
        A = A - jnp.outer(column, row) / pivot
        A = A.at[k].set(row / pivot).at[:, k].set(-column / pivot).at[k, k].set(1 / pivot)
        return A, None

    return jax.lax.scan(eliminate, P, jnp.arange(len(P)))[0]


def corrected(
    trace: Float[Array, "chains draws"], control: Float[Array, "chains draws"]
) -> Float[Array, "chains kept"]:
    """trace - b control, b the slope of one on the other in all other chains: of the same mean, whatever b is.

    One chain is cut in halves that serve each other.
    """
    shape = trace.shape
    if shape[0] == 1:
        even = shape[1] - shape[1] % 2
        halves = corrected(trace[:, :even].reshape(2, -1), control[:, :even].reshape(2, -1))
        return halves.reshape(1, even)
    others = lambda leaf: (jnp.sum(leaf) - jnp.sum(leaf, axis=1)) / ((shape[0] - 1) * shape[1])
    x, y = others(control), others(trace)
    covariance, variance = others(control * trace) - x * y, others(control**2) - x**2
    slope = jnp.where(variance > 0, covariance / jnp.where(variance > 0, variance, 1), 0)
    return trace - slope[:, None] * control
