"""Langevin samplers: SGLD (Welling and Teh 2011), and MALA (Roberts and Tweedie 1996)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from slt.samplers import base
from slt.samplers.base import Info, Number, Params, Point, Potential, Sampler


def sgld(step_size: Number) -> Sampler:
    """w <- w - (eps/2) grad U + N(0, eps), never rejected; with an exact potential, unadjusted Langevin.

    On a quadratic U with curvature A its stationary variance is 1/(A (1 - eps A/4)), not 1/A: it overshoots by the
    second factor, and diverges at eps A >= 4.
    """
    base.require("> 0", step_size=step_size)

    def step(key: Key[Array, ""], state: Point, potential: Potential) -> tuple[Point, Info]:
        key_noise, key_batch = jax.random.split(key)
        moved = base.evaluate(key_batch, base.langevin(key_noise, state, step_size, potential), potential)
        accepted = base.acceptance(state, moved, step_size) if potential.exact else base.unknown()
        return moved, Info(state.loss, accepted)

    return Sampler(base.start, step)


def mala(step_size: Number) -> Sampler:
    """Langevin proposals with a Metropolis test: exactly exp(-U) at any step size. Needs an exact potential."""
    base.require("> 0", step_size=step_size)

    def init(key: Key[Array, ""], params: Params, potential: Potential) -> Point:
        base.refuse_minibatches("mala", potential)
        return base.start(key, params, potential)

    def step(key: Key[Array, ""], state: Point, potential: Potential) -> tuple[Point, Info]:
        key_noise, key_batch, key_accept = jax.random.split(key, 3)
        proposal = base.evaluate(key_batch, base.langevin(key_noise, state, step_size, potential), potential)
        probability = base.acceptance(state, proposal, step_size)
        probability = jnp.where(jnp.isnan(probability), 0.0, probability)  # a proposal outside the domain of the loss
        accept = jax.random.uniform(key_accept) < probability
        moved = jax.tree.map(lambda a, b: jnp.where(accept, a, b), proposal, state)
        return moved, Info(state.loss, probability)

    return Sampler(init, step, rejects=True)
