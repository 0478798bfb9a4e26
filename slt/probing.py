"""What short chains tell of checkpoints: the estimate, and how steep and how noisy the loss is where they end."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, Key, PyTree, Scalar

from slt.chains import Fold, Sampling
from slt.estimate import LLC, Options, estimate_and_fold
from slt.samplers.base import Data, Loss, Params, Sampler, count_examples, mean_loss, minibatch, select

BLOCK = 4  # checkpoints that run side by side
EXAMPLES = 1000  # of which the curvature is taken
LAST = Fold(lambda params: params, lambda _, params: params)
PerCheckpoint = Float[ArrayLike, " checkpoints"]


class Probe(NamedTuple):
    """What chains tell of each checkpoint; the largest curvature of L, and E|g_B - g|^2, of where they ended."""

    llc: LLC
    curvature: PerCheckpoint
    gradient_noise: PerCheckpoint


def prober(
    loss: Loss,
    data: Data,
    sampler: Callable[[Any], Sampler],
    *,
    batch_size: int | None,
    mask: PyTree | None,
    chance: float | None,
) -> Callable[..., Probe]:
    """(key, checkpoints, (step_size, gamma, nbeta), sampling) -> Probe, compiled once for each sampling."""

    def point(key: Key[Array, ""], params: Params, numbers: tuple[Scalar, ...], sampling: Sampling) -> Probe:
        step_size, gamma, nbeta = numbers
        key_run, key_curvature, key_noise = jax.random.split(key, 3)
        options = Options(nbeta, gamma, sampling, mask, chance)
        llc, ends = estimate_and_fold(key_run, loss, params, data, sampler(step_size), options=options, fold=LAST)
        clone = jax.random.clone  # one key for the ends of all chains
        curvature = jax.vmap(lambda w: top_curvature(clone(key_curvature), loss, w, data, mask=mask))(ends)
        noise = jax.vmap(lambda w: gradient_noise(clone(key_noise), loss, w, data, batch_size=batch_size))(ends)
        return Probe(llc, jnp.max(curvature), jnp.max(noise))

    def run(key: Key[Array, ""], checkpoints: Params, numbers: tuple[Scalar, ...], sampling: Sampling) -> Probe:
        one = lambda params: point(jax.random.clone(key), params, numbers, sampling)  # one key for all checkpoints
        return jax.lax.map(one, checkpoints, batch_size=BLOCK)

    return jax.jit(run, static_argnums=3)


def top_curvatures(
    key: Key[Array, ""], loss: Loss, checkpoints: Params, data: Data, *, mask: PyTree | None
) -> Float[Array, " checkpoints"]:
    """`top_curvature` of every checkpoint, with one key for all."""

    def run(key: Key[Array, ""], checkpoints: Params) -> Float[Array, " checkpoints"]:
        one = lambda params: top_curvature(jax.random.clone(key), loss, params, data, mask=mask)
        return jax.lax.map(one, checkpoints, batch_size=BLOCK)

    return jax.jit(run)(key, checkpoints)


def top_curvature(key: Key[Array, ""], loss: Loss, params: Params, data: Data, *, mask: PyTree | None) -> Scalar:
    """The Hessian eigenvalue of L of largest size, by 20 power iterations on at most `EXAMPLES` of the data."""
    key_data, key_start = jax.random.split(key)
    if count_examples(data) > EXAMPLES:
        data = minibatch(key_data, data, EXAMPLES)
    gradient = jax.grad(lambda w: mean_loss(loss, w, data))
    zeros = optax.tree.zeros_like(params)
    free = lambda v: v if mask is None else select(mask, v, zeros)

    def iterate(v: Params, _: None) -> tuple[Params, Scalar]:
        v = optax.tree.scale(1 / jnp.maximum(optax.tree.norm(v), 1e-30), v)
        Hv = free(jax.jvp(gradient, (params,), (v,))[1])
        return Hv, optax.tree.norm(Hv)

    v = free(optax.tree.random_like(key_start, params, jax.random.normal))
    return jax.lax.scan(iterate, v, length=20)[1][-1]


def gradient_noise(key: Key[Array, ""], loss: Loss, params: Params, data: Data, *, batch_size: int | None) -> Scalar:
    """E|g_B - g|^2 of the gradient on a minibatch, from sixteen of them; 0 on all the data."""
    if batch_size is None or batch_size == count_examples(data):
        return jnp.zeros(())

    def gradient(i: Array) -> Params:
        batch = minibatch(jax.random.fold_in(key, i), data, batch_size)
        return jax.grad(lambda w: mean_loss(loss, w, batch))(params)

    each = jax.vmap(gradient)(jnp.arange(16))
    return sum((jnp.sum(jnp.var(leaf, axis=0, ddof=1)) for leaf in jax.tree.leaves(each)), start=jnp.zeros(()))


def scale(value: PerCheckpoint) -> Float[np.ndarray, " checkpoints"]:
    """What errors are shares of: lambda-hat, but at least a tenth of the largest; that one where it is negative."""
    value = np.asarray(value)
    largest = max(float(np.nanmax(np.append(value, 0.0))), 0.1)
    return np.where(value > 0, np.maximum(value, 0.1 * largest), largest)
