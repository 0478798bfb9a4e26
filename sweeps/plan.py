"""What a computation will cost before it is run: every sweep is taken apart and its parts are timed, none is run.

    with sweeps.run(None, execute=planner), planner.until_stopped():
        compute()
    print(plan.table(planner.stages, ...))

The results that the code after a sweep sees are made up by their shapes, so that the stages that follow can be planned.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from math import ceil
from typing import Any, NamedTuple

import jax
import numpy as np

from sweeps import costs, devices, sweep
from sweeps.grid import length

LATENCY = 4e-6  # seconds from one kernel's launch to the next on an accelerator


class Stage(NamedTuple):
    """One sweep. cost: of one block of `block` points, with `cost.seconds` on one device of this machine."""

    name: str
    points: int
    block: int
    cost: costs.Cost

    def hours(self, count: int) -> float:
        """On so many devices like these: each takes a block at a time."""
        return self.cost.seconds * ceil(self.points / (self.block * count)) / 3600

    def share(self, peak: float) -> float:
        """The share of a device's peak (operations a second) that a block reaches here."""
        return self.cost.flops / self.cost.seconds / peak

    def hours_on(self, count: int, faster: float, latency: float) -> float:
        """On so many accelerators: `faster` by the operations, but no faster than one launch follows another."""
        operations = self.cost.seconds * self.points / (self.block * count) / faster
        return max(operations, self.cost.kernels * latency) / 3600


class Planner:
    """What `sweeps.run(None, execute=Planner())` does with each sweep: `stages` are its findings.

    stopped: why the code could not go on with made-up results, "" if it came to its end.
    """

    def __init__(self) -> None:
        self.stages: list[Stage] = []
        self.stopped = ""
        self._refused: Exception | None = None

    def __call__(self, job: sweep.Job) -> Any:
        try:
            return self._plan(job)
        except Exception as error:
            self._refused = error
            raise

    def _plan(self, job: sweep.Job) -> Any:
        size = length(job.points)
        few = min(2, size)
        shapes = sweep.prepare(job, few).like(size)[0]
        sweep.affordable(job.name, shapes, sweep.saves(job))
        cost = block_cost(job, few)
        block = sweep.layout_of(job, each=cost.memory / few)["block"]
        if block > few:
            cost = block_cost(job, block)
        elif block < few and job.across == "points":  # as heavy a point is half of two
            cost = costs.Cost(kernels=cost.kernels / 2, memory=cost.memory // 2).plus(cost, block / few)
        self.stages.append(Stage(job.name, size, block, cost))
        return jax.tree.map(lambda leaf: _result(leaf, job), shapes if job.times is None else shapes[1])

    @contextmanager
    def until_stopped(self) -> Iterator[None]:
        """Around the computation: an error after the first stage is taken for one of the made-up results."""
        try:
            yield
        except Exception as error:
            if not self.stages or error is self._refused:
                raise
            self.stopped = f"{type(error).__name__}: {error}".splitlines()[0]


def block_cost(job: sweep.Job, block: int) -> costs.Cost:
    """The cost of one block of points, over all times."""
    if job.across == "examples":
        points: Any = jax.eval_shape(lambda tree: devices.rows(tree, 0), job.points)
        f: Any = job.f
    else:
        points = jax.eval_shape(lambda tree: devices.rows(tree, np.zeros(block, int)), job.points)
        f = jax.vmap(job.f, in_axes=(0, None), out_axes=(0, None))
    if job.times is None:
        return costs.cost(f, points, job.shared)
    counters = [int(leaf) for leaf in job.shared[0] if int(leaf) <= job.times[0]]
    steps = int(job.times[-1]) - max(counters, default=0)
    one = costs.cost(f, points, job.shared, trips=steps / len(job.times))
    return costs.Cost(memory=one.memory).plus(one, len(job.times) / job.chunk)


def _result(shape: Any, job: sweep.Job) -> np.ndarray:
    """A made-up result at all points; integers with an axis of times alone are taken to be these."""
    if job.times is None:
        return np.asarray(costs.made_up(shape))
    full = jax.ShapeDtypeStruct((shape.shape[0], len(job.times), *shape.shape[2:]), shape.dtype)
    if full.ndim == 2 and np.issubdtype(shape.dtype, np.integer):
        return np.broadcast_to(job.times.astype(shape.dtype), full.shape)
    return np.asarray(costs.made_up(full))


def check(*, devices: int, tflops: float | None = None, latency: float = LATENCY) -> None:
    """Raises ValueError for a machine that cannot be."""
    if devices < 1:
        raise ValueError(f"got --devices {devices}: write --devices 1 or more")
    if tflops is not None and not 0 < tflops < math.inf:
        raise ValueError(f"got --tflops {tflops}: write a device's peak in TFLOP/s, above 0, such as --tflops 60")
    if not 0 <= latency < 1:
        raise ValueError(f"got --latency {latency}: write the seconds of one launch, from 0 to 1, such as 4e-6")


def table(
    name: str,
    planner: Planner,
    peak: costs.Peak,
    *,
    devices: int,
    tflops: float | None = None,
    latency: float = LATENCY,
) -> Any:
    """The plan as a rich.Table: each stage and the sum, here and on `devices` devices.

    tflops: their peak, for accelerators, which reach the same share of it but wait `latency` seconds for every launch.
    """
    from rich.box import SIMPLE
    from rich.table import Table

    check(devices=devices, tflops=tflops, latency=latency)
    here, kind, stages = jax.device_count(), jax.devices()[0].device_kind, planner.stages
    faster = None if tflops is None else tflops * 1e12 / peak.flops
    caption = "Hours of the sweeps alone. A loop whose length depends on the data counts once."
    if tflops is not None:
        caption += (
            f" Other devices reach the same share of their peak, hold all their points at once, and wait {latency:g} s "
            "for each kernel: launches are those that follow one another."
        )
    if planner.stopped:
        caption += f"\nNot planned: what comes after {stages[-1].name}, which needs its results ({planner.stopped})."
    target = f"{devices} like these" if tflops is None else f"{devices} of {tflops:g} TFLOP/s"
    peaks = f"{peak.flops / 1e9:.0f} GFLOP/s, {peak.bytes / 1e9:.1f} GB/s each"
    title = f"{name}: here {here} x {kind}, {peaks}; there {target}"
    plan = Table(title=title, caption=caption, caption_justify="left", box=SIMPLE, padding=0, pad_edge=False)
    plan.add_column("stage", overflow="fold")
    for column in ("points", "block", "flop", "launches", "MB", "of\npeak", "hours\nhere", "hours\nthere"):
        plan.add_column(column, justify="right", no_wrap=True)
    on = lambda stage: stage.hours(devices) if faster is None else stage.hours_on(devices, faster, latency)
    for stage in stages:
        numbers = (stage.points, stage.block, f"{_flops(stage):.1e}", f"{stage.cost.kernels:.1e}")
        memory, share = f"{stage.cost.memory / 1e6:.1f}", f"{stage.share(peak.flops):.1%}"
        plan.add_row(stage.name, *map(str, numbers), memory, share, f"{stage.hours(here):.2g}", f"{on(stage):.2g}")
    flops, launches = sum(map(_flops, stages)), sum(stage.cost.kernels for stage in stages)
    most = max((stage.cost.memory for stage in stages), default=0)
    hours = [sum(map(each, stages)) for each in (lambda stage: stage.hours(here), on)]
    sums = (f"{flops:.1e}", f"{launches:.1e}", f"{most / 1e6:.1f}", "", *[f"{each:.2g}" for each in hours])
    plan.add_row("all", "", "", *sums)
    return plan


def _flops(stage: Stage) -> float:
    return stage.cost.flops * stage.points / stage.block
