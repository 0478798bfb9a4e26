"""From a function of one point to all points of a grid, on all devices: values sweep by `vmap`, shapes by a Python loop.

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
from jaxtyping import Int

from experiments.record import bar, kept
from toymodels.train import TrainState, Trajectory

Point = TypeVar("Point")
Result = TypeVar("Result")


def product(**axes: Sequence[Any]) -> dict[str, np.ndarray]:
    """Every combination of the axes' values, first axis slowest: name -> array with one leading axis of points."""
    empty = [name for name, values in axes.items() if len(values) == 0]
    if empty:
        raise ValueError(f"the axis {empty[0]!r} has no values: give it at least one")
    points = list(itertools.product(*axes.values()))
    return {name: np.array([point[i] for point in points]) for i, name in enumerate(axes)}


def run(point: Callable[[Point], Result], grid: Point, *, name: str = "sweep", batch: int = 64) -> Result:
    """`point` at every point of `grid` (a pytree with one leading axis): a pytree with the same leading axis, on the host.

    One compilation of jit(vmap(point)); `batch` points a device at a time bound the memory. In a record, batch i is
    step i of the series `name`.
    """
    size, lanes, sharding = _layout(grid, batch)
    mapped = jax.jit(jax.vmap(point), in_shardings=sharding)
    advance = bar(f"{name}, {size} points", size)
    finished = []
    for i in range(ceil(size / lanes)):
        index = np.minimum(np.arange(i * lanes, (i + 1) * lanes), size - 1)
        part = _place(jax.tree.map(lambda leaf: leaf[index], grid), sharding)
        finished.append(kept(name, i, jax.eval_shape(mapped, part), lambda part=part: mapped(part)))
        advance(min(lanes, size - i * lanes))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:size], *finished)


def train(
    advance: Callable[[Point, TrainState, Int[Any, " time"]], tuple[TrainState, Trajectory]],
    grid: Point,
    state: TrainState,
    checkpoints: Int[np.ndarray, " time"],
    *,
    name: str = "steps",
    chunk: int = 10,
) -> Trajectory:
    """Train every point of `grid` at once, `chunk` checkpoints at a time: a trajectory with axes (point, time), on the host.

    `advance(point, state, checkpoints)` trains one point on (`toymodels.train.advance`); `state` carries the axis of
    points except in `step`, which they share. In a record each chunk, with the state to continue from, is a step of
    the series `name`. A point that goes non-finite is named in a warning, with the step; the others are untouched.
    """
    size, lanes, sharding = _layout(grid, None)
    axes = TrainState(None, 0, 0)
    one_chunk = jax.jit(jax.vmap(advance, in_axes=(0, axes, None), out_axes=(axes, Trajectory(None, 0, 0))))
    index = np.minimum(np.arange(lanes), size - 1)
    spread = lambda tree: _place(jax.tree.map(lambda leaf: leaf[index], tree), sharding)
    points, state = spread(grid), TrainState(state.step, spread(state.params), spread(state.opt_state))
    progress = bar(f"training {size} runs", len(checkpoints))
    chunks, broken = [], np.zeros(size, bool)
    for i in range(0, len(checkpoints), chunk):
        stops = checkpoints[
            np.minimum(np.arange(i, i + chunk), len(checkpoints) - 1)
        ]  # padded: one length, one compilation
        begin = TrainState(jnp.asarray(state.step), _place(state.params, sharding), _place(state.opt_state, sharding))
        compute = lambda begin=begin, stops=stops: one_chunk(points, begin, jnp.asarray(stops))
        state, trajectory = kept(
            name, int(stops[-1]), jax.eval_shape(one_chunk, points, begin, jnp.asarray(stops)), compute
        )
        new = ~_finite(state.params)[:size] & ~broken
        for j in np.flatnonzero(new):
            _report(
                advance,
                jax.tree.map(lambda leaf: leaf[j], grid),
                TrainState(begin.step, *jax.tree.map(lambda leaf: leaf[j], begin[1:])),
                int(stops[-1]),
            )
        broken |= new
        done = min(chunk, len(checkpoints) - i)
        chunks.append(jax.tree.map(lambda leaf: leaf[:done] if leaf.ndim == 1 else leaf[:size, :done], trajectory))
        progress(done)
    step = np.concatenate([part.step for part in chunks])
    return Trajectory(
        step, *jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *[part[1:] for part in chunks])
    )


def _finite(params: Any) -> np.ndarray:
    """Which points have finite parameters, from leaves with one leading axis of points."""
    return np.all([np.isfinite(leaf).reshape(len(leaf), -1).all(axis=1) for leaf in jax.tree.leaves(params)], axis=0)


def _report(advance: Callable, point: Any, state: TrainState, stop: int) -> None:
    """Say at which step between `state` and `stop` the training of `point` went non-finite (by bisection)."""
    one = jax.jit(advance)
    broken = lambda step: (
        not _finite(jax.tree.map(lambda leaf: leaf[None], one(point, state, jnp.array([step]))[0].params))[0]
    )
    steps = range(int(state.step) + 1, stop + 1)
    first = steps[min(bisect.bisect_left(steps, True, key=broken), len(steps) - 1)]
    values = ", ".join(f"{key}={value}" for key, value in point.items()) if isinstance(point, dict) else str(point)
    warnings.warn(
        f"training went non-finite at step {first} of the sweep point {values}: lower its learning rate; the other points are kept",
        stacklevel=3,
    )


def _layout(grid: Any, batch: int | None) -> tuple[int, int, NamedSharding]:
    """How many points there are, how many run at once (a multiple of the devices; all if `batch` is None), and on what."""
    sizes = {len(leaf) for leaf in jax.tree.leaves(grid)}
    if len(sizes) != 1:
        raise ValueError(
            f"the leaves of a grid have leading axes of {sorted(sizes)}: all need the same number of points"
        )
    size, devices = sizes.pop(), jax.device_count()
    per_device = ceil(size / devices) if batch is None else min(batch, ceil(size / devices))
    mesh = jax.make_mesh((devices,), ("sweep",), axis_types=(AxisType.Auto,))
    return size, per_device * devices, NamedSharding(mesh, PartitionSpec("sweep"))


def _place(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)
