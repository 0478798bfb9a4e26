"""From a function of one point to all points of a grid, on all devices; values by `vmap`, shapes by a Python loop.

`run` maps a function, `train` carries training runs through their checkpoints. Both go in batches of points that are
kept on disk as they finish and skipped on restart; with several processes (`jax.distributed`) batch i belongs to
process i modulo their number, and every process returns with all results.
"""

import bisect
import itertools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Int, Key

from experiments import devices
from experiments.devices import Program, length, rows
from experiments.plan import probe_run, probe_train
from experiments.record import Layout, bar, kept, layout, memory, plan
from toymodels.task import Batch, Task
from toymodels.training import TrainState, Trajectory

BATCHES = 32  # of a sweep whose batch is not given: a kill costs 3 % of it at most
Across = Literal["points", "examples"]


def product(**axes: Sequence[Any]) -> dict[str, np.ndarray]:
    """Every combination of the axes' values, first axis slowest: name -> array with one leading axis of points."""
    empty = [name for name, values in axes.items() if len(values) == 0]
    if empty:
        raise ValueError(f"the axis {empty[0]!r} has no values: give it at least one")
    points = list(itertools.product(*axes.values()))
    return {name: np.array([point[i] for point in points]) for i, name in enumerate(axes)}


def run(
    point: Callable[[Any], Any],
    grid: Any,
    *,
    name: str = "sweep",
    dims: Mapping[str, Sequence[str]] | None = None,
    block: int | None = None,
    batch: int | None = None,
    across: Across = "points",
) -> xr.Dataset:
    """`point` at every point of `grid` (a pytree with one leading axis of points), as one labelled data set.

    A variable for each leaf that `point` returns (`value`, or `params.W` where it is nested). The axis of points is
    `point`, or the axes of `product` if the grid is one; the others have the names `dims` gives, else `value_0`, ....
    A device takes `block` points at a time (by default what fits: `devices.block_size`), and `batch` points are saved
    together: batch i is step i of the series `name`. With the same block no number depends on the devices.
    """
    size, cut = length(grid), _layout(name, point, grid, block=block, batch=batch, across=across)
    program = _program(across, cut.block, point, grid)
    if (stages := plan()) is not None:
        stage, made_up = probe_run(name, point, program, cut.block, grid)
        stages.append(stage)
        return label(made_up, grid, dims or {})
    progress, own = bar(f"{name}, {size} points", size), {}
    for i, index in _own(size, cut.batch):
        own[i] = kept(name, i, program.like(len(index)), lambda index=index: program.apply(rows(grid, index)))
        progress(len(index))
    parts = devices.gather(own, ceil(size / cut.batch))
    return label(jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts), grid, dims or {})


def label(results: Any, grid: Any, dims: Mapping[str, Sequence[str]]) -> xr.Dataset:
    """The data set of results with one leading axis of points, labelled by the values of the grid."""
    leaves = grid.items() if isinstance(grid, dict) else ()
    is_number = lambda leaf: np.ndim(leaf) == 1 and not jnp.issubdtype(jnp.asarray(leaf).dtype, jax.dtypes.prng_key)
    values = {name: np.asarray(leaf) for name, leaf in leaves if is_number(leaf)}
    axes = {name: np.array(list(dict.fromkeys(leaf.tolist())), leaf.dtype) for name, leaf in values.items()}
    grid_of_axes = product(**{name: list(axis) for name, axis in axes.items()}) if len(values) == len(grid) else {}
    if not grid_of_axes or any(not np.array_equal(grid_of_axes[name], values[name]) for name in values):
        axes = {"point": np.arange(length(grid))}
    shape, variables = tuple(len(axis) for axis in axes.values()), {}
    for path, leaf in jax.tree.leaves_with_path(results):
        name = jax.tree_util.keystr(path, simple=True, separator=".") or "result"
        inner = dims.get(name, [f"{name}_{i}" for i in range(leaf.ndim - 1)])
        variables[name] = ((*axes, *inner), leaf.reshape(*shape, *leaf.shape[1:]))
    coordinates = {name: (("point",), leaf) for name, leaf in values.items()} if "point" in axes else axes
    return xr.Dataset(variables, coordinates)


def train(
    advance: Callable[[Any, TrainState, Int[Array, " time"]], tuple[TrainState, Trajectory]],
    grid: Any,
    state: TrainState,
    checkpoints: Int[np.ndarray, " time"],
    *,
    name: str = "steps",
    chunk: int = 10,
    block: int | None = None,
    batch: int | None = None,
    across: Across = "points",
) -> Trajectory:
    """Train every point of `grid`: a trajectory with axes (point, time), on the host.

    `advance(point, state, checkpoints)` trains one point on (`toymodels.training.advance`); `state` carries the axis of
    points except in `step`, which they share. In a record every `chunk` checkpoints of batch i, with the state to
    continue from, are a step of the series `name`/i. `block`, `batch` and `across` are those of `run`. A point that
    goes non-finite is named in a warning; the others are untouched.
    """
    size, step = length(grid), jnp.asarray(state.step)

    def onward(point: Any, step: Array, stops: Array) -> tuple[TrainState, Trajectory]:
        point, params, opt_state = point
        return advance(point, TrainState(step, params, opt_state), stops)

    begin, stops = (grid, *state[1:]), np.resize(checkpoints, chunk)
    saves = ceil(len(checkpoints) / chunk)
    cut = _layout(name, onward, begin, step, stops, saves=saves, block=block, batch=batch, across=across)
    program = _program(across, cut.block, onward, begin, step, stops)
    if (stages := plan()) is not None:
        stage, made_up = probe_train(name, onward, program, cut.block, begin, step, checkpoints, chunk)
        stages.append(stage)
        return Trajectory._make((checkpoints, *made_up))
    progress, own = bar(f"training {size} runs", size * len(checkpoints)), {}
    for i, index in _own(size, cut.batch):
        part, finite = rows(begin, index), np.ones(len(index), bool)
        chunks = []
        for before, stop, trajectory in _chunks(f"{name}/{i}", program, part, step, checkpoints, chunk):
            chunks.append(trajectory)
            finite = _watch(advance, part[0], before, stop, trajectory, finite)
            progress(trajectory[1].size)
        own[i] = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *chunks)
    parts = devices.gather(own, ceil(size / cut.batch))
    return Trajectory._make((checkpoints, *jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)))


def _chunks(
    series: str, program: Program, begin: Any, step: Array, checkpoints: np.ndarray, chunk: int
) -> Iterator[tuple[TrainState, int, tuple[Any, np.ndarray]]]:
    """One batch of training runs: for each chunk the state before it, its last step, and its (params, loss)."""
    one_step = lambda end, part: (end._replace(step=end.step[0]), part._replace(step=part.step[0]))  # all have the same
    like = jax.eval_shape(one_step, *program.like(length(begin)))
    state = TrainState._make((np.asarray(step), *begin[1:]))
    for first in range(0, len(checkpoints), chunk):
        count, before = min(chunk, len(checkpoints) - first), state
        stops = checkpoints[
            np.minimum(np.arange(first, first + chunk), len(checkpoints) - 1)
        ]  # padded: one compilation
        compute = lambda before=before, stops=stops: one_step(
            *program.apply((begin[0], *before[1:]), jnp.asarray(before.step), stops)
        )
        state, part = kept(series, int(stops[-1]), like, compute)
        yield before, int(stops[-1]), jax.tree.map(lambda leaf, count=count: leaf[:, :count], tuple(part[1:]))


def examples(task: Task) -> Task:
    """The task whose batches lie over all devices of this process, for models too large for one device's share.

    For `across="examples"`: parameters are on every device, the compiler adds up the gradients. To split a large
    model as well, give the mesh a second axis, `jax.make_mesh((4, 2), ("sweep", "model"))`, constrain its weights
    with `PartitionSpec(None, "model")` inside `loss`, and constrain the examples as here.
    """
    over = NamedSharding(devices.mesh(), PartitionSpec("sweep"))

    def sample(key: Key[Array, ""], n: int) -> Batch:
        return jax.lax.with_sharding_constraint(task.sample(key, n), over)

    return task._replace(sample=sample)


def _program(across: Across, block: int, f: Callable, points: Any, *shared: Any) -> Program:
    return (
        devices.spread(f, points, *shared, block=block) if across == "points" else devices.together(f, points, *shared)
    )


def _own(size: int, batch: int) -> Iterator[tuple[int, np.ndarray]]:
    """The batches of this process: number, and rows of the grid."""
    for i in range(jax.process_index(), ceil(size / batch), jax.process_count()):
        yield i, np.arange(i * batch, min((i + 1) * batch, size))


def _layout(
    name: str,
    f: Callable,
    points: Any,
    *shared: Any,
    saves: int = 1,
    block: int | None,
    batch: int | None,
    across: Across,
) -> Layout:
    """Points a device takes and points saved together: as given, as a begun run has them, or as fits."""
    if across not in ("points", "examples"):
        raise ValueError(f'got across={across!r}: write "points" or "examples"')

    def decide() -> Layout:
        size, chosen = length(points), 1
        if across == "points":
            measured = block is None or memory() is not None  # a bound that the user states holds whatever is asked for
            fits = devices.block_size(f, points, *shared, memory=memory()) if measured else size
            chosen = min(block or fits, fits)
        wave = chosen * (1 if across == "examples" else jax.local_device_count())
        share = ceil(size / max(1, BATCHES // saves) / wave) * wave
        return Layout(chosen, batch or min(share, ceil(size / jax.process_count() / chosen) * chosen))

    own = {0: layout(name, decide)} if jax.process_index() == 0 else {}
    return devices.gather(own, 1)[0]


def _watch(
    advance: Callable, grid: Any, before: TrainState, stop: int, trajectory: tuple[Any, np.ndarray], finite: np.ndarray
) -> np.ndarray:
    """Which points are still finite at the end of a chunk; those that no longer are get named in a warning."""
    last = [leaf[:, -1].reshape(len(leaf), -1) for leaf in jax.tree.leaves(trajectory[0])]
    still = finite & np.all([np.isfinite(leaf).all(axis=1) for leaf in last], axis=0)
    for i in np.flatnonzero(finite & ~still):
        _report(advance, rows(grid, i), TrainState(before.step, *rows(before[1:], i)), stop)
    return still


def _report(advance: Callable, point: Any, state: TrainState, stop: int) -> None:
    """Say at which step between `state` and `stop` the training of `point` went non-finite (by bisection)."""
    one = jax.jit(advance)

    def broken(step: int) -> bool:
        end, _ = one(point, state, jnp.array([step]))
        return not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(end.params))

    steps = range(int(state.step) + 1, stop + 1)
    first = steps[min(bisect.bisect_left(steps, True, key=broken), len(steps) - 1)]
    values = ", ".join(f"{key}={value}" for key, value in point.items()) if isinstance(point, dict) else str(point)
    warnings.warn(
        f"training went non-finite at step {first} of the sweep point {values}: lower its learning rate; "
        "the other points are kept",
        stacklevel=4,
    )
