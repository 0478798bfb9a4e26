"""Curvature at a point: what a learning coefficient reduces to where the loss is a quadratic.

Everything is of the mean loss on `data` at `params`; a mask leaves the block of the free coordinates. The products
H v are jvps of the gradient; the stochastic estimators are matfree's.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Key, PyTree, Scalar
from matfree import decomp, eig, funm, stochtrace

from slt.estimate import Estimate
from slt.samplers.base import Data, Loss, Number, Params, mean_loss, require, select


class Ritz(NamedTuple):
    """Approximate eigenvalues, largest first: some eigenvalue lies within `residual` = |H v - value v| of each."""

    value: Float[Array, " k"]
    residual: Float[Array, " k"]


def hessian_vector_product(
    loss: Loss, params: Params, data: Data, *, mask: PyTree | None = None
) -> Callable[[Params], Params]:
    """v -> H v, the jvp of the gradient (Pearlmutter 1994); with a mask P H P v, P the projector on the free ones."""
    gradient = jax.grad(lambda params: mean_loss(loss, params, data))
    free = lambda v: v if mask is None else select(mask, v, jax.tree.map(jnp.zeros_like, v))
    return lambda v: free(jax.jvp(gradient, (params,), (free(v),))[1])


def hessian(loss: Loss, params: Params, data: Data, *, mask: PyTree | None = None) -> Float[Array, "d d"]:
    """The Hessian as a matrix, d^2 numbers, in the order of `ravel_pytree`; rows and columns of frozen ones are 0."""
    product = hessian_vector_product(loss, params, data, mask=mask)
    flat, unravel = ravel_pytree(params)
    return jax.vmap(lambda v: ravel_pytree(product(unravel(v)))[0])(jnp.eye(flat.size, dtype=flat.dtype))


def hessian_trace(
    key: Key[Array, ""], loss: Loss, params: Params, data: Data, *, probes: int, mask: PyTree | None = None
) -> Estimate:
    """tr H = E[v' H v] over random signs v (Hutchinson 1990). All probes are held at once."""
    product = hessian_vector_product(loss, params, data, mask=mask)
    return _over_probes(key, stochtrace.monte_carlo_trace(), product, params, probes=probes)


def top_eigenvalues(
    key: Key[Array, ""], loss: Loss, params: Params, data: Data, *, k: int, iterations: int, mask: PyTree | None = None
) -> Ritz:
    """The k largest eigenvalues of H by Lanczos from one random start, fully reorthogonalised; `iterations` products.

    One start sees each *distinct* eigenvalue once: a double one comes as one, and the values after it move up. H a
    multiple of 1 gives NaN. Frozen coordinates count as zeros. The lowest ones: minus those of -loss.
    """
    d = ravel_pytree(params)[0].size
    if not 1 <= k <= iterations <= d:
        raise ValueError(f"got k={k}, iterations={iterations}: write 1 <= k <= iterations <= {d}, all parameters")
    product = hessian_vector_product(loss, params, data, mask=mask)
    start = optax.tree.random_like(key, params, jax.random.normal)
    values, vectors = eig.eigh_partial(decomp.tridiag_sym(iterations))(product, start)
    last = lambda leaf: leaf[::-1][:k]
    residual = lambda h, v: optax.tree.norm(optax.tree.sub(product(v), optax.tree.scale(h, v)))
    return Ritz(last(values), jax.vmap(residual)(last(values), jax.tree.map(last, vectors)))


def gaussian_llc(
    loss: Loss, params: Params, data: Data, *, nbeta: Number, gamma: Number, mask: PyTree | None = None
) -> Scalar:
    """1/2 sum_i nbeta h_i/(nbeta h_i + gamma), h the eigenvalues of H: lambda-hat of a quadratic at its minimum.

    Half of MacKay's (1992) effective number of parameters. NaN where nbeta H + gamma is not positive definite. Needs
    d^2 numbers.
    """
    H = hessian(loss, params, data, mask=mask)
    zeros, ones = jnp.zeros_like(H[0]), jnp.ones_like(H[0])
    unravel = ravel_pytree(params)[1]
    held = zeros if mask is None else ravel_pytree(select(mask, unravel(zeros), unravel(ones)))[0]
    precision = nbeta * H + jnp.diag(gamma + held)  # a frozen coordinate has no curvature: any positive number serves
    factor = jax.scipy.linalg.cho_factor(precision, lower=True)
    return jnp.trace(jax.scipy.linalg.cho_solve(factor, nbeta * H)) / 2


def gaussian_llc_quadrature(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    *,
    nbeta: Number,
    gamma: Number,
    probes: int,
    iterations: int,
    mask: PyTree | None = None,
) -> Estimate:
    """`gaussian_llc` for large models, gamma > 0: stochastic Lanczos quadrature (Ubaru, Chen, Saad 2017).

    The standard error is that of the probes. The quadrature's own error falls as exp(-4 iterations/sqrt(condition)),
    condition = 1 + nbeta h_max/gamma.
    """

    def share(h: Array) -> Array:
        return jnp.where(nbeta * h + gamma > 0, nbeta * h / (nbeta * h + gamma) / 2, jnp.nan)

    product = hessian_vector_product(loss, params, data, mask=mask)
    integrand = funm.monte_carlo_funm_sym(funm.dense_funm_sym_eigh(share), decomp.tridiag_sym(iterations))
    return _over_probes(key, integrand, product, params, probes=probes)


def _over_probes(
    key: Key[Array, ""], integrand: Callable, product: Callable[[Params], Params], params: Params, *, probes: int
) -> Estimate:
    require(">= 2", probes=probes)  # one has no standard error
    estimator = stochtrace.estimator_monte_carlo_mean_and_sem(integrand, stochtrace.sampler_signs(params, num=probes))
    value, sem = estimator(product, key)
    return Estimate(value, sem * jnp.sqrt(probes / (probes - 1)))  # matfree divides the variance by `probes`
