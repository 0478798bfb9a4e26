"""What an experiment will cost before it is run: `python -m experiments plan NAME --preset paper --devices N`.

The experiment runs with every sweep replaced by a probe: the sweep's own program is compiled, its operations and bytes
are read off (`experiments.costs`), and one block of points a device is timed, for a training sweep over its first
steps. What the probe gave stands in for all points, so that the stages that follow can be planned too.
"""

import time
from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import jax
import numpy as np
from experiments.costs import Cost, Peak, cost
from experiments.devices import Program, length, rows
from rich.table import Table

LONG_ENOUGH = 1.0  # seconds that a probe of a training sweep should take


class Stage(NamedTuple):
    """One sweep. `cost` is that of all its points, `memory` the bytes of a block, `wave` the seconds of a block."""

    name: str
    points: int
    block: int
    cost: Cost
    memory: int
    wave: float

    def hours(self, devices: int) -> float:
        """On so many devices like these: each takes a block at a time."""
        return self.wave * ceil(self.points / (self.block * devices)) / 3600


def probe_run(name: str, f: Callable, program: Program, block: int, points: Any) -> tuple[Stage, Any]:
    """Plan a sweep of `f`; also the results of its first points, repeated for all."""
    size, first = length(points), rows(points, np.arange(block * jax.local_device_count()) % length(points))
    program.apply(first)  # compiles
    found, seconds = _timed(program, first)
    each, memory = _block(f, block, points)
    stage = Stage(name, size, block, each * (size / block), memory, seconds)
    return stage, jax.tree.map(lambda leaf: leaf[np.arange(size) % len(leaf)], found)


def probe_train(
    name: str, f: Callable, program: Program, block: int, points: Any, step: Any, checkpoints: np.ndarray, chunk: int
) -> tuple[Stage, Any]:
    """Plan a training sweep, from as many of its first steps as take a second; also its trajectory, made up of these."""
    size, first = length(points), rows(points, np.arange(block * jax.local_device_count()) % length(points))
    steps, seconds, every = int(checkpoints[-1]) - int(step), 0.0, 1
    program.apply(first, step, _stops(step, every, chunk))  # compiles
    while seconds < LONG_ENOUGH and every * chunk < steps:
        every *= 2
        (_, found), seconds = _timed(program, first, step, _stops(step, every, chunk))
    (_, found), seconds = _timed(program, first, step, _stops(step, every, chunk))
    chunks = len(checkpoints) / chunk
    each, memory = _block(f, block, points, step, _stops(step, 1, chunk), trips=steps / len(checkpoints))
    stage = Stage(name, size, block, each * (chunks * size / block), memory, seconds * steps / (every * chunk))
    index = np.ix_(np.arange(size) % length(first), np.arange(len(checkpoints)) % chunk)
    return stage, jax.tree.map(lambda leaf: leaf[index], tuple(found[1:]))


def _stops(step: Any, every: int, chunk: int) -> np.ndarray:
    return (int(step) + every * np.arange(1, chunk + 1)).astype(np.int32)


def _timed(program: Program, *args: Any) -> tuple[Any, float]:
    start = time.perf_counter()
    return program.apply(*args), time.perf_counter() - start


def _block(f: Callable, block: int, points: Any, *shared: Any, trips: float | int = 1) -> tuple[Cost, int]:
    """The cost of one block, and the bytes of memory it takes."""
    mapped = jax.vmap(f, in_axes=(0, *[None] * len(shared)))
    one = jax.eval_shape(lambda points: rows(points, np.zeros(block, int)), points)
    analysis: Any = jax.jit(mapped).lower(one, *shared).compile().memory_analysis()
    memory = analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes
    return cost(mapped, one, *shared, trips=trips), memory


def table(name: str, stages: list[Stage], devices: int, peak: Peak, tflops: float | None) -> Table:
    """The plan: each stage and the sum; with `tflops`, a device's peak, for devices unlike these."""
    here, kind = jax.device_count(), jax.devices()[0].device_kind
    faster = 1.0 if tflops is None else tflops * 1e12 / peak.flops
    target = f"{devices} like these" if tflops is None else f"{devices} of {tflops:g} TFLOP/s"
    title = f"{name}: planned on {here} x {kind}, {peak.flops / 1e9:.0f} GFLOP/s and {peak.bytes / 1e9:.1f} GB/s each"
    plan = Table(
        title=title,
        caption="hours are of the sweeps alone; other devices are taken to reach the same share of their peak",
    )
    for column in ("stage", "points", "block", "operations", "bytes", "memory/device", "share of peak"):
        plan.add_column(column, justify="left" if column == "stage" else "right")
    for column in (f"hours, {here} here", f"hours, {target}"):
        plan.add_column(column, justify="right")
    for stage in stages:
        share = stage.cost.flops / stage.points * stage.block / stage.wave / peak.flops
        plan.add_row(
            stage.name, str(stage.points), str(stage.block), f"{stage.cost.flops:.2e}", f"{stage.cost.bytes:.2e}",
            f"{stage.memory / 1e6:.1f} MB", f"{share:.1%}", f"{stage.hours(here):.3g}", f"{stage.hours(devices) / faster:.3g}",
        )  # fmt: skip
    total = [sum(stage.hours(n) for stage in stages) for n in (here, devices)]
    plan.add_row("all", "", "", f"{sum(s.cost.flops for s in stages):.2e}", f"{sum(s.cost.bytes for s in stages):.2e}",
                 f"{max(s.memory for s in stages) / 1e6:.1f} MB", "", f"{total[0]:.3g}", f"{total[1] / faster:.3g}")  # fmt: skip
    return plan
