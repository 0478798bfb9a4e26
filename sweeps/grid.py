"""The points of a sweep, and the data set of what was found at them: axes with names, wherever they come from."""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MAX_POINTS = 10**8


class Points(NamedTuple):
    """Points with a leading axis: their values by name, or any pytree, and what else is handed over at each.

    at: what a function sees as its first argument.  checkpoint: its second one (None: it takes one alone).
    axes: name -> values of each axis, whose product in order the points are; a single axis `point` where they are none.
    """

    at: Any
    checkpoint: Any
    axes: dict[str, np.ndarray]

    @property
    def tree(self) -> Any:
        """The arrays of all points, as one pytree."""
        return self.at if self.checkpoint is None else (self.at, self.checkpoint)

    def call(self, f: Callable[..., Any], point: Any, *more: Any) -> Any:
        """`f` at one point of `tree`, or at its two parts."""
        return f(point, *more) if self.checkpoint is None else f(*point, *more)


class Runs(NamedTuple):
    """What `scan` returns. grid: the points it was of.  times: the times of the outputs, named `step` in data sets.
    outputs: a pytree whose leaves have the axes (point, time).
    """

    grid: Points
    times: np.ndarray
    outputs: Any

    def at(self, points: Any = slice(None), times: Any = slice(None)) -> "Runs":
        """Some of the points (slice or array of indices) at some of the times."""
        outputs = jax.tree.map(lambda leaf: leaf[points][:, times], self.outputs)
        return Runs(_some(self.grid, points), self.times[times], outputs)

    def dataset(self, dims: Mapping[str, Sequence[str]] | None = None) -> Any:
        """The outputs as an xarray.Dataset with the axes of the grid and `step`; `dims` as in `map`."""
        return label(jax.tree.map(_merge_time, self.outputs), checkpoints(self), dims or {})


def product(**axes: Sequence[Any] | np.ndarray) -> dict[str, np.ndarray]:
    """Every combination of the axes' values, first axis slowest: name -> array with one leading axis of points."""
    sizes = {name: len(values) for name, values in axes.items()}
    if empty := [name for name, size in sizes.items() if size == 0]:
        raise ValueError(f"the axis {empty[0]!r} has no values: give it at least one, {empty[0]}=[...]")
    if prod(sizes.values()) > MAX_POINTS:
        raise ValueError(f"got a grid of {prod(sizes.values()):.3g} points, {sizes}: write at most {MAX_POINTS:.0e}")
    grid, inner, outer = {}, prod(sizes.values()), 1
    for name, values in axes.items():
        inner //= sizes[name]
        grid[name] = np.tile(np.repeat(np.asarray(values), inner, axis=0), (outer, *[1] * (np.ndim(values) - 1)))
        outer *= sizes[name]
    return grid


def cross(*grids: Any) -> Points:
    """Every point of each grid with every point of the others, the first slowest: axes side by side, one checkpoint.

    A grid is one of `product`, `Points`, or the `Runs` of a `scan`, of which there may be one.
    """
    parts = [grid_points(grid) for grid in grids]
    sizes = [length(part.tree) for part in parts]
    names = [name for part in parts for name in part.axes]
    if len(set(names)) < len(names):
        raise ValueError(f"got grids whose axes are {', '.join(names)}: each name may occur once")
    if sum(part.checkpoint is not None for part in parts) > 1:
        raise ValueError("got more than one grid with checkpoints: write cross(grid, runs) with the Runs of one scan")
    index = np.indices(sizes).reshape(len(sizes), -1)
    at, checkpoint = {}, None
    for part, rows in zip(parts, index, strict=True):
        at |= jax.tree.map(lambda leaf, rows=rows: leaf[rows], part.at)
        if part.checkpoint is not None:
            checkpoint = jax.tree.map(lambda leaf, rows=rows: leaf[rows], part.checkpoint)
    return Points(at, checkpoint, {name: values for part in parts for name, values in part.axes.items()})


def checkpoints(runs: Runs) -> Points:
    """Every checkpoint of every run as one point: the grid's values with `step`, and the outputs there."""
    size, time = length(runs.grid.tree), len(runs.times)
    if not isinstance(runs.grid.at, dict):
        raise ValueError(
            "these runs are not of a grid with names: write sweeps.product(name=[...]) for the grid of scan"
        )
    at = _in_order(jax.tree.map(lambda leaf: np.repeat(leaf, time, axis=0), runs.grid.at), runs.grid.at)
    if "step" in at:
        raise ValueError("got a grid with the axis step, which is that of the times: write another name in the grid")
    at["step"] = np.tile(runs.times, size)
    return Points(at, jax.tree.map(_merge_time, runs.outputs), runs.grid.axes | {"step": runs.times})


def grid_points(grid: Any) -> Points:
    """The points of whatever `map` and `scan` take for a grid. Raises ValueError where they have no common axis."""
    if isinstance(grid, Points):
        return grid
    if isinstance(grid, Runs):
        return checkpoints(grid)
    size = length(grid)
    named = lambda path, leaf: _exact(leaf, jax.tree_util.keystr(path, simple=True, separator=".") or "a grid")
    grid = _in_order(jax.tree.map_with_path(named, grid), grid)
    return Points(grid, None, _axes(grid, size))


def label(results: Any, points: Points, dims: Mapping[str, Sequence[str]]) -> Any:
    """The xarray.Dataset of results with one leading axis of points."""
    import xarray as xr

    shape, variables = tuple(len(axis) for axis in points.axes.values()), {}
    for path, leaf in jax.tree.leaves_with_path(results):
        name = jax.tree_util.keystr(path, simple=True, separator=".").replace("/", ".") or "result"
        leaf = leaf.reshape(*shape, *leaf.shape[1:])
        if name in points.axes and _is_axis(leaf, name, points.axes):
            continue  # the step that a trajectory carries
        if name in points.axes or name in variables:
            raise ValueError(
                f"got the name {name} twice (/ is written as .), among results and axes: rename one of them"
            )
        inner = list(dims.get(name, [f"{name}_{i}" for i in range(leaf.ndim - len(shape))]))
        if len(inner) != leaf.ndim - len(shape):
            raise ValueError(f"got dims {inner} for {name}, which has {leaf.ndim - len(shape)} axes at each point")
        variables[name] = ((*points.axes, *inner), leaf)
    return xr.Dataset(variables, {name: (name, values) for name, values in points.axes.items()} | _beside(points))


def _is_axis(leaf: np.ndarray, name: str, axes: dict[str, np.ndarray]) -> bool:
    """Whether a result is nothing but the values of an axis."""
    where = list(axes).index(name)
    last = np.moveaxis(leaf, where, -1) if leaf.ndim == len(axes) else leaf
    return leaf.ndim == len(axes) and np.array_equal(last, np.broadcast_to(axes[name], last.shape))


def _beside(points: Points) -> dict[str, Any]:
    """The numbers of a grid that is no product, as coordinates along its axis `point`."""
    if "point" not in points.axes or not isinstance(points.at, dict):
        return {}
    shape = [len(axis) for axis in points.axes.values()]
    own = tuple(slice(None) if name == "point" else 0 for name in points.axes)
    beside = {name: leaf for name, leaf in points.at.items() if name not in points.axes and _is_numbers(leaf)}
    return {name: ("point", np.asarray(leaf).reshape(shape)[own]) for name, leaf in beside.items()}


def length(tree: Any) -> int:
    """The number of points: the leading axis that all leaves share."""
    leaves = jax.tree.leaves(tree)
    sizes = sorted({np.shape(leaf)[0] for leaf in leaves if np.ndim(leaf)})
    if len(sizes) != 1 or sizes[0] < 1 or not all(map(np.ndim, leaves)):
        raise ValueError(
            f"the leaves of a grid have leading axes of {sizes or 'nothing'}: all need the same number of points, "
            "at least one; write sweeps.product(name=[...]), or arrays with one leading axis"
        )
    return sizes[0]


def _exact(leaf: Any, name: str) -> Any:
    """The leaf, if its integers are the same numbers on a device. Raises ValueError where 32 bits would wrap them."""
    if isinstance(leaf, jax.Array):
        return leaf
    leaf = np.asarray(leaf)
    if leaf.dtype.kind in "OSUMm":
        raise ValueError(
            f"got {name} of type {leaf.dtype}: a grid holds numbers; go over anything else by a Python loop"
        )
    if leaf.dtype.kind in "iu":
        kept = jax.dtypes.canonicalize_dtype(leaf.dtype)
        limits = np.iinfo(kept)
        if leaf.size and not limits.min <= leaf.min() <= leaf.max() <= limits.max:
            raise ValueError(
                f"got {name} up to {leaf.max()}: it is a {kept} on a device, "
                f"write values from {limits.min} to {limits.max}"
            )
    return leaf


def _in_order(mapped: Any, tree: Any) -> Any:
    """The mapped tree with the names of `tree` in their order, which JAX sorts."""
    return {name: mapped[name] for name in tree} if isinstance(tree, dict) else mapped


def _axes(grid: Any, size: int) -> dict[str, np.ndarray]:
    """The axes whose product the numbers of the grid are, in its order; else the single axis `point`."""
    values = {n: np.asarray(leaf) for n, leaf in grid.items() if _is_numbers(leaf)} if isinstance(grid, dict) else {}
    axes = {name: np.array(list(dict.fromkeys(leaf.tolist())), leaf.dtype) for name, leaf in values.items()}
    if values and prod(len(axis) for axis in axes.values()) == size:
        whole = product(**axes)
        if all(np.array_equal(whole[name], values[name]) for name in values):
            return axes
    return {"point": np.arange(size)}


def _is_numbers(leaf: Any) -> bool:
    """Whether it is one number (or string) a point: no further axes, and no keys."""
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return not isinstance(leaf, dict | tuple | list) and np.ndim(leaf) == 1 and not is_key


def _merge_time(leaf: np.ndarray) -> np.ndarray:
    """(point, time, ...) to (point time, ...)."""
    return leaf.reshape(-1, *leaf.shape[2:])


def _some(grid: Points, index: Any) -> Points:
    take = lambda tree: jax.tree.map(lambda leaf: leaf[index], tree)
    at, checkpoint = _in_order(take(grid.at), grid.at), take(grid.checkpoint)
    return Points(at, checkpoint, _axes(at, length(at)))
