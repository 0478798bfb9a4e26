"""The local learning coefficient, estimated by sampling near a point."""

from math import log
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Key, PyTree, Scalar

from slt import stein
from slt.chains import NOTHING, Chains, Fold, Observe, Sampling, run_chains
from slt.samplers import base
from slt.samplers.base import Data, Loss, Number, Params, Sampler
from slt.statistics import ess, rhat, step_bias

ROUNDING = 1e-5  # of an estimate without noise, at most: that of sums in float32


class Estimate(NamedTuple):
    """A number with its standard error: over chains and their autocorrelated draws, or over random probes."""

    value: Scalar
    stderr: Scalar


class Seen(NamedTuple):
    """What is recorded of each draw, with delta = w - w*.

    virial: delta . grad U, of each leaf of the parameters; a degree of freedom has the mean 1.
    tilt: nbeta grad L(w*) . delta, the part of nbeta (L - L*) that is linear in delta.
    control: of mean 0 under exp(-U) (`slt.stein`).
    """

    virial: Float[Array, "*draws leaves"]
    tilt: Float[Array, "*draws"]
    control: Float[Array, "*draws"]


class LLC(NamedTuple):
    """An estimate with its evidence. Every number is dimensionless but the losses, which are in the loss's own units.

    value: lambda-hat = nbeta (E[L] - L(w*)).      stderr: its Monte-Carlo standard error, autocorrelation included.
    plain, plain_stderr: the same without Stein's control variate, which `value` uses where it lowers the error.
    ess: effective number of draws, of chains * draws.      rhat: split R-hat of the chains.
    acceptance: mean acceptance probability of a Metropolis test; NaN on minibatches and where there is none to compute.
    exact: each loss was computed on all the data.      rejects: the sampler has a Metropolis test.
    loss_at_centre: L(w*) on the full data.      mean_loss: E[L] over the draws.
    saturation: (E[L] - L(w*))/(chance - L(w*)), 1 where chains have forgotten w*; NaN where no chance loss was given.
    step_bias: share of itself by which finite steps make it too large, at most; 0 with a Metropolis test.
    free: number of parameters that move; half of it is the most that lambda can be.
    held, held_stderr: degrees of freedom that the chains hold, E[(w - w*) . grad U]: `free` under exp(-U), less where
    slow directions have not been explored, more where steps or minibatches heat.
    held_by: name of a leaf of the parameters -> (held, its standard error, free), of the leaf alone.
    tilt, tilt_stderr: nbeta grad L(w*) . E[w - w*], what is in lambda-hat because w* is no minimum.
    trace: nbeta (L - L(w*)), shape (chains, draws); on minibatches both losses are those of one minibatch.
    """

    value: Scalar
    stderr: Scalar
    plain: Scalar
    plain_stderr: Scalar
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
    held: Scalar
    held_stderr: Scalar
    held_by: dict[str, Float[Array, " 3"]]
    tilt: Scalar
    tilt_stderr: Scalar
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
    weight_decay: Number = 0.0,
) -> LLC:
    """lambda-hat(w*) = nbeta (E_w[L(w)] - L(w*)), the mean over chains started at w* = `params` and held near it.

    Lau et al. 2023 (arXiv 2308.12108), with the target of `localised` and the chains of `Sampling`. On minibatches
    L(w*) is the loss on each draw's own minibatch, a control variate. `chance` is the loss of an untrained or constant
    model, for the field `saturation`; `weight_decay` is that of the training. Pure: `vmap` it over checkpoints for a
    curve.
    """
    sampling = Sampling(chains, warmup, draws, thin, batch_size)
    options = Options(nbeta, gamma, sampling, mask, chance, weight_decay)
    return estimate_and_fold(key, loss, params, data, sampler, options=options)[0]


class Options(NamedTuple):
    """The options of `estimate_llc`, in one."""

    nbeta: Number
    gamma: Number
    sampling: Sampling
    mask: PyTree | None = None
    chance: Number | None = None
    weight_decay: Number = 0.0


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
    nbeta, gamma, sampling, mask, chance, weight_decay = options
    base.require("> 0", nbeta=nbeta)
    pull: Any = dict(nbeta=nbeta, gamma=gamma, weight_decay=weight_decay)
    potential = base.localised(loss, data, params, batch_size=sampling.batch_size, mask=mask, **pull)
    with jax.debug_nans(False):  # NaN is a value here: trouble is found by `verdict`, and never raised
        steps = sampling.warmup + sampling.draws * sampling.thin
        dense = sampler.rejects and stein.affords(params, sampling.chains * steps)
        centre = look(loss, params, data, mask=mask, dense=dense, **pull)
        if not potential.exact:
            potential = base.paired(potential, params, centre.loss)
        observe = observer(params, centre, nbeta=nbeta, mask=mask)
        run = run_chains(key, sampler, potential, params, sampling, fold=fold, observe=observe)
        llc = summary(
            run,
            nbeta=nbeta,
            loss_at_centre=centre.loss,
            exact=potential.exact,
            rejects=sampler.rejects,
            free=degrees(params, mask),
            chance=chance,
        )
    return llc, run.folded


class Centre(NamedTuple):
    """What is known at w*: L, its gradient on the free coordinates, and the matrix of `stein` where it was worth it."""

    loss: Scalar
    slope: Params
    B: Float[Array, "d d"] | None


def look(
    loss: Loss,
    params: Params,
    data: Data,
    *,
    nbeta: Number,
    gamma: Number,
    weight_decay: Number,
    mask: PyTree | None,
    dense: bool,
) -> Centre:
    """What is known at w* = `params`. dense: the Hessian is taken."""
    at_centre, slope = jax.value_and_grad(lambda w: base.mean_loss(loss, w, data))(params)
    pull = gamma + nbeta * weight_decay
    B = stein.weights(loss, params, data, nbeta=nbeta, gamma=pull, mask=mask) if dense else None
    return Centre(at_centre, base.freed(mask, slope), B)


def observer(params: Params, centre: Centre, *, nbeta: Number, mask: PyTree | None) -> Observe:
    """What is recorded of a draw: `Seen`."""
    free = sum(degrees(params, mask).values())

    def observe(at: Params, grad: Params) -> Seen:
        delta = base.freed(mask, optax.tree.sub(at, params))
        virial = jnp.stack([jnp.vdot(*pair) for pair in zip(*map(jax.tree.leaves, (delta, grad)), strict=True)])
        tilt = nbeta * jnp.asarray(optax.tree.vdot(centre.slope, delta))
        half = (jnp.sum(virial) - free) / 2
        return Seen(virial, tilt, half if centre.B is None else stein.control(centre.B, delta, grad))

    return observe


def degrees(params: Params, mask: PyTree | None) -> dict[str, Scalar]:
    """Name of each leaf of the parameters -> how many of its coordinates move under `mask`."""
    leaves = jax.tree_util.tree_leaves_with_path(base.freed(mask, optax.tree.ones_like(params)))
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator=".") or "params"
    return {name(path): jnp.sum(leaf, dtype=jnp.float32) for path, leaf in leaves}


def summary(
    run: Chains,
    *,
    nbeta: Number,
    loss_at_centre: Scalar,
    exact: bool,
    rejects: bool,
    free: dict[str, Scalar],
    chance: Number | None = None,
) -> LLC:
    """The estimate that chains make. free: degrees of freedom of each leaf (`degrees`)."""
    trace, seen = nbeta * (run.loss - loss_at_centre), run.seen
    plain, acceptance = averaged(trace), jnp.mean(run.acceptance)
    better = averaged(stein.corrected(trace, seen.control))
    better = better._replace(stderr=jnp.hypot(better.stderr, ROUNDING * better.value))
    use = exact and rejects
    value, stderr = (jnp.where(use & (better.stderr < plain.stderr), b, p) for b, p in zip(better, plain, strict=True))
    all_free, rise = sum(free.values()), jnp.mean(run.loss) - loss_at_centre
    held, tilt = averaged(jnp.sum(seen.virial, axis=-1)), averaged(seen.tilt)
    by_leaf = jax.vmap(averaged, in_axes=-1)(seen.virial)
    rows = zip(*by_leaf, free.values(), strict=True)
    heat = (held.value - all_free) / (2 * jnp.abs(plain.value))
    bias = step_bias(acceptance, plain.value, all_free)
    return LLC(
        value=value,
        stderr=stderr,
        plain=plain.value,
        plain_stderr=plain.stderr,
        ess=ess(trace),
        rhat=rhat(trace),
        acceptance=acceptance,
        exact=jnp.asarray(exact),
        rejects=jnp.asarray(rejects),
        loss_at_centre=loss_at_centre,
        mean_loss=jnp.mean(run.loss),
        saturation=base.unknown() if chance is None else rise / (chance - loss_at_centre),
        step_bias=jnp.zeros(()) if rejects else jnp.where(jnp.isnan(bias), jnp.maximum(heat, 0), bias),
        free=jnp.asarray(all_free, jnp.float32),
        held=held.value,
        held_stderr=held.stderr,
        held_by={name: jnp.stack(row) for name, row in zip(free, rows, strict=True)},
        tilt=tilt.value,
        tilt_stderr=tilt.stderr,
        trace=trace,
    )


def averaged(draws: Float[Array, "chains draws"]) -> Estimate:
    """The mean of autocorrelated draws, with its standard error."""
    return Estimate(jnp.mean(draws), jnp.std(draws, ddof=1) / jnp.sqrt(ess(draws)))
