"""lambda-hat over a grid of step sizes, temperatures and localisations, and the part of it where none of them matters."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from jaxtyping import Array, Bool, Float, Key, PyTree

from slt.curve import rows
from slt.diagnostics import verdict
from slt.llc import LLC, estimate_llc
from slt.samplers.base import Data, Loss, Params, Sampler

ERRORS = 2.0  # standard errors apart that still agree


def llc_grid(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Callable[[Any], Sampler],
    *,
    step_sizes: Float[Array | np.ndarray, " s"],
    nbetas: Float[Array | np.ndarray, " b"],
    gammas: Float[Array | np.ndarray, " g"],
    chains: int,
    warmup: int,
    draws: int,
    thin: int = 1,
    batch_size: int | None = None,
    baseline: Literal["full", "paired"] = "full",
    mask: PyTree | None = None,
    chance: Float[Array, ""] | float | None = None,
    block: int = 16,
) -> LLC:
    """lambda-hat at every (step size, nbeta, gamma): `estimate_llc` with leading axes (s, b, g), in one program.

    `sampler` makes one from a step size: sgld, mala. All cells share their random numbers, so a whole grid errs
    together, and neighbours differ by less than their standard errors say. `block` cells run side by side; the memory
    that chains need is that of a block, and the traces of all are kept: raise `thin` where they are too many.
    """
    for name, values in (("step_sizes", step_sizes), ("nbetas", nbetas), ("gammas", gammas)):
        if len(values) == 0:
            raise ValueError(f"got no {name}: write at least one, {name}=jnp.array([...])")

    def cell(at: tuple[Array, Array, Array]) -> LLC:
        step_size, nbeta, gamma = at
        return estimate_llc(
            jax.random.clone(key),  # every cell has the same key, on purpose
            loss,
            params,
            data,
            sampler(step_size),
            nbeta=nbeta,
            gamma=gamma,
            chains=chains,
            warmup=warmup,
            draws=draws,
            thin=thin,
            batch_size=batch_size,
            baseline=baseline,
            mask=mask,
            chance=chance,
        )

    axes = jnp.meshgrid(jnp.asarray(step_sizes), jnp.asarray(nbetas), jnp.asarray(gammas), indexing="ij")
    cells = jax.lax.map(cell, tuple(jnp.ravel(axis) for axis in axes), batch_size=min(block, axes[0].size))
    return jax.tree.map(lambda leaf: jnp.reshape(leaf, (*axes[0].shape, *leaf.shape[1:])), cells)


class Plateau(NamedTuple):
    """The largest part of a grid of estimates where the setting does not matter.

    value: the median of its estimates.      stderr: the median of theirs; shared random numbers do not average out.
    low, high: the least and the largest of them.      member: which cells it has.  NaN and none where there is no such part.
    """

    value: float
    stderr: float
    low: float
    high: float
    member: Bool[np.ndarray, "..."]


def plateau(llc: LLC, *, tolerance: float = 0.1) -> Plateau:
    """Where lambda-hat does not depend on the setting: neighbours on a grid that agree, in which `verdict` finds nothing.

    `llc` has any leading axes. Cells agree with a value v that are off by at most tolerance |v| or two standard errors
    of the difference; a cell whose own error exceeds tolerance |v| is no evidence and left out. Each cell in turn is v,
    what agrees with it and hangs together with it is a candidate, and the largest counts that has two settings of each
    axis longer than one. So a sheet on which lambda-hat is proportional to nbeta, as where chains forget w*, is none.
    On the host.
    """
    value, stderr = np.asarray(llc.value, float), np.asarray(llc.stderr, float)
    sound = np.reshape([not verdict(row) for row in rows(llc)], value.shape)
    usable = sound & (stderr <= tolerance * np.abs(value))
    found = [_around(tuple(at.tolist()), value, stderr, usable, tolerance) for at in np.argwhere(usable)]
    wide = [member for member in found if _spans(member)]
    member = max(wide, key=np.count_nonzero, default=np.zeros(value.shape, bool))
    if not member.any():
        return Plateau(np.nan, np.nan, np.nan, np.nan, member)
    inside = value[member]
    return Plateau(
        float(np.median(inside)), float(np.median(stderr[member])), float(inside.min()), float(inside.max()), member
    )


def _around(
    at: tuple[int, ...], value: np.ndarray, stderr: np.ndarray, usable: np.ndarray, tolerance: float
) -> np.ndarray:
    """The cells that agree with this one and hang together with it through such cells."""
    apart, error = np.abs(value - value[at]), np.hypot(stderr, stderr[at])
    with np.errstate(invalid="ignore"):
        agrees = usable & (apart <= np.maximum(tolerance * abs(value[at]), ERRORS * error))
    parts = np.asarray(scipy.ndimage.label(agrees)[0])  # type: ignore[index]
    return parts == parts[at]


def _spans(member: np.ndarray) -> bool:
    """Two settings or more of every axis that has them."""
    extent = (len(np.unique(index)) for index in np.nonzero(member))
    return all(size >= min(2, length) for size, length in zip(extent, member.shape, strict=True))
