"""The state that a scan carries: what its points share, and which of them have gone non-finite."""

import bisect
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from sweeps.grid import Points, take
from sweeps.store import pack, unpack


def counters_of(state: Any) -> tuple[int, ...]:
    """Which leaves at the top of `state` (its axis of points first) are one integer that all points share, by number.

    Those further down (an optimiser's count) stay with their points, whose arithmetic they enter: as one number they
    changed the last bits of Adam.
    """
    leaves = enumerate(jax.tree.leaves_with_path(state))
    is_counter = lambda leaf: leaf.ndim == 1 and leaf.dtype.kind in "iu" and (leaf == leaf[0]).all()
    return tuple(i for i, (path, leaf) in leaves if len(path) <= 1 and is_counter(np.asarray(leaf)))


def split(state: Any, counters: Sequence[int], *, first: bool = False) -> tuple[list[Any], list[Any]]:
    """The leaves that points have of their own, and the counters (of the first point, where all have one)."""
    leaves = jax.tree.leaves(state)
    own = [leaf for i, leaf in enumerate(leaves) if i not in counters]
    return own, [leaves[i][0] if first else leaves[i] for i in counters]


def joined(own: Sequence[Any], common: Sequence[Any], counters: Sequence[int], like: Any) -> Any:
    """The inverse of `split`, in the structure of `like`."""
    leaves = list(own)
    for i, leaf in zip(counters, common, strict=True):
        leaves.insert(i, leaf)
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def finite(state: Any, size: int) -> np.ndarray:
    """Which of `size` points have no number that is not finite."""
    fine = np.ones(size, bool)
    for leaf in jax.tree.leaves(state):
        if jnp.issubdtype(leaf.dtype, np.inexact):
            fine &= np.isfinite(leaf).reshape(size, -1).all(axis=1)
    return fine


def report(
    f: Any, points: Points, like: Any, counters: Sequence[int], row: int, own: Any, common: Any, stop: int
) -> None:
    """Warn at which time a point went non-finite: after the state (own, common) and not after `stop`, by bisection."""
    state = unpack(joined(own, common, counters, like), like)
    at = take(points.tree, row)
    one = jax.jit(lambda at, state, time: pack(points.call(f, at, state, time[None])[0]))

    def broken(time: int) -> bool:
        end = jax.tree.map(lambda leaf: np.asarray(leaf)[None], jax.device_get(one(at, state, np.int32(time))))
        return not finite(end, 1)[0]

    begin = max([int(leaf) for leaf in common if np.ndim(leaf) == 0 and int(leaf) < stop], default=0)
    times = range(begin + 1, stop + 1)
    first = times[min(bisect.bisect_left(times, True, key=broken), len(times) - 1)]
    named = points.at if isinstance(points.at, dict) else {}
    values = ", ".join(f"{name}={np.asarray(leaf)[row]}" for name, leaf in named.items() if np.ndim(leaf) == 1)
    warnings.warn(
        f"training went non-finite at step {first} of the sweep point {values or row}: lower its learning rate; "
        "the other points are kept",
        stacklevel=4,
    )
