"""Refined learning coefficients (Wang et al. 2024, arXiv 2410.02984): of a block of the weights, and on other data.

lambda(w*; V, q') = nbeta (E[L_q'] - L_q'(w*)) under exp(-nbeta L_q' - gamma/2 |v - v*|^2) on a block V of the weights,
the others held at w*. `per_block` refines the weights; another data set q' in the estimate refines the data.
"""

import functools
from collections.abc import Callable, Mapping
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from slt.estimate import LLC, Estimate
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


def additivity(
    key: Key[Array, ""],
    estimate: Callable[[Key[Array, ""], PyTree], LLC],
    params: Params,
    masks: Mapping[str, PyTree],
) -> Estimate:
    """lambda-hat of the blocks together less the sum over each alone, `estimate(key, mask)`, with its standard error.

    0 where the loss is a sum of functions of disjoint blocks (Watanabe 2009, section 7.3): at finite nbeta too, as the
    localised posterior is a product. Blocks must be disjoint. Their random numbers are independent, so errors add up.
    """
    spread = lambda mask: jax.tree.map(lambda m, w: jax.tree.map(lambda _: jnp.asarray(m), w), mask, params)
    alone = [spread(mask) for mask in masks.values()]
    together = functools.reduce(lambda a, b: jax.tree.map(jnp.logical_or, a, b), alone)
    keys = jax.random.split(key, len(masks) + 1)
    found = [estimate(key, mask) for key, mask in zip(keys, [together, *alone], strict=True)]
    squares = [jnp.where(jnp.ptp(llc.trace) == 0, 0.0, llc.stderr**2) for llc in found]  # a loss that is constant
    stderr = jnp.sqrt(jnp.sum(jnp.stack(squares)))
    return Estimate(found[0].value - sum(llc.value for llc in found[1:]), stderr)
