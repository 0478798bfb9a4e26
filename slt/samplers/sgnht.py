"""The stochastic gradient Nose-Hoover thermostat (Ding et al. 2014, algorithm 2)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, Scalar

from slt.samplers.base import Info, Params, Potential, Sampler, free_parameters
from slt.samplers.sghmc import Moving, Number, move, sghmc, thermal


class Thermostatted(NamedTuple):
    """A position, what the potential gave there, a velocity, and the friction alpha that the thermostat has reached."""

    params: Params
    loss: Scalar
    grad: Params
    velocity: Params
    friction: Float[Array, ""]


def sgnht(step_size: Number, *, diffusion: Number = 0.1) -> Sampler:
    """v <- (1 - alpha) v - eta grad U + N(0, 2 a eta), w <- w + v, alpha <- alpha + (1 - alpha/2)|v|^2/d - eta.

    eta = step_size/2. `sghmc` with the diffusion a injected and the friction alpha found, so that over the d free
    coordinates E[(1 - alpha/2)|v|^2]/d = eta: exactly, at any step size and under any minibatch noise. A variance V of
    grad U that is the same in all coordinates is absorbed, alpha = a + eta V/2 at small steps; one that is not is
    absorbed on average only. The factor 1 - alpha/2 is not in the published algorithm: a velocity with friction alpha
    has the mean square eta/(1 - alpha/2) in equilibrium, and asking for eta leaves positions too narrow by 1 - alpha/2
    however small the step; with it, positions of equal curvatures A have exactly the variance 1/A. alpha fluctuates by sqrt(eta/d), and settles in about alpha/eta steps: where V is large,
    begin with a diffusion near a + eta V/2, or with a warm-up that long.
    """
    eta = step_size / 2
    start = sghmc(step_size, friction=diffusion).init

    def init(key: Key[Array, ""], params: Params, potential: Potential) -> Thermostatted:
        return Thermostatted(*start(key, params, potential), friction=jnp.asarray(diffusion, jnp.float32))

    def step(key: Key[Array, ""], state: Thermostatted, potential: Potential) -> tuple[Thermostatted, Info]:
        key_noise, key_batch = jax.random.split(key)
        noise = thermal(key_noise, state.params, 2 * diffusion * eta, potential)
        kicked = lambda v, g, xi: (1 - state.friction) * v - eta * g + xi
        velocity = jax.tree.map(kicked, state.velocity, state.grad, noise)
        moved = move(key_batch, Moving(*state[:4]), velocity, potential)
        energy = (
            (1 - state.friction / 2)
            * optax.tree.norm(moved.velocity, squared=True)
            / free_parameters(state.params, potential.mask)
        )
        return Thermostatted(*moved, friction=state.friction + energy - eta), Info(state.loss, jnp.full((), jnp.nan))

    return Sampler(init, step)
