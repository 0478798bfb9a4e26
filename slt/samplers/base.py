"""The contract between a loss and a sampler: `Potential` is what is sampled, `Sampler` is how.

Conventions, stated once. The target is p(w) ~ exp(-U(w)) with U = nbeta L(w) + (gamma/2)|w - w*|^2; n*beta is one
number, `nbeta`. A step of size eps is w <- w - (eps/2) grad U + N(0, eps). The loss recorded is the one at the
position from which the step started.
"""

import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Key, PyTree, Scalar

Number = Float[Array, ""] | float | int
Params = Any  # a pytree of real floats
Data = Any  # a pytree whose leaves share a leading axis of n examples
Loss = Callable[[Params, Data], Array]  # a scalar, or any array whose mean is the loss
PotentialFn = Callable[[Key[Array, ""], Params], tuple[Scalar, Scalar]]


class Potential(NamedTuple):
    """value: (key, params) -> (U, L); an inexact one draws its own minibatch from the key, an exact one ignores it.

    mask: a pytree of booleans like the parameters (or a prefix of it); False is a frozen coordinate. None: all are
    free.  tempered: (params, grad L) -> grad U, for samplers that need both gradients: they cost one.
    """

    value: PotentialFn
    exact: bool
    mask: PyTree[Bool[Array, "..."]] | None = None
    tempered: Callable[[Params, Params], Params] | None = None


class Info(NamedTuple):
    """The loss where a step started, and the Metropolis acceptance probability of its proposal, made use of or not.

    NaN where U is inexact, or the step is no proposal of such a test (a velocity with friction).
    """

    loss: Scalar
    acceptance: Scalar


class Sampler(NamedTuple):
    """init: (key, params, potential) -> state; step: (key, state, potential) -> (state, Info).

    A state is a NamedTuple with fields `params`, the position, and `grad`, what the potential's gradient was there; in
    float32 where the parameters have fewer bits, since steps would be rounded away (see `promoted`). rejects: it has a
    Metropolis test, so no bias from its step size.
    """

    init: Callable[[Key[Array, ""], Params, Potential], Any]
    step: Callable[[Key[Array, ""], Any, Potential], tuple[Any, Info]]
    rejects: bool = False


def localised(
    loss: Loss,
    data: Data,
    centre: Params,
    *,
    nbeta: Number,
    gamma: Number,
    batch_size: int | None = None,
    weight_decay: Number = 0.0,
    mask: PyTree | None = None,
) -> Potential:
    """U(w) = nbeta L(w) + (gamma/2) |w - centre|^2: the tempered posterior, held near `centre` by a Gaussian.

    Lau et al. 2023 (arXiv 2308.12108). L is the mean loss on `data`, or with `batch_size` the one on a minibatch drawn
    with replacement. The loss is computed in the types of `centre`, the distance in those of the position. A model
    that was trained with the penalty (weight_decay/2) |w|^2 is a minimum with it: U has nbeta times as much, L none.
    """
    require(">= 0", nbeta=nbeta, gamma=gamma, weight_decay=weight_decay)
    refuse_other_than_floats(centre)
    size = count_examples(data)
    if batch_size is not None and not 1 <= batch_size <= size:
        raise ValueError(f"got batch_size={batch_size} for {size} examples: write 1 <= batch_size <= {size}, or None")

    def value(key: Key[Array, ""], params: Params) -> tuple[Scalar, Scalar]:
        batch = data
        if batch_size is not None:
            batch = minibatch(key, data, batch_size)
        if mask is not None:
            params = select(mask, params, jax.lax.stop_gradient(params))
        L = mean_loss(loss, jax.tree.map(lambda w, c: jnp.asarray(w, jnp.result_type(c)), params, centre), batch)
        distance = optax.tree.norm(optax.tree.sub(params, centre), squared=True)
        penalty = weight_decay / 2 * optax.tree.norm(params, squared=True)
        return nbeta * (L + penalty) + gamma / 2 * distance, L

    def tempered(params: Params, loss_grad: Params) -> Params:
        pull = jax.tree.map(lambda w, c: gamma * (w - c) + nbeta * weight_decay * w, params, centre)
        return jax.tree.map(lambda g, p: nbeta * g + p, loss_grad, freed(mask, pull))

    return Potential(value, exact=batch_size is None, mask=mask, tempered=tempered)


def minibatch(key: Key[Array, ""], data: Data, size: int) -> Data:
    """`size` examples, drawn with replacement."""
    index = jax.random.randint(key, (size,), 0, count_examples(data))
    return jax.tree.map(lambda leaf: leaf[index], data)


def mean_loss(loss: Loss, params: Params, data: Data) -> Scalar:
    """The empirical loss L_n: the mean of whatever `loss` returns, taken in float32 or wider."""
    each = loss(params, data)
    return jnp.mean(each, dtype=jnp.promote_types(jnp.result_type(each), jnp.float32))


def paired(potential: Potential, centre: Params, loss_at_centre: Scalar) -> Potential:
    """The same potential, with L(w) on a minibatch replaced by L(w) - L(centre) + loss_at_centre on that minibatch.

    A control variate: the noise of the minibatch cancels. The gradient is unchanged.
    """

    def value(key: Key[Array, ""], params: Params) -> tuple[Scalar, Scalar]:
        U, L = potential.value(key, params)
        return U, L - potential.value(jax.random.clone(key), centre)[1] + loss_at_centre

    return potential._replace(value=value)


def unknown() -> Scalar:
    """NaN, without the computation that `jax_debug_nans` would stop at."""
    return jnp.asarray(np.float32(np.nan))


class Point(NamedTuple):
    """A position with what the potential gave there: the state of the Langevin samplers."""

    params: Params
    energy: Scalar
    loss: Scalar
    grad: Params


def evaluate(key: Key[Array, ""], params: Params, potential: Potential) -> Point:
    """The potential and its gradient at `params`."""
    (energy, loss), grad = jax.value_and_grad(potential.value, argnums=1, has_aux=True)(key, params)
    return Point(params, energy, loss, grad)


def promoted(params: Params) -> Params:
    """The parameters in float32 or wider: a step of 1e-3 on a bfloat16 weight of 1 would be lost."""
    return jax.tree.map(lambda w: jnp.asarray(w, jnp.promote_types(jnp.result_type(w), jnp.float32)), params)


def start(key: Key[Array, ""], params: Params, potential: Potential) -> Point:
    """The first point of a chain."""
    return evaluate(key, promoted(params), potential)


def select(mask: PyTree, where_true: Params, where_false: Params) -> Params:
    """Coordinate by coordinate; `mask` may be a prefix of the parameters' tree."""
    spread = jax.tree.broadcast(mask, where_true)
    return jax.tree.map(jnp.where, spread, where_true, where_false)


def freed(mask: PyTree | None, tree: Params) -> Params:
    """The tree with zeros at the frozen coordinates."""
    return tree if mask is None else select(mask, tree, optax.tree.zeros_like(tree))


def free_parameters(params: Params, mask: PyTree | None) -> Scalar:
    """How many coordinates move under `mask`."""
    return jnp.asarray(optax.tree.sum(freed(mask, optax.tree.ones_like(params))), jnp.float32)


def langevin(key: Key[Array, ""], at: Point, step_size: Number | Params, potential: Potential) -> Params:
    """w - (eps/2) grad U(w) + N(0, eps), eps one number or one a coordinate; frozen coordinates keep their bits."""
    noise = optax.tree.random_like(key, at.params, jax.random.normal)
    shift = lambda w, g, eps, xi: w - eps / 2 * g + jnp.sqrt(eps) * xi
    moved = jax.tree.map(shift, at.params, at.grad, jax.tree.broadcast(step_size, at.params), noise)
    return moved if potential.mask is None else select(potential.mask, moved, at.params)


def acceptance(at: Point, to: Point, step_size: Number) -> Scalar:
    """min(1, exp(U - U') q(w | w')/q(w' | w)), q the Langevin proposal of `langevin`; Roberts and Tweedie 1996."""

    def log_q(to: Point, at: Point) -> Scalar:
        residual = jax.tree.map(lambda a, b, g: a - b + step_size / 2 * g, to.params, at.params, at.grad)
        return -optax.tree.norm(residual, squared=True) / (2 * step_size)

    return jnp.exp(jnp.minimum(0, at.energy - to.energy + log_q(at, to) - log_q(to, at)))


def require(bound: str, **numbers: Any) -> None:
    """Refuse what is not finite or breaks a bound like "> 0"; a traced number passes, for nobody knows it yet."""
    sign, limit = bound.split()
    holds = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}[sign]
    for name, number in numbers.items():
        if isinstance(number, Tracer):
            continue
        values = np.asarray(number, float)
        if not (np.isfinite(values).all() and holds(values, float(limit)).all()):
            raise ValueError(f"got {name}={number}: write a finite {name} {bound}")


def refuse_minibatches(name: str, potential: Potential) -> None:
    """A Metropolis test needs U itself: refuse a potential that draws minibatches, with what to write."""
    if not potential.exact:
        raise ValueError(f"{name} needs an exact potential: leave batch_size out or take sgld(step_size)")


def refuse_other_than_floats(params: Params) -> None:
    """Chains move every leaf by real numbers: refuse integers, booleans, keys and complex numbers, by name."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        dtype = jnp.result_type(leaf)
        if jnp.issubdtype(dtype, jnp.floating):
            continue
        name, number = jax.tree_util.keystr(path) or "itself", jnp.issubdtype(dtype, jnp.complexfloating)
        write = "write two leaves, real and imaginary part" if number else "leave it out and close over it in the loss"
        raise ValueError(f"got a leaf of params that is no float, {name} of type {dtype}: {write}")


def count_examples(data: Data) -> int:
    """n, the length of the leading axis that all leaves of the data share; refused by name where one has another."""
    leaves = jax.tree_util.tree_leaves_with_path(data)
    names = [jax.tree_util.keystr(path) or "itself" for path, _ in leaves]
    shapes = [np.shape(leaf) for _, leaf in leaves]
    if not leaves:
        raise ValueError("got data without an array: write arrays whose first axis is the one of the examples")
    for name, shape in zip(names, shapes, strict=True):
        if not shape:
            raise ValueError(f"got a leaf of data without examples, {name} of shape (): close over it in the loss")
        if shape[0] != shapes[0][0]:
            both = f"{names[0]} of shape {shapes[0]} and {name} of shape {shape}"
            raise ValueError(f"got {both}: the first axis of each leaf of data is the one of the examples")
    return shapes[0][0]
