"""What a computation costs, from the compiler: floating-point operations, bytes, and the share of a device's peak."""

import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core


class Cost(NamedTuple):
    """`flops`: arithmetic operations, integer ones included, as XLA counts them. `bytes`: read and written."""

    flops: float
    bytes: float

    def __add__(self, other: "Cost") -> "Cost":  # type: ignore[override]
        return Cost(self.flops + other.flops, self.bytes + other.bytes)

    def __mul__(self, times: float | int) -> "Cost":  # type: ignore[override]
        return Cost(self.flops * times, self.bytes * times)


def cost(f: Callable[..., Any], *args: Any, trips: float | int = 1) -> Cost:
    """The cost of `f(*args)` (arrays or their shapes), from `compiled.cost_analysis()`.

    XLA counts the body of a loop once. Here each loop's body is compiled by itself and counted as often as it runs:
    the length of a scan, `trips` for a loop whose length is not in the program (on average, where there are several).
    A loop of length zero is not in what is compiled.
    """
    return _cost(jax.make_jaxpr(f)(*args), trips)


def _cost(program: Any, trips: float | int) -> Cost:
    total = _compiled(program)
    for body, length in _loops(program.jaxpr):
        if length == 0:
            continue
        once = _compiled(body)
        total = total + _cost(body, trips) * (trips if length is None else length) + once * -1
    return Cost(max(total.flops, 0.0), max(total.bytes, 0.0))


def _loops(jaxpr: Any) -> Iterator[tuple[Any, int | None]]:
    """The loops of a program that are in no other loop: body, and length if it is known."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "scan":
            yield equation.params["jaxpr"], equation.params["length"]
        elif equation.primitive.name == "while":
            yield equation.params["body_jaxpr"], None
        else:
            for parameter in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
                inner = getattr(parameter, "jaxpr", parameter)
                if hasattr(inner, "eqns"):
                    yield from _loops(inner)


def _compiled(program: Any) -> Cost:
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in program.jaxpr.invars]
    analysis: Any = jax.jit(core.jaxpr_as_fun(program)).lower(*shapes).compile().cost_analysis()
    return Cost(analysis.get("flops", 0.0), analysis.get("bytes accessed", 0.0))


class Peak(NamedTuple):
    """What one device reaches: operations a second in a product of large matrices, bytes a second in a large copy."""

    flops: float
    bytes: float


def peak(size: int = 2048, repeats: int = 5) -> Peak:
    """The measured peak of this process's devices, all at work at once, divided by their number."""
    devices = jax.local_devices()
    one = jnp.ones((size, size), jnp.float32)
    large = jnp.ones(2**25, jnp.float32)  # 134 MB, more than a cache
    product = _rate(lambda x: x @ x, one, 2 * size**3, devices, repeats)
    copy = _rate(lambda x: x + 1, large, 2 * large.nbytes, devices, repeats)
    return Peak(product, copy)


def _rate(f: Callable, x: jax.Array, work: int, devices: list, repeats: int) -> float:
    """Work a second and device, the best of some repeats."""
    inputs, program = [jax.device_put(x, device) for device in devices], jax.jit(f)
    jax.block_until_ready([program(x) for x in inputs])
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready([program(x) for x in inputs])
        best = min(best, time.perf_counter() - start)
    return work / best
