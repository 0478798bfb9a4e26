"""How losses move together under the localised posterior: Bayesian influence and the loss kernel.

All are posterior covariances, accumulated as the chains go. With L = sum_i l_i/n, raising the weight of example i by
d/n changes E[phi] by -(nbeta/n) Cov(l_i, phi) d; the influence is without nbeta/n, as in the literature.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from slt.chains import Chains, Covariance, Sampling, covariance, jackknife, pooled, run_chains
from slt.curvature import hessian_vector_product
from slt.samplers.base import Data, Loss, Number, Params, Sampler, localised, select


class Dependence(NamedTuple):
    """Covariances with their evidence; a standard error is from leaving out each chain in turn, NaN for one chain.

    value: +-Cov(f_i, g_j).      correlation: the same divided by both standard deviations (Pearson).
    trace: the recorded loss, (chains, draws), for `diagnostics.ess` and `rhat`.      acceptance: as in `LLC`.
    """

    value: Float[Array, "p q"]
    stderr: Float[Array, "p q"]
    correlation: Float[Array, "p q"]
    correlation_stderr: Float[Array, "p q"]
    acceptance: Float[Array, ""]
    trace: Float[Array, "chains draws"]


def loss_kernel(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Sampler,
    *,
    nbeta: Number,
    gamma: Number,
    sampling: Sampling,
    mask: PyTree | None = None,
    examples: Data | None = None,
) -> Dependence:
    """K_ij = Cov(l_i, l_j) of the losses of `examples`, by default `data`, under the posterior of `data` near `params`.

    The loss kernel (arXiv 2509.26537).
    """
    losses = example_losses(loss, data if examples is None else examples, params)
    potential = localised(loss, data, params, nbeta=nbeta, gamma=gamma, batch_size=sampling.batch_size, mask=mask)
    run = run_chains(key, sampler, potential, params, sampling, fold=covariance(losses))
    return _dependence(run, sign=1)


def bayesian_influence(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Sampler,
    *,
    observable: Callable[[Params], Array],
    nbeta: Number,
    gamma: Number,
    sampling: Sampling,
    mask: PyTree | None = None,
) -> Dependence:
    """BIF_ij = -Cov(l_i, phi_j) for the examples i of `data` and phi = observable(params): a number or (q,).

    The local Bayesian influence function (arXiv 2509.26544). With queries, observable = lambda params: loss(params,
    queries). At leading order it is `damped_influence`.
    """
    losses = example_losses(loss, data, params)
    potential = localised(loss, data, params, nbeta=nbeta, gamma=gamma, batch_size=sampling.batch_size, mask=mask)
    run = run_chains(key, sampler, potential, params, sampling, fold=covariance(losses, observable))
    return _dependence(run, sign=-1)


def damped_influence(
    loss: Loss,
    params: Params,
    data: Data,
    *,
    observable: Callable[[Params], Array],
    nbeta: Number,
    gamma: Number,
    mask: PyTree | None = None,
    iterations: int = 100,
) -> Float[Array, "n q"]:
    """-grad l_i' (nbeta H + gamma)^-1 grad phi_j: the classical influence, with the factor of the Bayesian one.

    What -Cov(l_i, phi_j) is under the Gaussian with precision nbeta H + gamma > 0, to first order in the losses.
    Conjugate gradients on Hessian-vector products.
    """
    product = hessian_vector_product(loss, params, data, mask=mask)
    precision = lambda v: jax.tree.map(lambda h, v: nbeta * h + gamma * v, product(v), v)
    values, pullback = jax.vjp(lambda params: jnp.atleast_1d(observable(params)), params)
    losses = example_losses(loss, data, params)

    def column(unit: Float[Array, " q"]) -> Float[Array, " n"]:
        (gradient,) = pullback(unit)
        if mask is not None:
            gradient = select(mask, gradient, jax.tree.map(jnp.zeros_like, gradient))
        direction, _ = jax.scipy.sparse.linalg.cg(precision, gradient, tol=1e-6, maxiter=iterations)
        return -jax.jvp(losses, (params,), (direction,))[1]

    return jax.vmap(column, out_axes=1)(jnp.eye(len(values), dtype=values.dtype))


def example_losses(loss: Loss, data: Data, centre: Params) -> Callable[[Params], Float[Array, " n"]]:
    """w -> the losses of the n examples, computed in the types of `centre`, as the potential does."""
    n, shape = len(jax.tree.leaves(data)[0]), jax.eval_shape(loss, centre, data).shape
    if shape != (n,):
        raise ValueError(f"the loss returns shape {shape} for {n} examples: leave out its mean, for shape ({n},)")
    return lambda params: loss(jax.tree.map(lambda w, c: jnp.asarray(w, jnp.result_type(c)), params, centre), data)


def _moments(each: Covariance) -> tuple[Array, Array]:
    """Covariance and Pearson correlation over the draws of all chains."""
    all = pooled(each)
    return all.covariance, all.covariance / jnp.sqrt(jnp.outer(all.variance_f, all.variance_g))


def _dependence(run: Chains, sign: int) -> Dependence:
    (value, correlation), (stderr, error) = jackknife(_moments, run.folded)
    return Dependence(sign * value, stderr, sign * correlation, error, jnp.mean(run.acceptance), run.loss)
