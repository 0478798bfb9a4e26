"""Langevin samplers: stochastic gradient Langevin dynamics (Welling and Teh 2011), and MALA (Roberts and Tweedie 1996)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from slt.samplers.base import Info, Params, Point, Potential, Sampler, acceptance, evaluate, langevin, start


def sgld(step_size: Float[Array, ""] | float) -> Sampler:
    """w <- w - (eps/2) grad U + N(0, eps), never rejected; with an exact potential, unadjusted Langevin.

    On a quadratic U with curvature A its stationary variance is 1/(A (1 - eps A/4)), not 1/A: it overshoots by the
    second factor, and diverges at eps A >= 4.
    """

    def init(key: Key[Array, ""], params: Params, potential: Potential) -> Point:
        return start(key, params, potential)

    def step(key: Key[Array, ""], state: Point, potential: Potential) -> tuple[Point, Info]:
        key_noise, key_batch = jax.random.split(key)
        moved = evaluate(key_batch, langevin(key_noise, state, step_size, potential), potential)
        accepted = acceptance(state, moved, step_size) if potential.exact else jnp.full((), jnp.nan)
        return moved, Info(state.loss, accepted)

    return Sampler(init, step)


def mala(step_size: Float[Array, ""] | float) -> Sampler:
    """Langevin proposals with a Metropolis test: exactly exp(-U) at any step size. Needs an exact potential."""

    def init(key: Key[Array, ""], params: Params, potential: Potential) -> Point:
        if not potential.exact:
            raise ValueError(
                "mala needs an exact potential, and this one draws minibatches: leave batch_size out to use all the data, "
                "or take a stochastic sampler, sgld(step_size)"
            )
        return start(key, params, potential)

    def step(key: Key[Array, ""], state: Point, potential: Potential) -> tuple[Point, Info]:
        key_noise, key_batch, key_accept = jax.random.split(key, 3)
        proposal = evaluate(key_batch, langevin(key_noise, state, step_size, potential), potential)
        probability = acceptance(state, proposal, step_size)
        accept = jax.random.uniform(key_accept) < probability
        moved = jax.tree.map(lambda a, b: jnp.where(accept, a, b), proposal, state)
        return moved, Info(state.loss, probability)

    return Sampler(init, step, adjusted=True)
