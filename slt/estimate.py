"""The local learning coefficient, estimated by sampling near a point."""

from math import log
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree, Scalar

from slt.chains import NOTHING, Chains, Fold, Sampling, run_chains
from slt.samplers import base
from slt.samplers.base import Data, Loss, Number, Params, Sampler
from slt.statistics import ess, rhat, step_bias


class Estimate(NamedTuple):
    """A number with its standard error: over chains and their autocorrelated draws, or over random probes."""

    value: Scalar
    stderr: Scalar


class LLC(NamedTuple):
    """An estimate with its evidence. Every number is dimensionless but the losses, which are in the loss's own units.

    value: lambda-hat = nbeta (E[L] - L(w*)).      stderr: its Monte-Carlo standard error, autocorrelation included.
    ess: effective number of draws, of chains * draws.      rhat: split R-hat of the chains.
    acceptance: mean acceptance probability of a Metropolis test; NaN on minibatches and where there is none to compute.
    exact: each loss was computed on all the data.      rejects: the sampler has a Metropolis test.
    loss_at_centre: L(w*) on the full data.      mean_loss: E[L] over the draws.
    saturation: (E[L] - L(w*))/(chance - L(w*)), 1 where chains have forgotten w*; NaN where no chance loss was given.
    step_bias: share of itself by which finite steps make it too large, at most; NaN where there is no acceptance.
    free: number of parameters that move; half of it is the most that lambda can be.
    trace: nbeta (L - L(w*)), shape (chains, draws); on minibatches both losses are those of one minibatch.
    """

    value: Scalar
    stderr: Scalar
    ess: Scalar
    rhat: Scalar
    acceptance: Scalar
    exact: Bool[Array, ""]
    rejects: Bool[Array, ""]
    loss_at_centre: Scalar
    mean_loss: Scalar
    saturation: Scalar
    step_bias: Scalar
    free: Scalar
    trace: Float[Array, "chains draws"]


def default_nbeta(n: int) -> float:
    """n/log n, n the size of the data set, not of a minibatch (Watanabe 2013)."""
    base.require(">= 2", n=n)
    return n / log(n)


def estimate_llc(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Sampler,
    *,
    nbeta: Number,
    gamma: Number,
    chains: int,
    warmup: int,
    draws: int,
    thin: int = 1,
    batch_size: int | None = None,
    mask: PyTree | None = None,
    chance: Number | None = None,
) -> LLC:
    """lambda-hat(w*) = nbeta (E_w[L(w)] - L(w*)), the mean over chains started at w* = `params` and held near it.

    Lau et al. 2023 (arXiv 2308.12108), with the target of `localised` and the chains of `Sampling`. On minibatches
    L(w*) is the loss on each draw's own minibatch, a control variate. `chance` is the loss of an untrained or constant
    model, for the field `saturation`. Pure: `vmap` it over checkpoints for a curve.
    """
    sampling = Sampling(chains, warmup, draws, thin, batch_size)
    options = Options(nbeta, gamma, sampling, mask, chance)
    return estimate_and_fold(key, loss, params, data, sampler, options=options)[0]


class Options(NamedTuple):
    """The options of `estimate_llc`, in one."""

    nbeta: Number
    gamma: Number
    sampling: Sampling
    mask: PyTree | None = None
    chance: Number | None = None


def estimate_and_fold(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Sampler,
    *,
    options: Options,
    fold: Fold = NOTHING,
) -> tuple[LLC, Any]:
    """`estimate_llc`, and what `fold` made of the draws: one carry a chain."""
    nbeta, gamma, sampling, mask, chance = options
    base.require("> 0", nbeta=nbeta)
    potential = base.localised(loss, data, params, nbeta=nbeta, gamma=gamma, batch_size=sampling.batch_size, mask=mask)
    with jax.debug_nans(False):  # NaN is a value here: trouble is found by `verdict`, and never raised
        loss_at_centre = base.mean_loss(loss, params, data)
        if not potential.exact:
            potential = base.paired(potential, params, loss_at_centre)
        run = run_chains(key, sampler, potential, params, sampling, fold=fold)
        llc = summary(
            run,
            nbeta=nbeta,
            loss_at_centre=loss_at_centre,
            exact=potential.exact,
            rejects=sampler.rejects,
            free=base.free_parameters(params, mask),
            chance=chance,
        )
    return llc, run.folded


def summary(
    run: Chains,
    *,
    nbeta: Number,
    loss_at_centre: Scalar,
    exact: bool,
    rejects: bool,
    free: Number,
    chance: Number | None = None,
) -> LLC:
    """The estimate that chains make."""
    trace = nbeta * (run.loss - loss_at_centre)
    value, acceptance, effective = jnp.mean(trace), jnp.mean(run.acceptance), ess(trace)
    rise = jnp.mean(run.loss) - loss_at_centre
    return LLC(
        value=value,
        stderr=jnp.std(trace, ddof=1) / jnp.sqrt(effective),
        ess=effective,
        rhat=rhat(trace),
        acceptance=acceptance,
        exact=jnp.asarray(exact),
        rejects=jnp.asarray(rejects),
        loss_at_centre=loss_at_centre,
        mean_loss=jnp.mean(run.loss),
        saturation=base.unknown() if chance is None else rise / (chance - loss_at_centre),
        step_bias=jnp.zeros(()) if rejects else step_bias(acceptance, value, free),
        free=jnp.asarray(free, jnp.float32),
        trace=trace,
    )
