"""Refined learning coefficients (Wang et al. 2024, arXiv 2410.02984): of a block of the weights, and on other data.

lambda(w*; V, q') = nbeta (E[L_q'] - L_q'(w*)) under exp(-nbeta L_q' - gamma/2 |v - v*|^2) on a block V of the weights,
the others held at w*. `per_block` refines the weights; another data set q' in the estimate refines the data.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from slt.samplers.base import Params, require

Result = TypeVar("Result")


def blocks(params: Params, depth: int | None = None) -> dict[str, PyTree]:
    """Masks of the parts of a parameter tree, named by their path: one a leaf, or one a subtree `depth` levels down.

    Pure in shapes: `params` may be traced. `{"all": True, **blocks(params)}` adds the whole; a mask of one's own is a
    pytree of booleans like `params`, or a prefix of it: {"W": W_is_free, "b": False}.
    """
    if depth is not None:
        require(">= 1", depth=depth)
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    paths = [path[:depth] for path, _ in leaves]
    names = {path: jax.tree_util.keystr(path, simple=True, separator=".") for path in dict.fromkeys(paths)}
    if len(set(names.values())) < len(names):
        raise ValueError(f"got parts of the same name, {list(names.values())}: write keys without dots")
    return {name: jax.tree.unflatten(tree, [path == part for path in paths]) for part, name in names.items()}


def per_block(f: Callable[[PyTree], Result], params: Params, masks: Mapping[str, PyTree]) -> dict[str, Result]:
    """{name: f(mask)} for every mask, as one program: `vmap` over the masks, stacked leaf by leaf of `params`.

    Of `lambda mask: estimate_llc(..., mask=mask)`, the weight-refined coefficients; blocks share their random numbers.
    """
    if not masks:
        raise ValueError("got no masks: write masks=blocks(params)")
    full = [
        jax.tree.map(lambda m, w: jax.tree.map(lambda _: jnp.asarray(m), w), mask, params) for mask in masks.values()
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(jnp.broadcast_arrays(*leaves)), *full)
    results = jax.vmap(f)(stacked)
    return {name: jax.tree.map(lambda leaf: leaf[i], results) for i, name in enumerate(masks)}
