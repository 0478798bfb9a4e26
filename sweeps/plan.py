"""What a computation will cost before it is run: every sweep is taken apart and its parts are timed, none is run.

    with sweeps.run(None, execute=planner), planner.until_stopped():
        compute()
    print(plan.table(...))

The results that the code after a sweep sees are made up by their shapes, so that the stages that follow can be planned.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any, NamedTuple

import jax
import numpy as np

from sweeps import costs, devices, sweep
from sweeps.grid import length, take

LATENCY = 4e-6  # seconds from one kernel's launch to the next on an accelerator
MEASURING, PLANNING = 25.0, 45.0  # seconds of processor time: after which nothing is timed; after which a plan ends


class Stage(NamedTuple):
    """One sweep. cost: of one block of `block` points, with `cost.seconds` on one device of this machine."""

    name: str
    points: int
    block: int
    cost: costs.Cost

    @property
    def flops(self) -> float:
        """Operations at all points."""
        return self.cost.flops * self.points / self.block

    def hours(self, count: int) -> float:
        """On so many devices like these: each takes a block at a time."""
        return self.cost.seconds * ceil(self.points / (self.block * count)) / 3600

    def hours_on(self, count: int, faster: float, latency: float) -> float:
        """On so many accelerators: `faster` by the operations, but no faster than one launch follows another."""
        operations = self.cost.seconds * self.points / (self.block * count) / faster
        return max(operations, self.cost.kernels * latency) / 3600


class OutOfTime(BaseException):
    """The plan took too long. No Exception, so that no code that is planned takes it for one of its own."""


class Planner:
    """What `sweeps.run(None, execute=Planner())` does with each sweep: `stages` are its findings.

    stopped: why the code did not go on with made-up results, "" if it came to its end.
    """

    def __init__(self, measuring: float | int = MEASURING) -> None:
        self.stages: list[Stage] = []
        self.stopped = ""
        self._meter = costs.Meter(measuring)
        self._refused: Exception | None = None

    def __call__(self, job: sweep.Job) -> Any:
        size = length(job.points)
        few = min(job.block or 2, size)
        shapes = devices.shapes(job.f, job.points, job.shared)[0]
        try:
            sweep.affordable(job.name, shapes, sweep.saves(job))
        except ValueError as error:
            self._refused = error
            raise
        cost = self._block_cost(job, few)
        block = sweep.layout_of(job, each=cost.memory / few)["block"]
        if block != few:
            cost = self._block_cost(job, block)
        self.stages.append(Stage(job.name, size, block, cost))
        return jax.tree.map(lambda leaf: _result(leaf, job), shapes if job.times is None else shapes[1])

    def _block_cost(self, job: sweep.Job, block: int) -> costs.Cost:
        """The cost of one block of points, over all times."""
        f, rows = job.f, 0
        if job.across == "points":
            f, rows = jax.vmap(job.f, in_axes=(0, None), out_axes=(0, None)), np.zeros(block, int)
        points = jax.eval_shape(lambda tree: take(tree, rows), job.points)
        if job.times is None:
            return self._meter.cost(f, points, job.shared)
        counters = [int(leaf) for leaf in job.shared[0] if int(leaf) <= job.times[0]]
        steps = int(job.times[-1]) - max(counters, default=0)
        one = self._meter.cost(f, points, job.shared, trips=steps / len(job.times))
        return costs.Cost(memory=one.memory).plus(one, len(job.times) / job.chunk)

    @contextmanager
    def until_stopped(self, seconds: float | int = PLANNING) -> Iterator[None]:
        """Around the computation, for so many seconds of processor time.

        An error after the first stage is taken for one of the made-up results.
        """
        try:
            with _limited(seconds):
                yield
        except OutOfTime:
            self.stopped = f"planning was ended after {seconds:.0f} s of processor time"
        except Exception as error:
            if not self.stages or error is self._refused:
                raise
            self.stopped = f"{type(error).__name__}: {error}".splitlines()[0]


@contextmanager
def _limited(seconds: float | int) -> Iterator[None]:
    """Raises OutOfTime inside the block, on the main thread, after so much processor time."""

    def end(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _result(shape: Any, job: sweep.Job) -> np.ndarray:
    """A made-up result at all points; integers with an axis of times alone are taken to be these."""
    if job.times is None:
        return np.asarray(costs.made_up(shape))
    full = jax.ShapeDtypeStruct((shape.shape[0], len(job.times), *shape.shape[2:]), shape.dtype)
    if full.ndim == 2 and np.issubdtype(shape.dtype, np.integer):
        return np.broadcast_to(job.times.astype(shape.dtype), full.shape)
    return np.asarray(costs.made_up(full))


def table(
    name: str, planner: Planner, peak: float, *, devices: int, tflops: float | None = None, latency: float = LATENCY
) -> Any:
    """The plan as a rich.Table: each stage and the sum, here and on `devices` devices.

    peak: operations a second of a device here.  tflops: that of the others, for accelerators, which reach the same
    share of it but wait `latency` seconds for every launch.
    """
    from rich.box import SIMPLE
    from rich.table import Table

    here, kind = jax.device_count(), jax.devices()[0].device_kind
    there = f"{devices} like these" if tflops is None else f"{devices} of {tflops:g} TFLOP/s"
    title = f"{name}: here {here} x {kind}, {peak / 1e9:.0f} GFLOP/s each; there {there}"
    caption = _caption(planner, None if tflops is None else latency)
    plan = Table(title=title, caption=caption, caption_justify="left", box=SIMPLE, padding=0, pad_edge=False)
    plan.add_column("stage", overflow="fold")
    for column in ("points", "block", "flop", "launches", "MB", "of\npeak", "hours\nhere", "hours\nthere"):
        plan.add_column(column, justify="right", no_wrap=True)
    rows, most = [], 0
    for stage in planner.stages:
        cost, hours = stage.cost, stage.hours(devices)
        if tflops is not None:
            hours = stage.hours_on(devices, tflops * 1e12 / peak, latency)
        about, memory, share = "", f"{cost.memory / 1e6:.1f}", f"{cost.flops / cost.seconds / peak:.1%}"
        if cost.estimated:
            about, memory, share = "~", "?", "?"
        numbers = (str(stage.points), str(stage.block), f"{stage.flops:.1e}", f"{cost.kernels:.1e}", memory, share)
        plan.add_row(stage.name, *numbers, f"{about}{stage.hours(here):.2g}", f"{about}{hours:.2g}")
        rows.append((stage.flops, cost.kernels, stage.hours(here), hours))
        most = max(most, cost.memory)
    flops, launches, *hours = np.sum(rows, axis=0) if rows else (0, 0, 0, 0)
    numbers = (f"{flops:.1e}", f"{launches:.1e}", f"{most / 1e6:.1f}", "", *[f"{each:.2g}" for each in hours])
    plan.add_row("all", "", "", *numbers)
    return plan


def _caption(planner: Planner, latency: float | None) -> str:
    """What the plan assumes, and what it leaves out."""
    lines = ["Hours of the sweeps alone. A loop whose length depends on the data counts once."]
    if any(stage.cost.estimated for stage in planner.stages):
        lines.append("~ was not timed, or not in all its parts: it is estimated from operations.")
    if latency is not None:
        lines.append(
            f"Other devices reach the same share of their peak, hold all their points at once, and wait {latency:g} s "
            "for each kernel: launches are those that follow one another."
        )
    if planner.stopped:
        reached = f"what comes after {planner.stages[-1].name}" if planner.stages else "all of it, no sweep was reached"
        lines.append(f"Not planned: {reached} ({planner.stopped}).")
    return "\n".join(lines)
