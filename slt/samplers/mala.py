"""The Metropolis-adjusted Langevin algorithm (Roberts and Tweedie 1996)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from slt.samplers.base import Info, Params, Point, Potential, Sampler, acceptance, evaluate, langevin, start


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
