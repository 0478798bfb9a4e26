"""Samplers with a velocity: SGHMC (Chen et al. 2014, equation 15) and SGNHT (Ding et al. 2014, algorithm 2)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, Scalar

from slt.samplers import base
from slt.samplers.base import Info, Number, Params, Potential, Sampler


class Moving(NamedTuple):
    """A position, what the potential gave there, a velocity (the length of the last step), and the friction."""

    params: Params
    loss: Scalar
    grad: Params
    velocity: Params
    friction: Float[Array, ""]


def sghmc(step_size: Number, *, friction: Number = 0.1) -> Sampler:
    """v <- (1 - alpha) v - eta grad U + N(0, 2 alpha eta), w <- w + v, with eta = step_size/2 and alpha the friction.

    friction=1 is sgld(step_size). On a quadratic U with curvature A and a variance V of grad U from minibatches the
    stationary variance is (1 + eta V/(2 alpha))/(A (1 - eta A/(4 - 2 alpha))).
    """
    base.require("> 0", step_size=step_size, friction=friction)
    eta = step_size / 2

    def step(key: Key[Array, ""], state: Moving, potential: Potential) -> tuple[Moving, Info]:
        moved = _move(key, state, potential, eta=eta, friction=friction, diffusion=friction)
        return moved, Info(state.loss, base.unknown())

    return Sampler(_begin(eta, friction), step)


def sgnht(step_size: Number, *, diffusion: Number = 0.1) -> Sampler:
    """v <- (1 - alpha) v - eta grad U + N(0, 2 a eta), w <- w + v, alpha <- alpha + (1 - alpha/2)|v|^2/d - eta.

    eta = step_size/2. `sghmc` with the diffusion a injected and the friction alpha found, so that over the d free
    coordinates E[(1 - alpha/2)|v|^2]/d = eta at any minibatch noise: alpha = a + eta V/2 at small steps, for a variance
    V of grad U. The factor 1 - alpha/2 is not in the published algorithm: a velocity with friction alpha has the mean
    square eta/(1 - alpha/2), and with it positions of equal curvatures A have exactly the variance 1/A. alpha settles
    in about alpha/eta steps.
    """
    base.require("> 0", step_size=step_size, diffusion=diffusion)
    eta = step_size / 2

    def step(key: Key[Array, ""], state: Moving, potential: Potential) -> tuple[Moving, Info]:
        moved = _move(key, state, potential, eta=eta, friction=state.friction, diffusion=diffusion)
        square = optax.tree.norm(moved.velocity, squared=True)
        energy = (1 - state.friction / 2) * square / base.free_parameters(state.params, potential.mask)
        friction = jnp.asarray(state.friction + energy - eta, state.friction.dtype)
        return moved._replace(friction=friction), Info(state.loss, base.unknown())

    return Sampler(_begin(eta, diffusion), step)


def _begin(eta: Number, friction: Number) -> Callable[[Key[Array, ""], Params, Potential], Moving]:
    """The first state: a velocity at its temperature."""

    def init(key: Key[Array, ""], params: Params, potential: Potential) -> Moving:
        key_velocity, key_batch = jax.random.split(key)
        at = base.start(key_batch, params, potential)
        velocity = _thermal(key_velocity, at.params, eta, potential)
        return Moving(at.params, at.loss, at.grad, velocity, jnp.asarray(friction, jnp.float32))

    return init


def _thermal(key: Key[Array, ""], like: Params, variance: Number, potential: Potential) -> Params:
    """N(0, variance) on the free coordinates, zero on the frozen ones."""
    noise = optax.tree.scale(jnp.sqrt(variance), optax.tree.random_like(key, like, jax.random.normal))
    return noise if potential.mask is None else base.select(potential.mask, noise, optax.tree.zeros_like(noise))


def _move(
    key: Key[Array, ""], state: Moving, potential: Potential, *, eta: Number, friction: Number, diffusion: Number
) -> Moving:
    """The velocity kicked, then w <- w + v; frozen coordinates have no velocity, and keep their bits."""
    key_noise, key_batch = jax.random.split(key)
    noise = _thermal(key_noise, state.params, 2 * diffusion * eta, potential)
    kicked = lambda v, g, xi: (1 - friction) * v - eta * g + xi
    velocity = jax.tree.map(kicked, state.velocity, state.grad, noise)
    params = optax.tree.add(state.params, velocity)
    if potential.mask is not None:
        velocity = base.select(potential.mask, velocity, optax.tree.zeros_like(velocity))
        params = base.select(potential.mask, params, state.params)
    to = base.evaluate(key_batch, params, potential)
    return Moving(to.params, to.loss, to.grad, velocity, state.friction)
