"""Kinetic (underdamped) Langevin dynamics: BAOAB (Leimkuhler and Matthews 2013), and generalised HMC (Horowitz 1991).

dw = S v dt, dv = -S grad U dt - c v dt + N(0, 2 c dt), S a diagonal matrix of scales: w has the law exp(-U), v is
N(0, 1). Both samplers take one gradient a step of h = sqrt(step_size); `friction` is the share of the velocity that a
step forgets, 1 - exp(-c h).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, Scalar

from slt.samplers import base
from slt.samplers.base import Info, Number, Params, Potential, Sampler

FRICTION = 0.2
STABLE = 0.8  # h sqrt(A) of a tuned step, A the largest curvature; BAOAB and leapfrog are stable below 2
SHORTEST = 0.3  # of a step of `ghmc`, in units of h
STILL = 10  # rounds of the power iteration before the chain that tunes begins to move
STEPS = 4  # of that chain, in a round
TUNING = 20  # rounds, in each of two passes
COST = 2 * TUNING * (STEPS + 5)  # gradients that tuning takes, a product H v counted as two


class Underdamped(NamedTuple):
    """A position, what the potential gave there, and a velocity; h, and the scales S, are what the start left."""

    params: Params
    energy: Scalar
    loss: Scalar
    grad: Params
    velocity: Params
    h: Float[Array, ""]
    scale: Params


def kinetic(
    step_size: Number | None = None, *, friction: Number = FRICTION, metric: Params | None = None, tuning: int = TUNING
) -> Sampler:
    """BAOAB: half a kick, half a drift, the velocity partly renewed, half a drift, half a kick; never rejected.

    On a quadratic U the law of w is exp(-U) itself, at any stable step: h^2 A < 4. Elsewhere its bias is O(h^2). With a
    variance V of grad U from minibatches, w has the variance (1 + h^2 V (2 - alpha)/(alpha (4 - h^2 A)))/A, alpha the
    friction. metric: a diagonal M like the parameters (S = M^{-1/2}), best the curvatures of U; None: the identity.
    step_size None: both are tuned, in `tuning` rounds of `tuned`.
    """
    _require(step_size, friction, tuning)

    def step(key: Key[Array, ""], state: Underdamped, potential: Potential) -> tuple[Underdamped, Info]:
        return _baoab(key, state, potential, friction), Info(state.loss, base.unknown())

    return Sampler(_begin(step_size, metric, tuning), step)


def ghmc(
    step_size: Number | None = None, *, friction: Number = FRICTION, metric: Params | None = None, tuning: int = TUNING
) -> Sampler:
    """The velocity partly renewed, one leapfrog step, a Metropolis test, the velocity turned where it rejects.

    Exactly exp(-U) at any step size. The size of a step is uniform between 0.3 h and h: where one h is too long for the
    curvature, chains would stick. Needs an exact potential. The arguments are those of `kinetic`.
    """
    _require(step_size, friction, tuning)
    begin = _begin(step_size, metric, tuning)

    def init(key: Key[Array, ""], params: Params, potential: Potential) -> Underdamped:
        base.refuse_minibatches("ghmc", potential)
        return begin(key, params, potential)

    def step(key: Key[Array, ""], state: Underdamped, potential: Potential) -> tuple[Underdamped, Info]:
        key_step, key_size = jax.random.split(key)
        h = state.h * jax.random.uniform(key_size, (), state.h.dtype, SHORTEST, 1)
        moved, probability = _adjusted(key_step, state._replace(h=h), potential, friction)
        return moved._replace(h=state.h), Info(state.loss, probability)

    return Sampler(init, step, rejects=True)


def _require(step_size: Number | None, friction: Number, tuning: int) -> None:
    base.require("> 0", friction=friction, **({} if step_size is None else {"step_size": step_size}))
    base.require("<= 1", friction=friction)
    base.require("> 0", tuning=tuning)


def _begin(
    step_size: Number | None, metric: Params | None, tuning: int
) -> Callable[[Key[Array, ""], Params, Potential], Underdamped]:
    """The first state: a velocity at its temperature, and the step and scales, given or tuned."""

    def init(key: Key[Array, ""], params: Params, potential: Potential) -> Underdamped:
        key_velocity, key_batch = jax.random.split(key)
        at = base.start(key_batch, params, potential)
        velocity = optax.tree.random_like(key_velocity, at.params, jax.random.normal)
        if step_size is None:
            h, scale = tuned(at.params, potential, rounds=tuning)
        else:
            spread = jax.tree.broadcast(1.0 if metric is None else metric, at.params)
            scale = jax.tree.map(lambda m, w: jnp.full_like(w, 1) / jnp.sqrt(m), spread, at.params)
            h = jnp.sqrt(jnp.asarray(step_size, jnp.float32))
        return Underdamped(*at, velocity, h, base.freed(potential.mask, scale))

    return init


def tuned(params: Params, potential: Potential, *, rounds: int) -> tuple[Scalar, Params]:
    """(h, S) from a chain of its own, the same for all chains that start at `params`.

    S = D^{-1/2}, D_i = E[(H z)_i^2]^{1/2} over random signs z and the positions of the chain, H the Hessian of U: the
    equilibration of Dauphin et al. 2015 (arXiv 1502.04390). h sqrt(A) = `STABLE`, A the largest curvature of U in the
    coordinates S^{-1} w that a power iteration saw as the chain went along. Four gradients and two products H v a
    round, in two passes.
    """
    key_passes, key_start, key_velocity = jax.random.split(jax.random.key(0), 3)
    normal = lambda key: optax.tree.random_like(key, params, jax.random.normal)
    at = base.start(key_start, params, potential)
    ones = base.freed(potential.mask, optax.tree.ones_like(params))
    state = Underdamped(*at, normal(key_velocity), jnp.zeros(()), ones)

    def again(state: Underdamped, keys: Key[Array, " 2"]) -> tuple[Underdamped, tuple[Scalar, Params]]:
        """A pass with the scales of the last one."""
        end, h, rows = _pass(keys[0], state, potential, rounds)
        scale = base.freed(potential.mask, jax.tree.map(lambda r: r**-0.25, rows))
        return end._replace(scale=scale, velocity=normal(keys[1]), h=state.h), (h, state.scale)

    _, found = jax.lax.scan(again, state, jax.random.split(key_passes, (2, 2)))
    return jax.tree.map(lambda leaf: leaf[1], found)


def _pass(
    key: Key[Array, ""], state: Underdamped, potential: Potential, rounds: int
) -> tuple[Underdamped, Scalar, Params]:
    """One pass of `tuned`: where its chain ends, h, and the mean of (H z)^2."""

    def round(carry: Any, at: Any) -> tuple[Any, None]:
        state, v, top, part, rows = carry
        key, i = at
        key_move, key_signs, key_batch = jax.random.split(key, 3)
        here = potential._replace(value=lambda _, w: potential.value(jax.random.clone(key_batch), w), exact=True)
        _, product = jax.linearize(jax.grad(lambda w: here.value(key_batch, w)[0]), state.params)
        scaled = lambda tree: jax.tree.map(jnp.multiply, state.scale, tree)
        Hv = scaled(product(scaled(v)))
        Hz = product(optax.tree.random_like(key_signs, v, jax.random.rademacher))
        rows = jax.tree.map(lambda r, g: r + g**2 / rounds, rows, Hz)
        top = jnp.maximum(top, optax.tree.norm(Hv))
        v = optax.tree.scale(1 / jnp.maximum(optax.tree.norm(Hv), 1e-30), Hv)

        def move(carry: Any, key: Key[Array, ""]) -> tuple[Any, None]:
            state, part = carry
            h = part * STABLE / jnp.sqrt(top)
            state, probability = _adjusted(key, state._replace(h=jnp.where(i < STILL, 0, h)), here, FRICTION)
            part = jnp.minimum(1, part * jnp.where(probability < 0.5, 0.5, 1.1))
            return (state, part), None

        state = _at(key_batch, state, here)
        (state, part), _ = jax.lax.scan(move, (state, part), jax.random.split(key_move, STEPS))
        return (state, v, top, part, rows), None

    key_start, key_rounds = jax.random.split(key)
    v = optax.tree.random_like(key_start, state.params, jax.random.normal)
    v = optax.tree.scale(1 / optax.tree.norm(v), v)
    keys = jax.random.split(key_rounds, rounds)
    carry = state, v, jnp.zeros(()), jnp.ones(()), optax.tree.zeros_like(v)
    (state, _, top, _, rows), _ = jax.lax.scan(round, carry, (keys, jnp.arange(rounds)))
    return state, STABLE / jnp.sqrt(top), rows


def _baoab(key: Key[Array, ""], state: Underdamped, potential: Potential, friction: Number) -> Underdamped:
    """B, A, O, A, B: kicks from the gradient, drifts, and the velocity partly renewed."""
    key_noise, key_batch = jax.random.split(key)
    state = _drift(_kick(state, state.h / 2), state.h / 2)
    state = state._replace(velocity=_renewed(key_noise, state.velocity, friction))
    return _kick(_at(key_batch, _drift(state, state.h / 2), potential), state.h / 2)


def _adjusted(
    key: Key[Array, ""], state: Underdamped, potential: Potential, friction: Number
) -> tuple[Underdamped, Scalar]:
    """The velocity renewed, a leapfrog step, its Metropolis test; and the probability with which it was accepted."""
    key_noise, key_batch, key_accept = jax.random.split(key, 3)
    state = state._replace(velocity=_renewed(key_noise, state.velocity, friction))
    half = _kick(state, state.h / 2)
    to = _kick(_at(key_batch, _drift(half, state.h), potential), state.h / 2)
    change = state.energy - to.energy + (_square(state.velocity) - _square(to.velocity)) / 2
    probability = jnp.exp(jnp.minimum(0, jnp.where(jnp.isnan(change), -jnp.inf, change)))
    accept = jax.random.uniform(key_accept) < probability
    back = state._replace(velocity=optax.tree.scale(-1, state.velocity))
    return jax.tree.map(lambda a, b: jnp.where(accept, a, b), to, back), probability


def _kick(state: Underdamped, time: Scalar) -> Underdamped:
    """v <- v - time S grad U."""
    velocity = jax.tree.map(lambda v, g, s: v - time * s * g, state.velocity, state.grad, state.scale)
    return state._replace(velocity=velocity)


def _drift(state: Underdamped, time: Scalar) -> Underdamped:
    """w <- w + time S v; a frozen coordinate has the scale 0 and keeps its bits."""
    return state._replace(
        params=jax.tree.map(lambda w, v, s: w + time * s * v, state.params, state.velocity, state.scale)
    )


def _at(key: Key[Array, ""], state: Underdamped, potential: Potential) -> Underdamped:
    """The state with what the potential gives at its position."""
    to = base.evaluate(key, state.params, potential)
    return state._replace(energy=to.energy, loss=to.loss, grad=to.grad)


def _renewed(key: Key[Array, ""], velocity: Params, friction: Number) -> Params:
    """v <- (1 - alpha) v + sqrt(1 - (1 - alpha)^2) N(0, 1)."""
    noise, keep = optax.tree.random_like(key, velocity, jax.random.normal), 1 - friction
    return jax.tree.map(lambda v, xi: keep * v + jnp.sqrt(1 - keep**2) * xi, velocity, noise)


def _square(velocity: Params) -> Scalar:
    return optax.tree.norm(velocity, squared=True)
