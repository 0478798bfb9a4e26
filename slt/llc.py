"""The local learning coefficient, estimated by sampling near a point."""

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from slt.diagnostics import ess, rhat
from slt.samplers.base import Data, Info, Loss, Params, Sampler, localised, paired


class LLC(NamedTuple):
    """An estimate with its evidence. Every number is dimensionless but the losses, which are in the loss's own units.

    value: lambda-hat = nbeta (E[L] - L(w*)).      stderr: its Monte-Carlo standard error, autocorrelation included.
    ess: effective number of draws, of chains * draws.      rhat: split R-hat of the chains.
    acceptance: mean Metropolis acceptance probability of the steps (NaN on minibatches).
    loss_at_centre: L(w*) on the full data.      mean_loss: E[L] over the draws.
    trace: nbeta (L - L(w*)), shape (chains, draws).
    """

    value: Scalar
    stderr: Scalar
    ess: Scalar
    rhat: Scalar
    acceptance: Scalar
    loss_at_centre: Scalar
    mean_loss: Scalar
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
) -> LLC:
    """lambda-hat(w*) = nbeta (E_w[L(w)] - L(w*)), the mean over chains started at w* = `params` and held near it.

    Lau et al. 2023 (arXiv 2308.12108), with the target of `localised`. Each chain takes `warmup` steps
    that are thrown away, then `draws * thin` of which every thin-th is kept. L(w*) is the loss on the full data, or
    with baseline="paired" the one on each draw's own minibatch. Pure: `vmap` it over checkpoints for a curve.
    """
    for name, number, least in (("chains", chains, 1), ("warmup", warmup, 0), ("draws", draws, 4), ("thin", thin, 1)):
        if number < least:
            raise ValueError(f"got {name}={number}: write {name}={least} or more")
    if baseline not in ("full", "paired"):
        raise ValueError(f'got baseline={baseline!r}: write "full" or "paired"')

    potential = localised(loss, data, params, nbeta=nbeta, gamma=gamma, batch_size=batch_size, mask=mask)
    loss_at_centre = jnp.mean(loss(params, data))
    if baseline == "paired":
        potential = paired(potential, params, loss_at_centre)

    def chain(key: Key[Array, ""]) -> tuple[Float[Array, " draws"], Scalar]:
        key_init, key_steps = jax.random.split(key)
        state = sampler.init(key_init, params, potential)

        def step(state: Any, t: Array) -> tuple[Any, Info]:
            return sampler.step(jax.random.fold_in(key_steps, t), state, potential)

        _, info = jax.lax.scan(step, state, jnp.arange(warmup + draws * thin))
        return info.loss[warmup::thin], jnp.mean(info.acceptance[warmup:])

    losses, acceptance = jax.vmap(chain)(jax.random.split(key, chains))
    trace = nbeta * (losses - loss_at_centre)
    effective = ess(trace)
    return LLC(
        value=jnp.mean(trace),
        stderr=jnp.std(trace, ddof=1) / jnp.sqrt(effective),
        ess=effective,
        rhat=rhat(trace),
        acceptance=jnp.mean(acceptance),
        loss_at_centre=loss_at_centre,
        mean_loss=jnp.mean(losses),
        trace=trace,
    )
