"""Refined learning coefficients (Wang et al. 2024, arXiv 2410.02984): of a block of the weights, and on other data.

The weight-refined coefficient lets a block V of the parameters move and holds the others at w*; the data-refined one
takes another data set q' for the chains *and* for the losses: lambda(w*; V, q') = nbeta (E[L_q'] - L_q'(w*)) under
exp(-nbeta L_q' - gamma/2 |v - v*|^2) on V. So data are refined by the argument `data`, and both at once by both.
"""

from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from slt.estimate import LLC, estimate_llc
from slt.samplers.base import Data, Loss, Params, Sampler

Result = TypeVar("Result")


def blocks(params: Params, depth: int | None = None) -> dict[str, PyTree]:
    """Masks of the parts of a parameter tree, named by their path: one a leaf, or one a subtree `depth` levels down.

    Pure in shapes: `params` may be traced. `{"all": True, **blocks(params)}` adds the whole; a mask of one's own is a
    pytree of booleans like `params`, or a prefix of it: {"W": W_is_free, "b": False}.
    """
    if depth is not None and depth < 1:
        raise ValueError(f"got depth={depth}: write depth=1 for the top-level subtrees, or None for the leaves")
    paths, tree = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path[:depth], simple=True, separator="/") for path, _ in paths]
    return {name: jax.tree.unflatten(tree, [other == name for other in names]) for name in dict.fromkeys(names)}


def per_block(f: Callable[[PyTree], Result], params: Params, masks: Mapping[str, PyTree]) -> dict[str, Result]:
    """{name: f(mask)} for every mask, as one program: `vmap` over the masks, stacked leaf by leaf of `params`."""
    if not masks:
        raise ValueError("got no masks: write masks=blocks(params)")
    full = [
        jax.tree.map(lambda m, w: jax.tree.map(lambda _: jnp.asarray(m), w), mask, params) for mask in masks.values()
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(jnp.broadcast_arrays(*leaves)), *full)
    results = jax.vmap(f)(stacked)
    return {name: jax.tree.map(lambda leaf: leaf[i], results) for i, name in enumerate(masks)}


def refined_llc(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Sampler,
    *,
    masks: Mapping[str, PyTree],
    nbeta: Float[Array, ""] | float,
    gamma: Float[Array, ""] | float,
    chains: int,
    warmup: int,
    draws: int,
    thin: int = 1,
    batch_size: int | None = None,
    baseline: Literal["full", "paired"] = "full",
    chance: Float[Array, ""] | float | None = None,
) -> dict[str, LLC]:
    """lambda(w*; V, q) for every block V of `masks` on the data q: `estimate_llc` with each mask, in one program.

    Wang et al. 2024 (arXiv 2410.02984). All blocks share their random numbers. On several data sets of one size,
    `vmap` it over them stacked; of several sizes, call it on each.
    """

    def estimate(mask: PyTree) -> LLC:
        return estimate_llc(
            key,
            loss,
            params,
            data,
            sampler,
            nbeta=nbeta,
            gamma=gamma,
            baseline=baseline,
            chance=chance,
            mask=mask,
            chains=chains,
            warmup=warmup,
            draws=draws,
            thin=thin,
            batch_size=batch_size,
        )

    return per_block(estimate, params, masks)
