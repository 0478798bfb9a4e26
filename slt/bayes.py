"""Evidence and predictive loss of a Bayesian model from chains: free energy, WBIC, WAIC, singular fluctuation.

The loss of an example is -log p(x_i|w), constants included, L its mean over n examples, the prior N(params, 1/gamma),
and E_beta, Var_beta are under prior * exp(-n beta L):

    free energy      F = -log int prior exp(-n L) dw = int_0^1 E_beta[n L] dbeta
    WBIC             E_beta[n L] at beta = 1/log n, which is F up to O(sqrt(log n))           (Watanabe 2013)
    Bayes loss       -log E_w[p(x_i|w)], a mean over examples;   Gibbs loss: E_w[-log p(x_i|w)]
    V                sum_i Var_w[log p(x_i|w)], of expectation 2 nu/beta;   WAIC = Bayes training loss + (beta/n) V

(Watanabe 2010.)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Float, Key, Scalar

from slt.chains import Fold, Sampling, jackknife, run_chains, together
from slt.estimate import Estimate, estimate_llc
from slt.samplers.base import Data, Loss, Number, Params, Sampler, localised, mean_loss, require, unknown
from slt.statistics import welford
from slt.temperatures import combination


def wbic(
    key: Key[Array, ""], loss: Loss, params: Params, data: Data, sampler: Sampler, *, gamma: Number, sampling: Sampling
) -> Estimate:
    """WBIC = E_beta[n L] at beta = 1/log n, the prior N(params, 1/gamma), with the chains' error; Watanabe 2013."""
    n = len(jax.tree.leaves(data)[0])
    chains: dict[str, Any] = sampling._asdict()
    llc = estimate_llc(key, loss, params, data, sampler, nbeta=n / jnp.log(n), gamma=gamma, **chains)
    return Estimate(n * llc.mean_loss, jnp.log(n) * llc.stderr)


class FreeEnergy(NamedTuple):
    """F by thermodynamic integration with its Monte-Carlo error.

    remainder: corrected less plain trapezium.  mean: E_beta[n (L - L(params))] on each rung.
    """

    value: Scalar
    stderr: Scalar
    remainder: Scalar
    mean: Float[Array, " rungs"]


def ladder(rungs: int, power: float = 5.0) -> Float[Array, " rungs"]:
    """beta_k = (k/(rungs - 1))^power, from 0 to 1: dense where the prior gives way (Friel and Pettitt 2008)."""
    require(">= 2", rungs=rungs)
    return (jnp.arange(rungs) / (rungs - 1)) ** power


def thermodynamic_weights(betas: Float[Array, " rungs"]) -> tuple[Float[Array, " rungs"], Float[Array, " rungs"]]:
    """(a, b) of F = sum_k a_k E_k[n L] + b_k Var_k[n L]: the trapezium rule with its end correction on each interval.

    dE_beta/dbeta = -Var_beta, so that an interval h adds h^2 (Var_right - Var_left)/12 (Friel, Hurn and Wyse 2014).
    """
    h, none = jnp.diff(betas), jnp.zeros(1)
    left, right = jnp.concatenate([h, none]), jnp.concatenate([none, h])
    return (left + right) / 2, (right**2 - left**2) / 12


def free_energy(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Callable[[Scalar], Sampler],
    *,
    betas: Float[Array, " rungs"],
    gamma: Number,
    sampling: Sampling,
) -> FreeEnergy:
    """F = int_0^1 E_beta[n L] dbeta over the rungs `betas` (of `ladder`), the prior N(params, 1/gamma). One program.

    `sampler(nbeta)` is the sampler at n beta: an exact one, for example `lambda nbeta: mala(0.5 / (nbeta + gamma))`.
    """
    if sampling.batch_size is not None:
        raise ValueError(f"got batch_size={sampling.batch_size}: write None, minibatches would be in the variances")
    n = len(jax.tree.leaves(data)[0])

    def rung(key: Key[Array, ""], beta: Scalar) -> Float[Array, "chains draws"]:
        potential = localised(loss, data, params, nbeta=n * beta, gamma=gamma)
        return run_chains(key, sampler(n * beta), potential, params, sampling).loss

    at_start = mean_loss(loss, params, data)
    trace = n * (jax.vmap(rung)(jax.random.split(key, len(betas)), betas) - at_start)
    a, b = thermodynamic_weights(betas)
    value, stderr = combination(trace, a, b)
    mean = jnp.mean(trace, axis=(1, 2))
    return FreeEnergy(n * at_start + value, stderr, value - a @ mean, mean)


class Pointwise(NamedTuple):
    """Of l_i = log p(x_i|w) over `count` draws: log of the sum of exp(l_i), mean, sum of squares about it."""

    count: Scalar
    log_sum: Float[Array, "... n"]
    mean: Float[Array, "... n"]
    square: Float[Array, "... n"]


def pointwise(loss: Loss, data: Data) -> Fold:
    """The moments of each example's log p(x_i|w), online: what every criterion below needs, in O(n) memory."""

    def log_p(params: Params) -> Float[Array, " n"]:
        each = -loss(params, data)
        if each.ndim != 1:
            raise ValueError(f"got a loss of shape {each.shape}: return the loss of each example, shape (n,)")
        return each

    def init(params: Params) -> Pointwise:
        each = jax.eval_shape(log_p, params)
        zeros = jnp.zeros(each.shape, jnp.promote_types(each.dtype, jnp.float32))
        return Pointwise(zeros.sum(), zeros - jnp.inf, zeros, zeros)

    def update(carry: Pointwise, params: Params) -> Pointwise:
        each, count = log_p(params), carry.count + 1
        mean, square = welford(carry.mean, carry.square, count, each)
        return Pointwise(count, jnp.logaddexp(carry.log_sum, each), mean, square)

    return Fold(init, update)


def merged(each: Pointwise) -> Pointwise:
    """One carry of the draws of all chains, from one a chain (leading axis)."""
    count = jnp.sum(each.count)
    mean = each.count @ each.mean / count
    square = jnp.sum(each.square, axis=0) + each.count @ (each.mean - mean[None]) ** 2
    return Pointwise(count, logsumexp(each.log_sum, axis=0), mean, square)


def bayes_loss(moments: Pointwise) -> Scalar:
    """-1/n sum_i log E_w[p(x_i|w)], the loss of the predictive density: in training or on held-out examples."""
    return -jnp.mean(moments.log_sum - jnp.log(moments.count))


def gibbs_loss(moments: Pointwise) -> Scalar:
    """1/n sum_i E_w[-log p(x_i|w)], the mean loss of one draw."""
    return -jnp.mean(moments.mean)


def functional_variance(moments: Pointwise) -> Scalar:
    """V = sum_i Var_w[log p(x_i|w)] over the training examples (Watanabe 2010)."""
    return jnp.sum(moments.square) / (moments.count - 1)


class Criteria(NamedTuple):
    """Predictive losses per example, and what they are made of. All of one posterior at inverse temperature beta.

    waic: bayes_training + (beta/n) V, which estimates bayes_heldout; gibbs_waic: the same for the Gibbs loss.
    fluctuation: beta V/2, of expectation nu. bayes_heldout, gibbs_heldout: NaN where no examples were held out.
    """

    bayes_training: Estimate
    gibbs_training: Estimate
    waic: Estimate
    gibbs_waic: Estimate
    fluctuation: Estimate
    bayes_heldout: Estimate
    gibbs_heldout: Estimate


def criteria(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Sampler,
    *,
    gamma: Number,
    sampling: Sampling,
    beta: Number = 1.0,
    heldout: Data | None = None,
) -> Criteria:
    """WAIC, singular fluctuation, Bayes and Gibbs losses of the posterior with prior N(params, 1/gamma); Watanabe 2010.

    The error of each is a jackknife over chains: NaN with one.
    """
    n = len(jax.tree.leaves(data)[0])
    folds = [pointwise(loss, examples) for examples in (data, heldout) if examples is not None]
    potential = localised(loss, data, params, nbeta=n * beta, gamma=gamma, batch_size=sampling.batch_size)
    run = run_chains(key, sampler, potential, params, sampling, fold=together(*folds))
    return Criteria(*map(Estimate, *jackknife(lambda each: _criteria(beta, *map(merged, each)), run.folded)))


def _criteria(beta: Number, seen: Pointwise, new: Pointwise | None = None) -> tuple[Scalar, ...]:
    """The numbers of `Criteria`, in its order."""
    bayes, gibbs, V, n = bayes_loss(seen), gibbs_loss(seen), functional_variance(seen), seen.mean.size
    heldout = (unknown(), unknown()) if new is None else (bayes_loss(new), gibbs_loss(new))
    return bayes, gibbs, bayes + beta * V / n, gibbs + beta * V / n, beta * V / 2, *heldout
