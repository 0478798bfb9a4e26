"""From a function of one point to all points of a grid, on all devices; values by `vmap`, shapes by a Python loop.

`map` maps a function, `scan` carries a state through times. Both go in batches of points; inside a run directory
(`sweeps.run`) these are kept on disk as they finish and not computed again. With several processes
(`jax.distributed`) batch i belongs to process i modulo their number, and every process returns with all results.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Int

from sweeps import devices, fingerprint, record
from sweeps.devices import Function, Program
from sweeps.grid import Points, Runs, grid_points, label, length, take
from sweeps.state import counters_of, finite, joined, report, split
from sweeps.store import pack, unpack

BATCHES = 32  # of a sweep whose batch is not given: a kill costs 3 % of it at most
Across = Literal["points", "examples"]


class Job(NamedTuple):
    """A sweep ready to be computed: `f(point, shared)` at every one of `points`.

    For a map, `times` is None, `shared` is () and f returns (results, ()). For a scan, a point is (point of the grid,
    its state), shared is (counters, `chunk` of the times), and f returns ((state, outputs), counters).
    inputs: what the results depend on besides the program, by name.  lost: what to do where a state went non-finite.
    """

    name: str
    f: Function
    points: Any
    shared: Any
    inputs: dict[str, Any]
    times: np.ndarray | None = None
    chunk: int = 1
    block: int | None = None
    batch: int | None = None
    across: Across = "points"
    lost: Callable[..., None] | None = None


def map(
    f: Callable[..., Any],
    grid: Any,
    *,
    name: str | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    block: int | None = None,
    batch: int | None = None,
    across: Across = "points",
) -> Any:
    """`f(point)` at every point of `grid`, as an xarray.Dataset with the grid's axes.

    grid: of `product` or `cross`, any pytree with one leading axis of points, or the `Runs` of a `scan`: then
    `f(at, checkpoint)` sees the grid's values with `step`, and the outputs at that step. A variable for each leaf that
    f returns (`value`; `params.W` where it is nested; `result` if it is one array); its own axes have the names `dims`
    gives, else `value_0`, .... A device takes `block` points at a time (by default what fits), and `batch` points are
    saved together, in the series `name` (by default the function's). With the same block no bit depends on the devices.
    """
    points = grid_points(grid)
    job = Job(
        record.claim(f, name),
        lambda point, _: (pack(points.call(f, point)), ()),
        points.tree,
        (),
        _inputs(points),
        block=block,
        batch=batch,
        across=across,
    )
    return label(_execute(job), points, dims or {})


def scan(
    f: Callable[[Any, Any, Int[Array, " time"]], tuple[Any, Any]],
    grid: Any,
    begin: Callable[[Any], Any],
    times: Int[np.ndarray, " time"] | Sequence[int],
    *,
    name: str | None = None,
    chunk: int = 10,
    block: int | None = None,
    batch: int | None = None,
    across: Across = "points",
) -> Runs:
    """Carry a state through `times` at every point of `grid`: the outputs, with axes (point, time), on the host.

    `begin(point)` is the state before the first time; `f(point, state, times)` carries it through some of the times
    and returns (state, outputs), outputs with a leading axis of times (`toymodels.advance`). Every `chunk` times of a
    batch are kept with the state to go on from. Integers at the top of the state that all points share (a step counter)
    stay one number: a loop whose length differed by point would run masked. A point whose state goes non-finite is
    named in a warning; the others are untouched. `name`, `block`, `batch` and `across` are those of `map`.
    """
    times, points, name = _times(times), grid_points(grid), record.claim(f, name)
    all_begin = jax.vmap(lambda point: pack(points.call(begin, point)))
    affordable(name, jax.eval_shape(all_begin, points.tree))
    initial = jax.device_get(jax.jit(all_begin)(points.tree))
    like = jax.eval_shape(lambda tree: points.call(begin, take(tree, 0)), points.tree)

    def job(counters: Sequence[int]) -> Job:
        own, common = split(initial, counters, first=True)

        def onward(point: Any, shared: Any) -> tuple[Any, Any]:
            (at, own), (common, stops) = point, shared
            state = unpack(joined(own, common, counters, like), like)
            state, outputs = points.call(f, at, state, stops)
            own, common = split(pack(state), counters)
            return (own, pack(outputs)), common

        inputs = _inputs(points) | {"state": initial, "times": times}
        onto = (common, np.resize(times, chunk))
        lost = lambda *where: report(f, points, like, counters, *where)
        return Job(name, onward, (points.tree, own), onto, inputs, times, chunk, block, batch, across, lost)

    counters = counters_of(initial)
    try:
        outputs = _execute(job(counters))
    except devices.Batched:  # one of the counters goes its own way at each point
        outputs = _execute(job(()))
    return Runs(points, times, outputs)


def compute(job: Job) -> Any:
    """The results of a sweep at all points, with a leading axis of points (and of times), on every process."""
    size, place, agreed = length(job.points), record.place(job.name), {}
    if jax.process_index() == 0:
        begun = record.begun(place)
        agreed[0] = begun, layout_of(job, begun)
    begun, layout = devices.gather(agreed, 1)[0]
    program = prepare(job, layout["block"])
    series = record.Series(place, fingerprint.describe(program.lowered, inputs=job.inputs, layout=layout))
    if begun is not None:
        series.recognise(begun)
    affordable(job.name, program.like(size)[0], saves(job))
    count, own = ceil(size / layout["batch"]), {}
    progress = record.bar(job.name, size if job.times is None else size * len(job.times))
    for i in range(jax.process_index(), count, jax.process_count()):
        first, last = i * layout["batch"], min((i + 1) * layout["batch"], size)
        own[i] = _batch(job, program, series, i, (first, last), progress)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *devices.gather(own, count))


def prepare(job: Job, block: int) -> Program:
    """The program of a job, for blocks of so many points."""
    if job.across == "points":
        return devices.spread(job.f, job.points, job.shared, block=block)
    return devices.together(job.f, job.points, job.shared)


def _execute(job: Job) -> Any:
    """What the open run does with a sweep: compute it, or what was put in its place (a plan)."""
    for name, number in (("block", job.block), ("batch", job.batch), ("chunk", job.chunk)):
        if number is not None and number < 1:
            raise ValueError(f"got {name}={number}: write {name}=1 or more, or leave it out")
    if job.across not in ("points", "examples"):
        raise ValueError(f'got across={job.across!r}: write "points" or "examples"')
    return (record.current().execute or compute)(job)


def _batch(
    job: Job, program: Program, series: record.Series, i: int, rows: tuple[int, int], progress: Callable[[int], None]
) -> Any:
    """Batch i: its results, from disk or computed, with the axes (points, times)."""
    points, size = take(job.points, slice(*rows)), rows[1] - rows[0]
    if job.times is None:
        found = series.kept((i, 0), rows, program.like(size)[0], lambda: program.apply(points, job.shared)[0])
        progress(size)
        return found
    (at, own), (common, _) = points, job.shared
    chunks, alive = [], finite(own, size)
    for part, first in enumerate(range(0, len(job.times), job.chunk)):
        stops = job.times[np.minimum(np.arange(first, first + job.chunk), len(job.times) - 1)]  # one compilation
        onward = lambda own=own, common=common, stops=stops: program.apply((at, own), (common, stops))
        (end, outputs), after = series.kept((i, part), rows, program.like(size), onward)
        still = alive & finite(end, size)
        for row in np.flatnonzero(alive & ~still):
            assert job.lost is not None
            job.lost(rows[0] + int(row), take(own, row), common, int(stops[-1]))
        alive = still
        own, common, count = end, after, min(job.chunk, len(job.times) - first)
        chunks.append(jax.tree.map(lambda leaf, count=count: leaf[:, :count], outputs))
        progress(size * count)
    return jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *chunks)


def layout_of(job: Job, begun: Any = None, each: float | None = None) -> dict[str, int]:
    """How a sweep is cut: points a device takes and points saved together as the series was begun, as given or as fits.

    block, batch, chunk; for `across="examples"`, whose sums depend on them, also devices.
    each: bytes of a point, if known.
    """
    size, chosen, wave, memory = length(job.points), 1, 1, record.current().memory
    given = {"chunk": job.chunk} | ({"devices": jax.local_device_count()} if job.across == "examples" else {})
    there = begun.get("layout") if isinstance(begun, dict) else None
    if isinstance(there, dict) and all(type(there.get(cut)) is int and there[cut] > 0 for cut in ("block", "batch")):
        return there | given
    if job.across == "points":
        measured = job.block is None or memory is not None  # a bound that the user states holds whatever is asked
        fits = devices.block_size(job.f, job.points, job.shared, memory=memory, each=each) if measured else size
        chosen = min(job.block or fits, fits)
        wave = chosen * jax.local_device_count()
    share = ceil(size / max(1, BATCHES // saves(job)) / wave) * wave
    batch = job.batch or min(share, ceil(size / jax.process_count() / chosen) * chosen)
    return {"block": chosen, "batch": batch} | given


def saves(job: Job) -> int:
    """Steps on disk of each batch."""
    return 1 if job.times is None else ceil(len(job.times) / job.chunk)


def affordable(name: str, results: Any, chunks: int = 1) -> None:
    """Refuse results (shapes, of each of so many chunks) that the memory of this machine cannot hold."""
    wanted = chunks * sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(results))
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if wanted > there:
        raise ValueError(
            f"the results of {name} would take {wanted / 1e9:.3g} GB and this machine has {there / 1e9:.3g} GB: "
            "write fewer points, draws or checkpoints"
        )


def _inputs(points: Points) -> dict[str, Any]:
    return {"grid": points.at} | ({} if points.checkpoint is None else {"checkpoint": points.checkpoint})


def _times(times: Any) -> np.ndarray:
    """Increasing integers of 32 bits."""
    times = np.asarray(times)
    integers = times.ndim == 1 and times.size > 0 and times.dtype.kind in "iu"
    if not integers or (np.diff(times) <= 0).any() or times[0] < 0 or times[-1] >= 2**31:
        raise ValueError(
            f"got the times {times}: write integers, at least one, increasing from 0 to {2**31 - 1} at most; "
            "np.unique(times) sorts them"
        )
    return times.astype(np.int32)
