"""Bayesian evidence and prediction from chains: WBIC, the free energy, WAIC, Gibbs and Bayes losses.

The posterior is p(w) ~ exp(-nbeta L(w)) N(w; w0, 1/gamma), L the mean of n losses l_i(w) = -log p(y_i | x_i, w), and
nbeta = n unless said otherwise: `localised`, whose Gaussian is the prior here. With E, Var over it (Watanabe 2009-2013):

    F     = -log int exp(-n L(w)) N(w; w0, 1/gamma) dw = int_0^n E_nbeta[L] dnbeta  ~  n L(w*) + lambda log n - (m-1) log log n
    WBIC  = E_nbeta[n L] at nbeta = n/log n  =  F + O_p(sqrt(log n))
    V     = sum_i Var[l_i],   nu = V/2,   WAIC = -1/n sum_i log E[exp(-l_i)] + V/n

Statistics of the single examples are accumulated as chains go: memory does not grow with the number of draws.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

from slt.chains import Fold, jackknife, run_chains
from slt.diagnostics import ess
from slt.samplers.base import Data, Loss, Params, Sampler, localised
from slt.temperatures import Estimate

Number = Float[Array, "..."] | float | int


class Pointwise(NamedTuple):
    """Of the losses l_i of single examples, over `count` draws: E[l_i], Var[l_i] and log E[exp(-l_i)]."""

    count: Float[Array, "..."]
    mean: Float[Array, "... n"]
    variance: Float[Array, "... n"]
    log_mean_exp: Float[Array, "... n"]


class Posterior(NamedTuple):
    """What a posterior at nbeta = n says of its examples and of new ones, losses a mean over examples, each with its error.

    gibbs_training, gibbs_generalisation: mean_i E[l_i] on the data, on the test data.
    bayes_training, bayes_generalisation: -mean_i log E[exp(-l_i)], the loss of the predictive distribution.
    functional_variance: V = sum_i Var[l_i] on the data.      singular_fluctuation: nu-hat = V/2.
    waic: bayes_training + V/n, whose mean over data sets is that of bayes_generalisation up to O(1/n^2).
    """

    gibbs_training: Estimate
    bayes_training: Estimate
    functional_variance: Estimate
    singular_fluctuation: Estimate
    waic: Estimate
    gibbs_generalisation: Estimate
    bayes_generalisation: Estimate


class FreeEnergy(NamedTuple):
    """F by thermodynamic integration.

    stderr: from the draws, autocorrelation included.  coarser: what every second rung gives, less the value; the error
    of the rule itself is less than that if the ladder is fine enough.
    """

    value: Scalar
    stderr: Scalar
    coarser: Scalar


def pointwise(loss: Loss, data: Data) -> Fold:
    """Mean, variance and log-mean-exp of each example's loss over the draws (Welford 1962), as a fold.

    `loss` returns (n,) losses. The carry's variances are sums about the running means; `merged` divides them.
    """

    def init(params: Params) -> Pointwise:
        each = jax.eval_shape(loss, params, data)
        if each.ndim != 1:
            raise ValueError(f"got a loss of shape {each.shape}: it must return one number an example, shape (n,)")
        zeros = jnp.zeros(each.shape, jnp.promote_types(each.dtype, jnp.float32))
        return Pointwise(zeros[0], zeros, zeros, jnp.full_like(zeros, -jnp.inf))

    def update(carry: Pointwise, params: Params) -> Pointwise:
        each, count = loss(params, data).astype(carry.mean.dtype), carry.count + 1
        before = each - carry.mean
        mean = carry.mean + before / count
        log_mean_exp = jnp.logaddexp(carry.log_mean_exp + jnp.log(carry.count / count), -each - jnp.log(count))
        return Pointwise(count, mean, carry.variance + before * (each - mean), log_mean_exp)

    return Fold(init, update)


def merged(each: Pointwise) -> Pointwise:
    """The statistics over the draws of all chains, from one carry a chain (leading axis): Chan et al. 1979."""
    count = jnp.sum(each.count)
    share = (each.count / count)[:, None]
    mean = jnp.sum(share * each.mean, axis=0)
    apart = jnp.sum(each.count[:, None] * (each.mean - mean[None]) ** 2, axis=0)
    variance = (jnp.sum(each.variance, axis=0) + apart) / (count - 1)
    return Pointwise(count, mean, variance, jax.nn.logsumexp(each.log_mean_exp, b=share, axis=0))


def posterior(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Sampler,
    *,
    test: Data,
    gamma: Number,
    chains: int,
    warmup: int,
    draws: int,
    thin: int = 1,
) -> Posterior:
    """Training and generalisation losses, V, nu-hat and WAIC of the posterior whose prior is N(w; params, 1/gamma).

    Chains start at `params`, at nbeta = n; errors are the jackknife's over chains (NaN with one chain). Log-mean-exp
    and V of finitely many draws are off by a share of order 1/ess. Pure: `vmap` it over data sets.
    """
    here, there = pointwise(loss, data), pointwise(loss, test)
    both = Fold(
        lambda params: (here.init(params), there.init(params)),
        lambda carry, params: (here.update(carry[0], params), there.update(carry[1], params)),
    )
    potential = localised(loss, data, params, nbeta=float(len(jax.tree.leaves(data)[0])), gamma=gamma)
    run = run_chains(key, sampler, potential, params, fold=both, chains=chains, warmup=warmup, draws=draws, thin=thin)
    value, stderr = jackknife(lambda each: _losses(merged(each[0]), merged(each[1])), run.folded)
    return Posterior._make(map(Estimate, value, stderr))


def _losses(train: Pointwise, test: Pointwise) -> tuple[Scalar, ...]:
    V, bayes = jnp.sum(train.variance), -jnp.mean(train.log_mean_exp)
    waic = bayes + V / train.mean.size
    return jnp.mean(train.mean), bayes, V, V / 2, waic, jnp.mean(test.mean), -jnp.mean(test.log_mean_exp)


def losses(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Callable[[Scalar], Sampler],
    *,
    nbetas: Float[Array, " rungs"],
    gamma: Number,
    chains: int,
    warmup: int,
    draws: int,
    thin: int = 1,
) -> Float[Array, "rungs chains draws"]:
    """L of every draw at every nbeta, chains started at `params`, the mean of the prior; nbeta = 0 is the prior.

    `sampler(nbeta)` is the sampler there: `lambda nbeta: mala(1 / (nbeta + gamma))` where curvatures are about 1.
    """

    def at(key: Key[Array, ""], nbeta: Scalar) -> Float[Array, "chains draws"]:
        potential = localised(loss, data, params, nbeta=nbeta, gamma=gamma)
        at = sampler(nbeta)
        return run_chains(key, at, potential, params, chains=chains, warmup=warmup, draws=draws, thin=thin).loss

    return jax.vmap(at)(jax.random.split(key, len(nbetas)), nbetas)


def wbic(loss: Float[Array, "chains draws"], n: int) -> Estimate:
    """E[n L] from the draws' losses at nbeta = n/log n (Watanabe 2013), with its Monte-Carlo error."""
    return Estimate(n * jnp.mean(loss), n * jnp.std(loss, ddof=1) / jnp.sqrt(ess(loss)))


def ladder(n: int, rungs: int, *, power: float = 5.0) -> Float[Array, " rungs"]:
    """nbeta = n (k/(rungs - 1))^power from the prior's 0 to the posterior's n (Friel and Pettitt 2008)."""
    if rungs < 3 or rungs % 2 == 0:
        raise ValueError(f"got rungs={rungs}: write an odd number, 3 or more, such as rungs={max(3, rungs + 1)}")
    return n * jnp.linspace(0.0, 1.0, rungs) ** power


def free_energy(loss: Float[Array, "rungs chains draws"], nbetas: Float[Array, " rungs"]) -> FreeEnergy:
    """F = int_0^n E_nbeta[L] dnbeta from the draws of `losses` on a `ladder`, by the trapezoidal rule with slopes.

    The slope of E[L] in nbeta is -Var[L], so a step h adds h/2 (E_k + E_k+1) + h^2/12 (Var_k+1 - Var_k), right to
    fourth order (Friel, Hurn and Wyse 2014).
    """
    value, variance = _integral(loss, nbetas)
    return FreeEnergy(value, jnp.sqrt(variance), _integral(loss[::2], nbetas[::2])[0] - value)


def _integral(loss: Float[Array, "rungs chains draws"], nbetas: Float[Array, " rungs"]) -> tuple[Scalar, Scalar]:
    """The integral and its Monte-Carlo variance: rungs are independent, the mean and variance of one are not."""
    h = jnp.pad(jnp.diff(nbetas), 1)
    of_mean, of_variance = (h[:-1] + h[1:]) / 2, (h[:-1] ** 2 - h[1:] ** 2) / 12

    def at(x: Float[Array, "chains draws"], a: Scalar, b: Scalar) -> tuple[Scalar, Scalar]:
        each = a * x + b * (x - jnp.mean(x)) ** 2
        return jnp.mean(each), jnp.var(each, ddof=1) / ess(each)

    values, variances = jax.vmap(at)(loss, of_mean, of_variance)
    return jnp.sum(values), jnp.sum(variances)


def asymptotic(n: Number, loss: Number, coefficient: Number, multiplicity: Number = 1) -> Float[Array, "..."]:
    """n L + lambda log n - (m - 1) log log n: F up to O_p(1), L the least loss (Watanabe 2009, main formula II).

    With lambda = d/2 and m = 1 this is BIC, on the scale of F (half of Schwarz's).
    """
    return n * jnp.asarray(loss) + coefficient * jnp.log(n) - (multiplicity - 1) * jnp.log(jnp.log(n))
