"""From a function of one point to all points of a grid, on all devices; values by `vmap`, shapes by a Python loop.

The points lie along one axis sharded over the devices; no point needs another, so there are no collectives. Batches
of points, and chunks of training time, are kept on disk as they finish and skipped on restart.
"""

import bisect
import itertools
import warnings
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from experiments.record import bar, kept
from toymodels.train import TrainState, Trajectory

Result = TypeVar("Result")


def product(**axes: Sequence[Any]) -> dict[str, np.ndarray]:
    """Every combination of the axes' values, first axis slowest: name -> array with one leading axis of points."""
    empty = [name for name, values in axes.items() if len(values) == 0]
    if empty:
        raise ValueError(f"the axis {empty[0]!r} has no values: give it at least one")
    points = list(itertools.product(*axes.values()))
    return {name: np.array([point[i] for point in points]) for i, name in enumerate(axes)}


def run(point: Callable[[Any], Result], grid: Any, *, name: str = "sweep", batch: int = 64) -> Result:
    """`point` at every point of `grid` (a pytree with one leading axis): a pytree with that axis, on the host.

    jit(vmap(point)), compiled once; `batch` points at a time, over all devices, bound the memory. In a record, batch
    i is step i of the series `name`; what is on disk does not depend on the devices.
    """
    size, sharding = _size(grid), _sharding()
    batch = min(batch, size)
    mapped = jax.jit(jax.vmap(point))
    progress = bar(f"{name}, {size} points", size)
    finished = []
    for i, first in enumerate(range(0, size, batch)):
        rows, count = np.arange(first, first + batch), min(batch, size - first)
        part = _spread(_take(grid, np.minimum(rows, size - 1)), sharding)  # the last batch is padded: one compilation
        finished.append(kept(name, i, lambda part=part, count=count: _take(mapped(part), slice(count))))
        progress(count)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *finished)


def train(
    advance: Callable[[Any, TrainState, Int[Array, " time"]], tuple[TrainState, Trajectory]],
    grid: Any,
    state: TrainState,
    checkpoints: Int[np.ndarray, " time"],
    *,
    name: str = "steps",
    chunk: int = 10,
) -> Trajectory:
    """Train every point of `grid` at once: a trajectory with axes (point, time), on the host.

    `advance(point, state, checkpoints)` trains one point on (`toymodels.train.advance`); `state` carries the axis of
    points except in `step`, which they share. In a record every `chunk` checkpoints, with the state to continue from,
    are a step of the series `name`. A point that goes non-finite is named in a warning; the others are untouched.
    """
    size, sharding = _size(grid), _sharding()
    axes = TrainState._make((None, 0, 0)), Trajectory._make((None, 0, 0))
    mapped = jax.jit(jax.vmap(advance, in_axes=(0, axes[0], None), out_axes=axes))
    points, progress = _spread(grid, sharding), bar(f"training {size} runs", len(checkpoints))

    def onward(begin: TrainState, stops: np.ndarray) -> tuple[TrainState, Trajectory]:
        spread = TrainState(jnp.asarray(begin.step), *_spread(begin[1:], sharding))
        end, part = mapped(points, spread, jnp.asarray(stops))
        return TrainState(end.step, *_take(end[1:], slice(size))), Trajectory(part.step, *_take(part[1:], slice(size)))

    parts, finite = [], np.ones(size, bool)
    for first in range(0, len(checkpoints), chunk):
        rows, count = np.arange(first, first + chunk), min(chunk, len(checkpoints) - first)
        stops = checkpoints[np.minimum(rows, len(checkpoints) - 1)]  # the last chunk is padded: one compilation
        begin = state
        state, part = kept(name, int(stops[-1]), lambda begin=begin, stops=stops: onward(begin, stops))
        for i in np.flatnonzero(finite & ~_finite(state.params)):
            _report(advance, _take(grid, i), TrainState(begin.step, *_take(begin[1:], i)), int(stops[-1]))
        finite &= _finite(state.params)
        parts.append(Trajectory(part.step[:count], *jax.tree.map(lambda leaf: leaf[:, :count], part[1:])))
        progress(count)
    along_time = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *[part[1:] for part in parts])
    return Trajectory._make((np.concatenate([part.step for part in parts]), *along_time))


def _finite(params: Any) -> np.ndarray:
    """Which points have finite parameters, from leaves with one leading axis of points."""
    return np.all([np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in jax.tree.leaves(params)], axis=0)


def _report(advance: Callable, point: Any, state: TrainState, stop: int) -> None:
    """Say at which step between `state` and `stop` the training of `point` went non-finite (by bisection)."""
    one = jax.jit(advance)

    def broken(step: int) -> bool:
        end, _ = one(point, state, jnp.array([step]))
        return not _finite(jax.tree.map(lambda leaf: leaf[None], end.params))[0]

    steps = range(int(state.step) + 1, stop + 1)
    first = steps[min(bisect.bisect_left(steps, True, key=broken), len(steps) - 1)]
    values = ", ".join(f"{key}={value}" for key, value in point.items()) if isinstance(point, dict) else str(point)
    warnings.warn(
        f"training went non-finite at step {first} of the sweep point {values}: lower its learning rate; "
        "the other points are kept",
        stacklevel=3,
    )


def _size(grid: Any) -> int:
    """The number of points of a grid."""
    sizes = sorted({len(leaf) for leaf in jax.tree.leaves(grid)})
    if len(sizes) != 1 or sizes[0] == 0:
        raise ValueError(
            f"the leaves of a grid have leading axes of {sizes}: all need the same number of points, at least one"
        )
    return sizes[0]


def _take(tree: Any, rows: Any) -> Any:
    """The given rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def _sharding() -> NamedSharding:
    """One axis, `sweep`, over all devices."""
    mesh = jax.make_mesh((jax.device_count(),), ("sweep",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("sweep"))


def _spread(tree: Any, sharding: NamedSharding) -> Any:
    """Every leaf over the devices along its leading axis, padded with its last row to a multiple of their number."""
    size, devices = _size(tree), sharding.num_devices
    rows = np.minimum(np.arange(ceil(size / devices) * devices), size - 1)
    return jax.tree.map(lambda leaf: jax.device_put(leaf[rows], sharding), tree)
