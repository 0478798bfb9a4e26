"""Chains: a sampler run from one point many times, and statistics of its draws that are accumulated as it goes."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Interval
from jaxtyping import Array, Float, Key, Scalar

from slt.samplers.base import Params, Potential, Sampler, refuse_other_than_floats, require
from slt.statistics import welford


class Sampling(NamedTuple):
    """How long chains are: `warmup` steps that are thrown away, then `draws` of which each takes `thin` steps.

    batch_size: examples in the minibatch of a step; None takes all the data.
    """

    chains: Annotated[int, Interval(ge=1, le=10**6)] = 4
    warmup: Annotated[int, Interval(ge=0, le=10**7)] = 200
    draws: Annotated[int, Interval(ge=4, le=10**7)] = 200
    thin: Annotated[int, Interval(ge=1, le=10**6)] = 1
    batch_size: Annotated[int, Interval(ge=1, le=10**7)] | None = None


class Fold(NamedTuple):
    """An online statistic of the draws: init(params) -> carry, from shapes alone; update(carry, params) -> carry."""

    init: Callable[[Params], Any]
    update: Callable[[Any, Params], Any]


def together(*folds: Fold) -> Fold:
    """Several statistics of the same draws: their carries in a tuple."""
    init = lambda params: tuple(fold.init(params) for fold in folds)
    update = lambda carry, params: tuple(fold.update(part, params) for fold, part in zip(folds, carry, strict=True))
    return Fold(init, update)


NOTHING = Fold(lambda params: (), lambda carry, params: carry)
Observe = Callable[[Params, Params], Any]  # of a position and grad U there: what is recorded of each draw


class Chains(NamedTuple):
    """What chains leave behind: recorded losses, mean acceptance after the warm-up, and the last carry of the fold.

    seen: what `observe` made of each draw, with leading axes (chains, draws).
    """

    loss: Float[Array, "chains draws"]
    acceptance: Float[Array, " chains"]
    folded: Any
    seen: Any = ()


def run_chains(
    key: Key[Array, ""],
    sampler: Sampler,
    potential: Potential,
    params: Params,
    sampling: Sampling,
    *,
    fold: Fold = NOTHING,
    observe: Observe = lambda params, grad: (),
) -> Chains:
    """Chains from `params`: `warmup` steps thrown away, then `draws * thin`, of which every thin-th is kept.

    A draw is the position a kept step started from, where its loss is recorded and which `fold` and `observe` see.
    """
    chains, warmup, draws, thin, _ = sampling
    require(">= 1", chains=chains, thin=thin)
    require(">= 0", warmup=warmup)
    require(">= 4", draws=draws)
    refuse_other_than_floats(params)

    def chain(key: Key[Array, ""]) -> Chains:
        key_init, key_steps = jax.random.split(key)

        def step(carry: tuple[Any, Any], t: Array) -> tuple[tuple[Any, Any], tuple[Scalar, Scalar, Any]]:
            state, folded = carry
            seen = observe(state.params, state.grad)
            if fold is not NOTHING:
                is_draw = (t >= warmup) & ((t - warmup) % thin == 0)
                skip = lambda folded, params: folded
                folded = jax.lax.cond(is_draw, fold.update, skip, folded, state.params)
            state, info = sampler.step(jax.random.fold_in(key_steps, t), state, potential)
            return (state, folded), (info.loss, info.acceptance, seen)

        start = sampler.init(key_init, params, potential), fold.init(params)
        (_, folded), (loss, acceptance, seen) = jax.lax.scan(step, start, jnp.arange(warmup + draws * thin))
        kept = lambda leaf: leaf[warmup::thin]
        return Chains(kept(loss), jnp.mean(acceptance[warmup:]), folded, jax.tree.map(kept, seen))

    with jax.debug_nans(False):  # chains that diverge are a finding, and no acceptance is NaN
        return jax.vmap(chain)(jax.random.split(key, chains))


class Covariance(NamedTuple):
    """Of two vectors over the draws: means, variances and the matrix Cov(f_i, g_j), each over `count` draws."""

    count: Scalar
    mean_f: Float[Array, "... p"]
    mean_g: Float[Array, "... q"]
    variance_f: Float[Array, "... p"]
    variance_g: Float[Array, "... q"]
    covariance: Float[Array, "... p q"]


def covariance(f: Callable[[Params], Array], g: Callable[[Params], Array] | None = None) -> Fold:
    """The online covariance of f(w): (p,) and g(w): (q,), by default f, over the draws (Welford 1962).

    The carry holds sums of products about the running means: `pooled` divides them.
    """

    def both(params: Params) -> tuple[Array, Array]:
        value = jnp.atleast_1d(f(params))
        return value, value if g is None else jnp.atleast_1d(g(params))

    def init(params: Params) -> Covariance:
        a, b = jax.eval_shape(both, params)
        dtype = jnp.promote_types(a.dtype, jnp.float32)
        zeros = lambda *shape: jnp.zeros(shape, dtype)
        return Covariance(zeros(), zeros(a.size), zeros(b.size), zeros(a.size), zeros(b.size), zeros(a.size, b.size))

    def update(carry: Covariance, params: Params) -> Covariance:
        a, b = both(params)
        count = carry.count + 1
        mean_f, variance_f = welford(carry.mean_f, carry.variance_f, count, a)
        mean_g, variance_g = welford(carry.mean_g, carry.variance_g, count, b)
        covariance = carry.covariance + jnp.outer(a - carry.mean_f, b - mean_g)
        return Covariance(count, mean_f, mean_g, variance_f, variance_g, covariance)

    return Fold(init, update)


def pooled(each: Covariance) -> Covariance:
    """The covariance over the draws of all chains, from one carry a chain (leading axis): Chan et al. 1979."""
    count = jnp.sum(each.count)

    def mean(leaf: Array) -> Array:
        return jnp.sum(each.count[:, None] * leaf, axis=0) / count

    def total(within: Array, between: Array) -> Array:
        return (jnp.sum(within, axis=0) + between) / (count - 1)

    mean_f, mean_g = mean(each.mean_f), mean(each.mean_g)
    apart_f, apart_g = each.mean_f - mean_f[None], each.mean_g - mean_g[None]
    variance_f = total(each.variance_f, each.count @ apart_f**2)
    variance_g = total(each.variance_g, each.count @ apart_g**2)
    covariance = total(each.covariance, jnp.einsum("c,cp,cq->pq", each.count, apart_f, apart_g))
    return Covariance(count, mean_f, mean_g, variance_f, variance_g, covariance)


def jackknife(statistic: Callable[[Any], Any], each: Any) -> tuple[Any, Any]:
    """A statistic of all chains, and its standard error: sqrt((C-1)/C sum_c (theta_(c) - their mean)^2).

    theta_(c) is the statistic without chain c (Efron and Stein 1981). `each` is a pytree with a leading axis of C
    chains; with one chain the error is NaN.
    """
    chains = len(jax.tree.leaves(each)[0])
    others = (jnp.arange(chains)[:, None] + jnp.arange(1, chains)[None]) % chains
    without = jax.lax.map(lambda index: statistic(jax.tree.map(lambda leaf: leaf[index], each)), others)

    def stderr(leaf: Array) -> Array:
        return jnp.std(leaf, axis=0) * jnp.sqrt(chains - 1) if chains > 1 else jnp.full_like(leaf[0], jnp.nan)

    return statistic(each), jax.tree.map(stderr, without)
