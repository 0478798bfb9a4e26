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
        at, checkpoint = take(self.grid.at, points), take(self.grid.checkpoint, points)
        return Runs(Points(at, checkpoint, _axes(at, length(at))), self.times[times], outputs)

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
    index = _combinations(list(sizes.values()))
    return {name: np.asarray(values)[rows] for (name, values), rows in zip(axes.items(), index, strict=True)}


def _combinations(sizes: Sequence[int]) -> np.ndarray:
    """Every combination of indices, the first slowest: the rows of each."""
    return np.indices(sizes).reshape(len(sizes), -1)


def cross(*grids: Any) -> Points:
    """Every point of each grid with every point of the others, the first slowest: axes side by side, one checkpoint.

    A grid is one of `product`, `Points`, or the `Runs` of a `scan`, of which there may be one.
    """
    parts = [grid_points(grid) for grid in grids]
    names = [name for part in parts for name in part.axes]
    if len(set(names)) < len(names):
        raise ValueError(f"got grids whose axes are {', '.join(names)}: each name may occur once")
    if sum(part.checkpoint is not None for part in parts) > 1:
        raise ValueError("got more than one grid with checkpoints: write cross(grid, runs) with the Runs of one scan")
    at, checkpoint, axes = {}, None, {}
    for part, index in zip(parts, _combinations([length(part.tree) for part in parts]), strict=True):
        at |= take(part.at, index)
        axes |= part.axes
        if part.checkpoint is not None:
            checkpoint = take(part.checkpoint, index)
    return Points(at, checkpoint, axes)


def checkpoints(runs: Runs) -> Points:
    """Every checkpoint of every run as one point: the grid's values with `step`, and the outputs there."""
    size, time = length(runs.grid.tree), len(runs.times)
    if not isinstance(runs.grid.at, dict) or "step" in runs.grid.at:
        raise ValueError(
            "these runs are of a grid without names, or with the name step, which is that of the times: "
            "write sweeps.product(name=[...]) for the grid of scan"
        )
    at = take(runs.grid.at, np.repeat(np.arange(size), time)) | {"step": np.tile(runs.times, size)}
    return Points(at, jax.tree.map(_merge_time, runs.outputs), runs.grid.axes | {"step": runs.times})


def grid_points(grid: Any) -> Points:
    """The points of whatever `map` and `scan` take for a grid. Raises ValueError where they have no common axis."""
    if isinstance(grid, Points):
        return grid
    if isinstance(grid, Runs):
        return checkpoints(grid)
    size = length(grid)
    for path, leaf in jax.tree.leaves_with_path(grid):
        _check(leaf, jax.tree_util.keystr(path, simple=True, separator=".") or "a grid")
    grid = take(grid, slice(None))
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
            raise ValueError(f"got the name {name} twice (/ is written as .), among results and axes: rename one")
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


def take(tree: Any, index: Any) -> Any:
    """The given rows of every leaf; the names of a dictionary, which JAX sorts, stay in their order."""
    found = jax.tree.map(lambda leaf: (leaf if isinstance(leaf, jax.Array) else np.asarray(leaf))[index], tree)
    return {name: found[name] for name in tree} if isinstance(tree, dict) else found


def _check(leaf: Any, name: str) -> None:
    """Raises ValueError if a leaf holds no numbers, or integers that 32 bits would wrap on a device."""
    if isinstance(leaf, jax.Array):
        return
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
