"""lambda-hat over a grid of step sizes, temperatures and localisations, and the part of it where none matters."""

import itertools
from collections.abc import Callable
from math import prod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Scalar

from slt.curves import rows
from slt.diagnostics import verdict
from slt.estimate import LLC
from slt.samplers.base import require

ERRORS = 2.0  # standard errors off the median that still agree


def llc_grid(
    estimate: Callable[[Scalar, Scalar, Scalar], LLC],
    *,
    step_sizes: Float[Array | np.ndarray, " s"],
    nbetas: Float[Array | np.ndarray, " b"],
    gammas: Float[Array | np.ndarray, " g"],
    block: int = 16,
) -> LLC:
    """`estimate(step_size, nbeta, gamma)` at every setting, in one program: an LLC with leading axes (s, b, g).

    An estimate that closes over one key gives all cells the same random numbers. `block` cells run side by side; the
    traces of all are kept.
    """
    require(">= 1", step_sizes=len(step_sizes), nbetas=len(nbetas), gammas=len(gammas), block=block)
    axes = jnp.meshgrid(jnp.asarray(step_sizes), jnp.asarray(nbetas), jnp.asarray(gammas), indexing="ij")
    flat = [jnp.ravel(axis) for axis in axes]
    cells = jax.lax.map(lambda setting: estimate(*setting), flat, batch_size=min(block, axes[0].size))
    return jax.tree.map(lambda leaf: jnp.reshape(leaf, (*axes[0].shape, *leaf.shape[1:])), cells)


class Plateau(NamedTuple):
    """The largest part of a grid of estimates where the setting does not matter.

    value: the median of its estimates.      stderr: the median of theirs; shared random numbers do not average out.
    low, high: the least and the largest of them.      member: which cells it has.  NaN and none where there is none.
    """

    value: float
    stderr: float
    low: float
    high: float
    member: Bool[np.ndarray, "..."]


def plateau(llc: LLC, *, tolerance: float = 0.1) -> Plateau:
    """Where lambda-hat does not depend on the setting: the largest block of cells that agree and that `verdict` passes.

    `llc` has any leading axes. A block is a range of neighbouring settings along each of them, two or more of every
    axis that has two. All its cells are passed, have an error below tolerance |v|, and are off v, their median, by at
    most tolerance |v| or two standard errors. Of blocks of one size the last counts, the one at larger step sizes. On
    the host.
    """
    value, stderr = np.asarray(llc.value, float), np.asarray(llc.stderr, float)
    passed = np.reshape([not verdict(row) for row in rows(llc)], value.shape)
    usable = passed & (stderr <= tolerance * np.abs(value))
    for block in _blocks(value.shape):
        if usable[block].all() and _agree(value[block], stderr[block], tolerance):
            inside, member = value[block], np.zeros(value.shape, bool)
            member[block] = True
            error = float(np.median(stderr[block]))
            return Plateau(float(np.median(inside)), error, float(inside.min()), float(inside.max()), member)
    return Plateau(np.nan, np.nan, np.nan, np.nan, np.zeros(value.shape, bool))


def _blocks(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """All ranges of two settings or more along each axis (of one, where there is one), the best first."""
    ranges = [[slice(i, j) for i in range(n) for j in range(i + min(2, n), n + 1)] for n in shape]
    rank = lambda block: (prod(part.stop - part.start for part in block), *(part.stop for part in block))
    return sorted(itertools.product(*ranges), key=rank, reverse=True)


def _agree(value: np.ndarray, stderr: np.ndarray, tolerance: float) -> bool:
    middle = np.median(value)
    return bool(np.all(np.abs(value - middle) <= np.maximum(tolerance * abs(middle), ERRORS * stderr)))
