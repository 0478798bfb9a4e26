"""What our own side costs: operations, bytes and share of peak, growth, compilation, memory, checkpoints."""

import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr
from jax import monitoring

from experiments import devices
from experiments.costs import cost, peak
from experiments.speed import ours
from experiments.speed.ours import Workload
from toymodels import store

MULTIPLES = (1, 2, 4, 8)
COMPILED = "/jax/core/compile/backend_compile_duration"


def costs(workloads: dict[str, tuple[Workload, int]], scale: float) -> xr.Dataset:
    """Operations and bytes of one step of one instance or chain, from the compiler, and the share of the measured peak."""
    names, found = list(workloads), []
    top = peak(size=2048 if scale >= 1 else 256)
    rate = np.zeros(len(workloads))
    for i, (workload, n) in enumerate(workloads.values()):
        n = max(2, int(n * scale))
        workload.run(n)
        rate[i] = workload.count(n) / min(workload.seconds(n) for _ in range(2)) / jax.local_device_count()
        block = jax.tree.map(
            lambda leaf, w=workload: jax.ShapeDtypeStruct((w.block, *leaf.shape[1:]), leaf.dtype), workload.points
        )
        mapped = jax.vmap(workload.point, in_axes=(0, *[None] * len(workload.shared)))
        if workload.count(2) > workload.count(1):  # training: one more trip of its loop is one more step
            more, less = (cost(mapped, block, *workload.shared, trips=trips) for trips in (2, 1))
            each = (more + less * -1) * (1 / workload.block)
        else:  # chains: all their steps
            each = cost(mapped, block, *workload.shared) * (
                jax.local_device_count() / workload.count(0) * (length(workload) / workload.block)
            )
        found.append(each)
    variables = {
        "operations": ("workload", [c.flops for c in found], {"units": "operations a step"}),
        "bytes": ("workload", [c.bytes for c in found], {"units": "bytes a step"}),
        "share_operations": ("workload", rate * [c.flops for c in found] / top.flops, {"units": "of the peak"}),
        "share_bytes": ("workload", rate * [c.bytes for c in found] / top.bytes, {"units": "of the peak"}),
        "share_products": (
            "workload",
            rate * [w.products for w, _ in workloads.values()] / top.flops,
            {"units": "of the peak", "long_name": "matrix products alone, counted by the sizes"},
        ),
        "peak_flops": ((), top.flops, {"units": "operations a second and device, large matrix product"}),
        "peak_bytes": ((), top.bytes, {"units": "bytes a second and device, large copy"}),
    }
    return xr.Dataset(variables, {"workload": names})


def length(workload: Workload) -> int:
    """Points on each device."""
    return max(1, devices.length(workload.points) // jax.local_device_count())


def growth(scale: float, repeats: int) -> xr.Dataset:
    """Seconds against the number of runs, checkpoints, chains and draws; the exponent of each, which should be one."""
    n = lambda number: max(1, int(number * scale))
    block = 8 * jax.local_device_count()
    each = {
        "runs": lambda m: (ours.training(6, 2, block * m, batch=256, block=8), n(4000)),
        "checkpoints": lambda m: (ours.chains(4 * block * m, 4, n(1500), block=8), 0),
        "chains": lambda m: (ours.chains(8 * block * m, 4 * m, n(1500), block=16 // m), 0),
        "draws": lambda m: (ours.chains(4 * block, 4, n(1500) * m, block=8), 0),
    }
    seconds = np.full((len(each), len(MULTIPLES)), np.inf)
    for i, make in enumerate(each.values()):
        timed = [make(m) for m in MULTIPLES]
        for workload, steps in timed:
            workload.run(steps)  # compiles
        for _ in range(repeats):
            seconds[i] = np.minimum(seconds[i], [workload.seconds(steps) for workload, steps in timed])
    exponent = [np.polyfit(np.log(MULTIPLES), np.log(row), 1)[0] for row in seconds]
    variables = {
        "growth": (("axis", "multiple"), seconds, {"units": "s"}),
        "exponent": ("axis", exponent, {"units": "d log seconds / d log number"}),
    }
    return xr.Dataset(variables, {"axis": list(each), "multiple": list(MULTIPLES)})


def bounds() -> xr.Dataset:
    """Compilations of a sweep of any size, memory of a block against its bound, and the price of checkpoints."""
    compiled = [compilations(waves) for waves in (1, 4)]
    bound, used = _memory()
    share = _checkpointing()
    variables = {
        "compilations": ("waves", compiled, {"long_name": "programs compiled by a sweep of so many waves"}),
        "memory_bound": ((), bound, {"units": "bytes"}),
        "memory_used": ((), used, {"units": "bytes a device, by the compiler"}),
        "checkpointing": ((), share, {"units": "of the training time", "long_name": "a checkpoint every 30 epochs"}),
    }
    return xr.Dataset(variables, {"waves": [1, 4]})


def compilations(waves: int) -> int:
    """How often the compiler runs for a sweep of that many waves, once its block is known."""
    found: list[str] = []
    workload = ours.chains(8 * jax.local_device_count(), 2, 20)
    program = devices.spread(workload.point, workload.points, block=4)
    monitoring.register_event_duration_secs_listener(lambda event, *_, **__: found.append(event))
    program.apply(np.arange(4 * jax.local_device_count() * waves))
    monitoring.clear_event_listeners()
    return sum(event == COMPILED for event in found)


def _memory(bound: int = 8 * 10**6) -> tuple[int, int]:
    """A stated bound, and what a block of training runs takes by the compiler's account."""
    workload = ours.training(80, 20, 256)
    block = devices.block_size(workload.point, workload.points, *workload.shared, memory=bound)
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((block, *leaf.shape[1:]), leaf.dtype), workload.points)
    program = jax.jit(jax.vmap(workload.point, in_axes=(0, None))).lower(shapes, *workload.shared).compile()
    analysis: Any = program.memory_analysis()
    return bound, analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes


def _checkpointing(epochs: int = 30) -> float:
    """What saving takes, of the time of training 108 runs with a checkpoint every 30 epochs of 50 steps, ten a save."""
    workload, checkpoints = ours.training(6, 2, 108, batch=20), 50 * epochs * np.arange(1, 11)
    trajectory = workload.run(checkpoints)
    training = min(workload.seconds(checkpoints) for _ in range(3))
    with tempfile.TemporaryDirectory() as folder:
        saves = []
        for i in range(5):
            begin = time.perf_counter()
            store.save(Path(folder), i, trajectory)
            saves.append(time.perf_counter() - begin)
    return float(np.median(saves) / training)
