"""The local learning coefficient, estimated by sampling near a point."""

from typing import Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from slt.chains import Chains, run_chains
from slt.diagnostics import ess, rhat, step_bias
from slt.samplers.base import Data, Loss, Params, Sampler, free_parameters, localised, mean_loss, paired


class Estimate(NamedTuple):
    """A number with its standard error: over chains and their autocorrelated draws, or over random probes."""

    value: Scalar
    stderr: Scalar


class LLC(NamedTuple):
    """An estimate with its evidence. Every number is dimensionless but the losses, which are in the loss's own units.

    value: lambda-hat = nbeta (E[L] - L(w*)).      stderr: its Monte-Carlo standard error, autocorrelation included.
    ess: effective number of draws, of chains * draws.      rhat: split R-hat of the chains.
    acceptance: mean Metropolis acceptance probability of the steps (NaN on minibatches).
    loss_at_centre: L(w*) on the full data.      mean_loss: E[L] over the draws.
    saturation: (E[L] - L(w*))/(chance - L(w*)); near 1 the chains have forgotten w*, and lambda-hat is the loss with
    its sign turned (NaN where no chance loss was given).
    baseline_noise: the share of the draws' variance that is their minibatches' own, nbeta^2 Var[l_i(w*)]/batch_size,
    which the paired baseline takes away; 0 with that baseline and on full data, NaN for a loss that is a scalar.
    step_bias: at most by which share of itself it is too large because steps are finite (`step_bias`); 0 for a sampler
    that rejects, NaN on minibatches.
    free: number of parameters that move; half of it is the most that lambda can be.
    trace: nbeta (L - L(w*)), shape (chains, draws).
    """

    value: Scalar
    stderr: Scalar
    ess: Scalar
    rhat: Scalar
    acceptance: Scalar
    loss_at_centre: Scalar
    mean_loss: Scalar
    saturation: Scalar
    baseline_noise: Scalar
    step_bias: Scalar
    free: Scalar
    trace: Float[Array, "chains draws"]


def estimate_llc(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Sampler,
    *,
    nbeta: Float[Array, ""] | float,
    gamma: Float[Array, ""] | float,
    chains: int,
    warmup: int,
    draws: int,
    thin: int = 1,
    batch_size: int | None = None,
    baseline: Literal["full", "paired"] = "full",
    mask: PyTree | None = None,
    chance: Float[Array, ""] | float | None = None,
) -> LLC:
    """lambda-hat(w*) = nbeta (E_w[L(w)] - L(w*)), the mean over chains started at w* = `params` and held near it.

    Lau et al. 2023 (arXiv 2308.12108), with the target of `localised`. Each chain takes `warmup` steps
    that are thrown away, then `draws * thin` of which every thin-th is kept. L(w*) is the loss on the full data, or
    with baseline="paired" the one on each draw's own minibatch. `chance` is the loss of an untrained or constant model:
    with it the estimate says how far the chains went towards it. Pure: `vmap` it over checkpoints for a curve.
    """
    if baseline not in ("full", "paired"):
        raise ValueError(f'got baseline={baseline!r}: write "full" or "paired"')

    potential = localised(loss, data, params, nbeta=nbeta, gamma=gamma, batch_size=batch_size, mask=mask)
    loss_at_centre = mean_loss(loss, params, data)
    if baseline == "paired":
        potential = paired(potential, params, loss_at_centre)
    run = run_chains(key, sampler, potential, params, chains=chains, warmup=warmup, draws=draws, thin=thin)

    noise = 0.0
    if batch_size is not None and baseline == "full":
        noise = _example_variance(loss, params, data) / batch_size
    return summary(
        run,
        nbeta=nbeta,
        loss_at_centre=loss_at_centre,
        adjusted=sampler.adjusted,
        free=free_parameters(params, mask),
        chance=chance,
        noise=noise,
    )


def summary(
    run: Chains,
    *,
    nbeta: Float[Array, ""] | float,
    loss_at_centre: Scalar,
    adjusted: bool,
    free: Float[Array, ""] | int,
    chance: Float[Array, ""] | float | None = None,
    noise: Float[Array, ""] | float = 0.0,
) -> LLC:
    """The estimate that chains make; `noise` is the variance that a minibatch puts on each recorded loss."""
    trace = nbeta * (run.loss - loss_at_centre)
    value, acceptance, effective = jnp.mean(trace), jnp.mean(run.acceptance), ess(trace)
    rise = jnp.mean(run.loss) - loss_at_centre
    return LLC(
        value=value,
        stderr=jnp.std(trace, ddof=1) / jnp.sqrt(effective),
        ess=effective,
        rhat=rhat(trace),
        acceptance=acceptance,
        loss_at_centre=loss_at_centre,
        mean_loss=jnp.mean(run.loss),
        saturation=jnp.full((), jnp.nan) if chance is None else rise / (chance - loss_at_centre),
        baseline_noise=nbeta**2 * noise / jnp.var(trace),
        step_bias=jnp.zeros(()) if adjusted else step_bias(acceptance, value, free),
        free=jnp.asarray(free, jnp.float32),
        trace=trace,
    )


def _example_variance(loss: Loss, params: Params, data: Data) -> Scalar:
    each = loss(params, data)
    return jnp.var(each) if jnp.ndim(each) else jnp.full((), jnp.nan)
