"""Where a sweep computes: blocks of points on all devices of this process, and results from all processes.

A device holds one block of points at a time and runs `vmap` over it; blocks go out in waves, one a device. No point
needs another, so each device runs a program of its own (`shard_map`): what a point gives depends, to the last bit, on
the block alone, not on how many devices or processes there are. (Under `jit` with sharded arguments alone the
compiler gathered the FFT of the effective sample size onto every device, and the bits changed with their number.)
"""

import os
import pickle
from collections.abc import Callable
from math import ceil
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.extend import core
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from sweeps.grid import length, take

UNKNOWN_CACHE = 2**20  # bytes of second-level cache a core, where the machine does not tell
SHARE = 0.8  # of an accelerator's memory
HERE, EVERYWHERE = PartitionSpec("sweep"), PartitionSpec()

Function = Callable[[Any, Any], tuple[Any, Any]]
"""(point, shared) -> (what the point gives, what is the same for all points)."""


def mesh() -> Mesh:
    """One axis, `sweep`, over the devices of this process."""
    return Mesh(np.array(jax.local_devices()), ("sweep",), axis_types=(AxisType.Auto,))


def examples(over: Any) -> Any:
    """Spread an array's leading axis (examples) over all devices of this process, for `across="examples"`.

    For models too large for one device's share: parameters are on every device, the compiler adds up the gradients.
    Write it in the task's `sample`: `lambda key, n: sweeps.examples(task.sample(key, n))`.
    """
    return jax.lax.with_sharding_constraint(over, NamedSharding(mesh(), HERE))


class Batched(Exception):
    """What was said to be the same for all points is not."""


class Program(NamedTuple):
    """A function of one point made ready for many.

    lowered: the program of one block (whose results have `axes` axes of points).  apply: (points, shared) -> the
    results on the host, with a leading axis of points.
    """

    lowered: Any
    axes: int
    apply: Callable[[Any, Any], tuple[Any, Any]]

    def like(self, n: int) -> tuple[Any, Any]:
        """The shapes of the results at n points."""
        each, common = self.lowered.out_info
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((n, *leaf.shape[self.axes :]), leaf.dtype), each), common


def spread(f: Function, points: Any, shared: Any, *, block: int) -> Program:
    """`f` over points, `block` of them on each device at a time; `shared` goes to all as it is.

    Compiled once: the last wave is padded with its last point.
    """
    over = mesh()
    local, lowered = _lower(f, points, shared, block)
    specs: Any = dict(mesh=over, in_specs=(HERE, EVERYWHERE), out_specs=(HERE, EVERYWHERE))
    program = jax.jit(jax.shard_map(local, **specs, check_vma=False))  # the check refuses loops with constant carries
    wave = block * over.size

    def apply(points: Any, shared: Any) -> tuple[Any, Any]:
        size, finished, common = length(points), [], None
        for first in range(0, size, wave):
            part = take(points, np.minimum(np.arange(first, first + wave), size - 1))
            each, common = jax.device_get(program(jax.device_put(part, NamedSharding(over, HERE)), shared))
            finished.append(take(each, slice(size - first)))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *finished), common

    return Program(lowered, 1, apply)


def together(f: Function, points: Any, shared: Any) -> Program:
    """`f` at one point after another, each on all devices of this process: see `sweeps.examples`."""
    everywhere, program = NamedSharding(mesh(), EVERYWHERE), jax.jit(f)
    one = jax.eval_shape(lambda tree: take(tree, 0), points)
    lowered = program.lower(one, shared)

    def apply(points: Any, shared: Any) -> tuple[Any, Any]:
        at = lambda i: jax.device_get(program(*jax.device_put((take(points, i), shared), everywhere)))
        each, common = zip(*[at(i) for i in range(length(points))], strict=True)
        return jax.tree.map(lambda *leaves: np.stack(leaves), *each), common[-1]

    return Program(lowered, 0, apply)


def shapes(f: Function, points: Any, shared: Any) -> tuple[Any, Any]:
    """The shapes of the results at all points; nothing is lowered."""
    mapped = jax.vmap(f, in_axes=(0, None), out_axes=(0, None))
    return _checked(lambda: jax.eval_shape(mapped, points, shared))


def _checked(trace: Callable[[], Any]) -> Any:
    """What a trace of a block returns. Raises Batched where its second output depends on the point."""
    try:
        return trace()
    except ValueError as error:
        if "out_axes" in str(error):
            raise Batched from error
        raise


def _lower(f: Function, points: Any, shared: Any, block: int) -> tuple[Any, Any]:
    """`f` over a block of points, and its program; it is traced here and never again."""
    mapped = jax.jit(jax.vmap(f, in_axes=(0, None), out_axes=(0, None)))
    rows = jax.eval_shape(lambda tree: take(tree, np.zeros(block, int)), points)
    traced = _checked(lambda: mapped.trace(rows, shared))
    run, structure = core.jaxpr_as_fun(traced.jaxpr), jax.tree.structure(traced.out_info)
    kinds = [(v.aval.shape, v.aval.dtype) for v in traced.jaxpr.jaxpr.invars]

    def local(points: Any, shared: Any) -> Any:
        leaves = jax.tree.leaves((points, shared))
        for leaf, kind in zip(leaves, kinds, strict=True):
            if (leaf.shape, leaf.dtype) != kind:
                raise ValueError(
                    f"got {leaf.dtype}{list(leaf.shape)} in the state of a scan that began with "
                    f"{kind[1]}{list(kind[0])} in its place: write f so that it returns a state as it is given"
                )
        return jax.tree.unflatten(structure, run(*leaves))

    return local, traced.lower()


def block_size(f: Function, points: Any, shared: Any, *, memory: int | None, each: float | None = None) -> int:
    """How many points a device takes at a time: as many as fit into `memory` bytes, and no more than its share.

    The bytes of one point (`each`) are, if not known, the compiler's own (`memory_analysis`). On a CPU the block also
    fits twice the second-level cache of a core: larger ones were up to a half slower, single points (whose matrix
    products lose their batch axis) two times.
    """
    share = ceil(length(points) / jax.device_count())
    if share <= 2 and memory is None:
        return share
    if each is None:
        each = memory_of(_lower(f, points, shared, 2)[1].compile()) / 2
    if memory is not None and each > memory:
        raise ValueError(
            f"one point of this sweep needs {each / 1e6:.0f} MB and the bound is {memory / 1e6:.0f} MB: write "
            f"--memory {ceil(each / 1e6)}MB or more, or spread its examples over the devices (sweeps.examples)"
        )
    fits = min(memory or _capacity(), _capacity()) / each
    most = min(share, max(int(fits), 2 if memory is None else min(2, int(memory / each))))
    return ceil(share / ceil(share / most))  # the same number of waves, none of them half empty


def memory_of(compiled: Any) -> int:
    """Bytes that a compiled program needs."""
    analysis = compiled.memory_analysis()
    return analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes


def _capacity() -> int:
    """Bytes that a device should be given at a time."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        cache = os.sysconf("SC_LEVEL2_CACHE_SIZE") if "SC_LEVEL2_CACHE_SIZE" in os.sysconf_names else 0
        return 2 * max(cache, UNKNOWN_CACHE)
    return int(SHARE * device.memory_stats()["bytes_limit"])


def gather(own: dict[int, Any], count: int) -> list[Any]:
    """Results 0..count-1 on every process, of which each holds its own; exact, whatever their types and shapes."""
    found, processes = dict(own), jax.process_count()
    for first in range(0, count if processes > 1 else 0, processes):  # one result of each process at a time
        mine = {i: own[i] for i in range(first, first + processes) if i in own}
        message = np.frombuffer(pickle.dumps(mine), np.uint8)
        sizes = multihost_utils.process_allgather(np.array([message.size], np.int32)).ravel()
        padded = np.pad(message, (0, sizes.max() - message.size))
        for size, theirs in zip(sizes, multihost_utils.process_allgather(padded), strict=True):
            found |= pickle.loads(theirs[:size].tobytes())
    return [found[i] for i in range(count)]
