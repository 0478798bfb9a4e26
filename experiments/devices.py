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
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

UNKNOWN_CACHE = 2**20  # bytes of second-level cache a core, where the machine does not tell
SHARE = 0.8  # of an accelerator's memory


def mesh() -> Mesh:
    """One axis, `sweep`, over the devices of this process."""
    devices = np.array(jax.local_devices())
    return Mesh(devices, ("sweep",), axis_types=(AxisType.Auto,))


def rows(tree: Any, index: Any) -> Any:
    """The given rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def length(tree: Any) -> int:
    """The number of points of a grid: the leading axis that its leaves share."""
    sizes = sorted({len(leaf) for leaf in jax.tree.leaves(tree)})
    if len(sizes) != 1 or sizes[0] == 0:
        raise ValueError(
            f"the leaves of a grid have leading axes of {sizes}: all need the same number of points, at least one"
        )
    return sizes[0]


class Program(NamedTuple):
    """A function of one point made ready for many. `apply(points, *shared)`: its results, on the host, with a leading
    axis of points. `like(n)`: the shapes of that for n points.
    """

    apply: Callable[..., Any]
    like: Callable[[int], Any]


def spread(f: Callable[..., Any], points: Any, *shared: Any, block: int) -> Program:
    """`f(point, *shared)` over points, `block` of them on each device at a time; `shared` goes to all as it is.

    Compiled once: the last wave is padded with its last point.
    """
    over, here, everywhere = mesh(), PartitionSpec("sweep"), PartitionSpec()
    local = lambda points, shared: jax.vmap(lambda point: f(point, *shared))(points)
    specs: Any = dict(mesh=over, in_specs=(here, everywhere), out_specs=here)
    program = jax.jit(jax.shard_map(local, **specs, check_vma=False))  # the check refuses loops with constant carries
    wave = block * over.size

    def apply(points: Any, *shared: Any) -> Any:
        size, finished = length(points), []
        for first in range(0, size, wave):
            part = rows(points, np.minimum(np.arange(first, first + wave), size - 1))
            out = program(jax.device_put(part, NamedSharding(over, here)), shared)
            finished.append(rows(jax.device_get(out), slice(size - first)))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves), *finished)

    return Program(apply, _like(f, points, *shared))


def together(f: Callable[..., Any], points: Any, *shared: Any) -> Program:
    """`f(point, *shared)` at one point after another, each on all devices of this process: see `sweep.examples`."""
    everywhere, program = NamedSharding(mesh(), PartitionSpec()), jax.jit(f)

    def apply(points: Any, *shared: Any) -> Any:
        one = lambda i: jax.device_get(program(*jax.device_put((rows(points, i), *shared), everywhere)))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *[one(i) for i in range(length(points))])

    return Program(apply, _like(f, points, *shared))


def _like(f: Callable[..., Any], points: Any, *shared: Any) -> Callable[[int], Any]:
    one = jax.eval_shape(lambda points, *shared: f(rows(points, 0), *shared), points, *shared)
    return lambda n: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((n, *leaf.shape), leaf.dtype), one)


def block_size(f: Callable[..., Any], points: Any, *shared: Any, memory: int | None) -> int:
    """How many points a device takes at a time: as many as fit into `memory` bytes, and no more than its share.

    The bytes of one point are the compiler's own (`memory_analysis`, for two points). On a CPU the block also fits
    twice the second-level cache of a core: larger ones were up to a half slower, single points (whose matrix products
    lose their batch axis) two times.
    """
    share = ceil(length(points) / jax.device_count())
    if share <= 2 and memory is None:
        return share
    two = jax.eval_shape(lambda points: rows(points, np.zeros(2, int)), points)
    program = jax.jit(jax.vmap(f, in_axes=(0, *[None] * len(shared)))).lower(two, *shared).compile()
    analysis: Any = program.memory_analysis()
    each = (analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes) / 2
    if memory is not None and each > memory:
        raise ValueError(
            f"one point of this sweep needs {each / 1e6:.0f} MB and the bound is {memory / 1e6:.0f} MB: write "
            f"--memory {ceil(each / 1e6)}MB or more, or spread its examples over the devices (sweep.examples)"
        )
    fits = min(memory or _capacity(), _capacity()) / each
    most = min(share, max(int(fits), 2 if memory is None else min(2, int(memory / each))))
    return ceil(share / ceil(share / most))  # the same number of waves, none of them half empty


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
