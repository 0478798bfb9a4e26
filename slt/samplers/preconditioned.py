"""Langevin dynamics whose step sizes follow the gradients seen: RMSProp-SGLD and Adam-SGLD.

Li et al. 2016 (arXiv 1512.07666); with a localiser, Hitchcock and Hoogland 2025 (arXiv 2507.21449, appendix D.3).
With g = grad L, untempered and without the localiser,

    v <- decay v + (1 - decay) g^2,    G = 1/(sqrt(v_hat) + epsilon),
    w <- w - (eps/2) G grad U + N(0, eps G)        (Adam: nbeta m_hat, m the mean of g, in place of nbeta g)

coordinate by coordinate. There is no term Gamma = div G: where v follows w closely the law is exp(-U) prod_i 1/G_i(w)
as eps -> 0, which on a quadratic without minibatch noise is lambda-hat = d instead of d/2. The bias goes where G moves
little: under minibatch noise larger than the gradient, or with epsilon large against sqrt(v).

`v_init="one"`: v_{-1} = 1 and v_hat_t = v_t/(1 - decay^{t+1}) (Hitchcock and Hoogland); the first steps are too small,
for about log(1/g^2)/(1 - decay) of them. `v_init="zero"`: v_{-1} = 0 and v_hat = v (devinterp); they are too large, for
about 1/(1 - decay). The warm-up must outlast it.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key, Scalar

from slt.samplers import base
from slt.samplers.base import Info, Number, Params, Point, Potential, Sampler

Start = Literal["one", "zero"]


class Preconditioned(NamedTuple):
    """A position, what the potential gave there, and running means of grad L and of its square up to there."""

    params: Params
    energy: Scalar
    loss: Scalar
    grad: Params
    mean: Params
    square: Params
    count: Int[Array, ""]


def rmsprop_sgld(step_size: Number, *, decay: Number = 0.99, epsilon: Number = 0.1, v_init: Start = "one") -> Sampler:
    """w <- w - (eps/2) G grad U + N(0, eps G), G = 1/(sqrt(v_hat) + epsilon), v the mean square of grad L.

    decay = 1 with v_init="zero" is sgld(step_size/epsilon). A small epsilon lets a coordinate without gradient (a dead
    unit) move by sqrt(eps/epsilon).
    """
    return adam_sgld(step_size, momentum=0.0, decay=decay, epsilon=epsilon, v_init=v_init)


def adam_sgld(
    step_size: Number, *, momentum: Number = 0.9, decay: Number = 0.999, epsilon: Number = 0.1, v_init: Start = "one"
) -> Sampler:
    """`rmsprop_sgld` that drifts along m_hat, the bias-corrected mean of past grad L, and not along grad L itself.

    The mean lags by 1/(1 - momentum) steps: one more bias, of the first order in eps/(1 - momentum).
    """
    base.require("> 0", step_size=step_size)
    base.require(">= 0", momentum=momentum, decay=decay, epsilon=epsilon)
    base.require("< 1", momentum=momentum)
    base.require("<= 1", decay=decay)
    if v_init not in ("one", "zero"):
        raise ValueError(f'got v_init={v_init!r}: write "one" or "zero"')

    def observe(key: Key[Array, ""], params: Params, before: Preconditioned, potential: Potential) -> Preconditioned:
        """The potential at `params`, and the running means with its gradient; only grad L is computed by the model."""
        swapped = lambda w: potential.value(key, w)[::-1]
        (loss, energy), g = jax.value_and_grad(swapped, has_aux=True)(params)
        mean = jax.tree.map(lambda m, g: momentum * m + (1 - momentum) * g, before.mean, g)
        square = jax.tree.map(lambda v, g: decay * v + (1 - decay) * g**2, before.square, g)
        grad = _tempered(potential)(params, g)
        return Preconditioned(params, energy, loss, grad, mean, square, before.count + 1)

    def scaling(state: Preconditioned) -> Params:
        """G, by which the step size of each coordinate is multiplied."""
        seen = 1 - jnp.asarray(decay, state.loss.dtype) ** state.count if v_init == "one" else 1.0
        return jax.tree.map(lambda v: 1 / (jnp.sqrt(v / seen) + epsilon), state.square)

    def point(state: Preconditioned, potential: Potential) -> Point:
        """The position with the drift: grad U, where Adam has its running mean in place of grad L."""
        seen = 1 - jnp.asarray(momentum, state.loss.dtype) ** state.count
        m_hat = jax.tree.map(lambda m: m / seen, state.mean)
        return Point(state.params, state.energy, state.loss, _tempered(potential)(state.params, m_hat))

    def init(key: Key[Array, ""], params: Params, potential: Potential) -> Preconditioned:
        _tempered(potential)
        params, none = base.promoted(params), jnp.zeros(())
        zeros = optax.tree.zeros_like(params)
        fill = optax.tree.ones_like if v_init == "one" else optax.tree.zeros_like
        before = Preconditioned(params, none, none, zeros, zeros, fill(params), jnp.zeros((), int))
        return observe(key, params, before, potential)

    def step(key: Key[Array, ""], state: Preconditioned, potential: Potential) -> tuple[Preconditioned, Info]:
        key_noise, key_batch = jax.random.split(key)
        at, G = point(state, potential), scaling(state)
        to = base.langevin(key_noise, at, optax.tree.scale(step_size, G), potential)
        moved = observe(key_batch, to, state, potential)
        accepted = base.unknown()
        if potential.exact:  # the test is the one of plain Langevin in the coordinates w/sqrt(G)
            accepted = base.acceptance(_whitened(at, G), _whitened(point(moved, potential), G), step_size)
        return moved, Info(state.loss, accepted)

    return Sampler(init, step)


def _whitened(at: Point, G: Params) -> Point:
    params = jax.tree.map(lambda w, G: w / jnp.sqrt(G), at.params, G)
    return at._replace(params=params, grad=jax.tree.map(lambda g, G: g * jnp.sqrt(G), at.grad, G))


def _tempered(potential: Potential) -> Callable[[Params, Params], Params]:
    if potential.tempered is None:
        raise ValueError(
            "got a potential without `tempered`, which a preconditioner needs: make it with localised(...)"
        )
    return potential.tempered
