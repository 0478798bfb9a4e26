"""What a computation costs: operations, bytes, kernels and seconds of each of its loops' bodies, and a device's peak.

A function is taken apart into pieces without loops: what is around the loops, and each loop's body without the loops in
it. Each piece is compiled by itself on made-up inputs, timed by itself, and counted as often as it runs.
"""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from sweeps import store

LONG_ENOUGH = 0.05  # seconds of a timing
CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint", "core_call"}
KERNEL = re.compile(
    r"= \S.*? (fusion|dot|convolution|custom-call|reduce|reduce-window|sort|scatter|gather|fft|cholesky"
    r"|triangular-solve)\("
)
NUMBER = re.compile(r"-?\d+\.\d+(e[+-]?\d+)?")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.$-]+) \(.*\{$")

_seen: dict[str, "Cost"] = {}


class Cost(NamedTuple):
    """flops: arithmetic operations, as XLA counts them.  bytes: read and written.  kernels: launched in sequence.
    seconds: measured.  memory: the most bytes that a piece takes.
    """

    flops: float | int = 0
    bytes: float | int = 0
    kernels: float | int = 0
    seconds: float = 0.0
    memory: int = 0

    def plus(self, other: "Cost", times: float | int = 1) -> "Cost":
        """This and `times` the other."""
        flops, bytes = self.flops + times * other.flops, self.bytes + times * other.bytes
        kernels, seconds = self.kernels + times * other.kernels, self.seconds + times * other.seconds
        return Cost(flops, bytes, kernels, seconds, max(self.memory, other.memory))


class Piece(NamedTuple):
    """A part of a program without loops. trips: how often it runs.  carried: how many of its outputs are its first
    inputs again, after the `constants` ones; None for what is in no loop.
    """

    program: Any
    trips: float | int
    constants: int = 0
    carried: int | None = None


def cost(f: Callable[..., Any], *args: Any, trips: float | int = 1) -> Cost:
    """The cost of `f(*args)` (arrays or their shapes).

    trips: of a loop whose length is not in the program (on average, where there are several).
    """
    total = Cost()
    with jax.debug_key_reuse(False):  # made-up keys are used over and over
        for piece in pieces(jax.make_jaxpr(f)(*args), trips):
            total = total.plus(_known(piece), piece.trips)
    return total


def _known(piece: Piece) -> Cost:
    """The cost of a piece, from an earlier one that differs in its numbers alone: sweeps often come in variants."""
    text = f"{piece.constants} {piece.carried} {NUMBER.sub('_', str(piece.program))}"
    if text not in _seen:
        _seen[text] = _measured(piece)
    return _seen[text]


def pieces(program: Any, trips: float | int) -> Iterator[Piece]:
    """What is around the loops of a program, then, over and over, the bodies of its loops."""
    yield from _taken_apart(Piece(program, 1), trips)


def _taken_apart(piece: Piece, trips: float | int) -> Iterator[Piece]:
    loops: list[Piece] = []
    jaxpr = piece.program.jaxpr
    shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in jaxpr.invars]

    def without_loops(*inputs: Any) -> tuple[Any, Any]:
        kept: list[Any] = []
        loops.clear()
        return _run(jaxpr, piece.program.consts, inputs, (loops, kept, trips)), kept

    yield piece._replace(program=jax.make_jaxpr(without_loops)(*shapes))
    for loop in loops:
        if loop.trips > 0:
            yield from (part._replace(trips=part.trips * piece.trips) for part in _taken_apart(loop, trips))


def _run(
    jaxpr: Any, constants: Sequence[Any], inputs: Sequence[Any], found: tuple[list, list, float | int]
) -> list[Any]:
    """Run a program with loops of no trips; `found` takes these loops, and what they would have been given."""
    loops, kept, trips = found
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs], strict=True))
    read = lambda atom: atom.val if isinstance(atom, core.Literal) else values[atom]
    for equation in jaxpr.eqns:
        name, parameters = equation.primitive.name, equation.params
        given = [read(atom) for atom in equation.invars]
        inner = parameters.get("jaxpr", parameters.get("call_jaxpr"))
        if name == "scan":
            constant, carried = parameters["num_consts"], parameters["num_carry"]
            loops.append(Piece(inner, parameters["length"], constant, carried))
            kept.extend(given)
            series = [zeros(v.aval) for v in equation.outvars[carried:]]
            results = [*given[constant : constant + carried], *series]
        elif name == "while":
            constant, skipped = parameters["body_nconsts"], parameters["cond_nconsts"]
            results = given[constant + skipped :]
            loops.append(Piece(parameters["body_jaxpr"], trips, constant, len(results)))
            kept.extend(given)
        elif name in CALLS and inner is not None:
            consts = getattr(inner, "consts", ())
            results = _run(getattr(inner, "jaxpr", inner), consts, given, found)
        else:
            results = equation.primitive.bind(*given, **equation.primitive.get_bind_params(parameters))
            results = results if equation.primitive.multiple_results else [results]
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _measured(piece: Piece) -> Cost:
    """The cost of a piece, once. A body is timed in a loop of its own, whose every trip gets other values."""
    f, shapes = core.jaxpr_as_fun(piece.program), [v.aval for v in piece.program.jaxpr.invars]
    inputs = [made_up(shape) for shape in shapes]
    if piece.carried is None:
        compiled: Any = jax.jit(f).lower(*inputs).compile()
        seconds = min(_seconds(compiled, *inputs) for _ in range(3))
    else:
        first = [zeros(v.aval) for v in piece.program.jaxpr.outvars]
        compiled = jax.jit(_repeat(f, piece)).lower(np.int32(1), inputs, first).compile()
        trips, seconds = 1, _seconds(compiled, np.int32(1), inputs, first)
        while seconds < LONG_ENOUGH and trips < 2**20:
            trips *= 4
            seconds = _seconds(compiled, np.int32(trips), inputs, first)
        seconds /= trips
    counted, memory = compiled.cost_analysis(), compiled.memory_analysis()
    taken = memory.temp_size_in_bytes + memory.argument_size_in_bytes + memory.output_size_in_bytes
    kernels = count_kernels(compiled.as_text(), body=piece.carried is not None)
    return Cost(counted.get("flops", 0.0), counted.get("bytes accessed", 0.0), kernels, seconds, taken)


def _repeat(f: Callable[..., Any], piece: Piece) -> Callable[..., Any]:
    """(trips, inputs, outputs) -> outputs after so many trips; all are carried, so that none is left out as unused."""
    assert piece.carried is not None
    constants, series = piece.constants, piece.constants + piece.carried

    def repeated(trips: Any, inputs: Any, outputs: Any) -> Any:
        twice = [jnp.stack([leaf, leaf]) for leaf in inputs[series:]]  # a slice that changes is not hoisted

        def body(i: Any, carry: Any) -> Any:
            slices = [leaf[i % 2] for leaf in twice]
            return tuple(f(*inputs[:constants], *carry[: piece.carried], *slices))

        begin = (*inputs[constants:series], *outputs[piece.carried :])
        return jax.lax.fori_loop(0, trips, body, begin)

    return repeated


def _seconds(compiled: Any, *args: Any) -> float:
    start = time.perf_counter()
    jax.block_until_ready(compiled(*args))
    return time.perf_counter() - start


def made_up(shape: Any) -> Any:
    """Values of a shape and type: small noise, always the same, for floats, zeros for the rest."""
    if store.is_key(shape):
        return zeros(shape)
    if not jnp.issubdtype(shape.dtype, np.inexact):
        return np.zeros(shape.shape, shape.dtype)
    return np.random.default_rng(0).uniform(0.01, 0.02, shape.shape).astype(shape.dtype)


def zeros(shape: Any) -> Any:
    """Zeros of a shape and type, keys made of zeros included."""
    if not store.is_key(shape):
        return jnp.zeros(shape.shape, shape.dtype)
    words = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(shape.shape, shape.dtype))
    return jax.random.wrap_key_data(jnp.zeros(words.shape, words.dtype), impl=store.implementation(shape))


def count_kernels(text: str, *, body: bool) -> int:
    """The kernels of an optimised program that are launched one after another: those not inside a fusion.

    body: only those of loops, not those around them.
    """
    fused, kernels, here = set(re.findall(r"fusion\(.*calls=%?([\w.$-]+)", text)), 0, ("", False)
    for line in text.splitlines():
        if match := COMPUTATION.match(line):
            here = match[2], bool(match[1])
        kernels += here[0] not in fused and not (body and here[1]) and KERNEL.search(line) is not None
    return kernels


class Peak(NamedTuple):
    """What one device reaches: operations a second in a product of large matrices, bytes a second in a large copy."""

    flops: float
    bytes: float


def peak(size: int = 2048) -> Peak:
    """The measured peak of this process's devices, all at work at once, divided by their number."""
    devices, large = jax.local_devices(), jnp.ones(2**25, jnp.float32)  # 134 MB, more than a cache
    product = _rate(lambda x: x @ x, jnp.ones((size, size), jnp.float32), 2 * size**3, devices)
    return Peak(product, _rate(lambda x: x + 1, large, 2 * large.nbytes, devices))


def _rate(f: Callable, x: jax.Array, work: int, devices: list) -> float:
    """Work a second and device, the best of five."""
    inputs, program = [jax.device_put(x, device) for device in devices], jax.jit(f)
    at_once = lambda: [program(x) for x in inputs]
    jax.block_until_ready(at_once())
    return work / min(_seconds(at_once) for _ in range(5))
