"""What a computation costs: operations, kernels, memory and seconds of each of its loops' bodies, and a device's peak.

A function is taken apart into pieces without loops: what is around the loops, and each loop's body without the loops in
it. Each distinct piece is compiled and timed by itself, on made-up inputs, and counted as often as it runs.
"""

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from sweeps import devices, store

LONG_ENOUGH = 0.05  # seconds of a timing
MOST_TRIPS = 4**10  # of a body that is timed
COMPILING = 0.005  # seconds for each equation of a piece, on a CPU
SLOW, FAST = 1e9, 1e10  # operations a second of a piece that is not timed, and the most that is expected of one
CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint", "core_call"}
NOISE = np.random.default_rng(0).uniform(0.01, 0.02, 65521)  # a prime, so that rows of an array differ
NUMBER = re.compile(r"-?\d+\.\d+(e[+-]?\d+)?")
KERNEL = re.compile(r" = (dot_|conv_|reduce_|arg|cum|sort|gather|scatter|fft|random_bits|cholesky|triangular_solve)")


class Cost(NamedTuple):
    """flops: arithmetic operations, as XLA counts them.  kernels: the fewest that are launched one after another.
    seconds: on one device.  estimated: those of them that were not timed.  memory: the most bytes a piece takes.
    """

    flops: float = 0.0
    kernels: float = 0.0
    seconds: float = 0.0
    estimated: float = 0.0
    memory: int = 0

    def plus(self, other: "Cost", times: float | int = 1) -> "Cost":
        """This and `times` the other."""
        sums = [mine + times * theirs for mine, theirs in zip(self[:-1], other[:-1], strict=True)]
        return Cost(*sums, memory=max(self.memory, other.memory))


class Piece(NamedTuple):
    """A part of a program without loops. trips: how often it runs.  carried: how many of its outputs are its first
    inputs again, after the `constants` ones; None for what is in no loop.
    """

    program: Any
    trips: float | int
    constants: int = 0
    carried: int | None = None


class Meter:
    """Measures costs for `budget` seconds of processor time; then operations are counted and nothing is compiled."""

    def __init__(self, budget: float | int = math.inf) -> None:
        self._end = time.process_time() + budget
        self._seen: dict[str, Cost] = {}
        self._timed = Cost()

    def cost(self, f: Callable[..., Any], *args: Any, trips: float | int = 1) -> Cost:
        """The cost of `f(*args)` (arrays or their shapes).

        trips: of a loop whose length is not in the program (on average, where there are several).
        """
        total = Cost()
        with jax.debug_key_reuse(False):  # made-up keys are used over and over
            pieces = taken_apart(Piece(jax.make_jaxpr(f)(*args), 1), trips)
            for piece in sorted(pieces, key=lambda piece: -piece.trips):  # what runs most often is timed first
                text = NUMBER.sub("_", f"{piece.constants} {piece.carried} {piece.program}")
                if text not in self._seen:  # variants of a sweep differ in their numbers alone
                    self._seen[text] = self._measured(piece, kernels=max(1, len(KERNEL.findall(text))))
                total = total.plus(self._seen[text], piece.trips)
        return total

    def _measured(self, piece: Piece, *, kernels: int) -> Cost:
        """The cost of a piece, once: timed if that fits into the budget."""
        shapes = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in piece.program.jaxpr.invars]
        lowered = jax.jit(repeated(piece)).lower(np.int32(1), shapes)
        flops = (lowered.cost_analysis() or {}).get("flops", 0.0)
        if time.process_time() + COMPILING * len(piece.program.jaxpr.eqns) + flops / FAST > self._end:
            seconds = max(flops, 1.0) * (self._timed.seconds / self._timed.flops if self._timed.flops else 1 / SLOW)
            return Cost(flops, kernels, seconds, seconds, sum(leaf.size * leaf.dtype.itemsize for leaf in shapes))
        compiled, inputs = lowered.compile(), [made_up(shape) for shape in shapes]
        found = Cost(flops, kernels, _seconds_a_trip(piece, compiled, inputs), 0.0, devices.memory_of(compiled))
        self._timed = self._timed.plus(found)
        return found


def cost(f: Callable[..., Any], *args: Any, trips: float | int = 1) -> Cost:
    """The cost of `f(*args)`, all of it timed: see `Meter.cost`."""
    return Meter().cost(f, *args, trips=trips)


def taken_apart(piece: Piece, trips: float | int) -> Iterator[Piece]:
    """What is around the loops of a piece, then, over and over, the bodies of its loops; `trips` as in `Meter.cost`."""
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
            yield from (part._replace(trips=part.trips * piece.trips) for part in taken_apart(loop, trips))


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
            results = _run(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), given, found)
        else:
            results = equation.primitive.bind(*given, **equation.primitive.get_bind_params(parameters))
            results = results if equation.primitive.multiple_results else [results]
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def repeated(piece: Piece) -> Callable[..., Any]:
    """(trips, inputs) -> the piece's outputs; those of a loop's body after so many trips, others after one.

    All outputs are carried, so that none is left out as unused, and every trip gets other slices of the inputs, so that
    nothing is moved out of the loop.
    """
    f, outputs = core.jaxpr_as_fun(piece.program), piece.program.jaxpr.outvars
    if piece.carried is None:
        return lambda trips, inputs: f(*inputs)
    constants, series = piece.constants, piece.constants + piece.carried

    def loop(trips: Any, inputs: Any) -> Any:
        twice = [jnp.stack([leaf, leaf]) for leaf in inputs[series:]]

        def body(i: Any, carry: Any) -> Any:
            slices = [leaf[i % 2] for leaf in twice]
            return tuple(f(*inputs[:constants], *carry[: piece.carried], *slices))

        rest = [zeros(v.aval) for v in outputs[piece.carried :]]
        return jax.lax.fori_loop(0, trips, body, (*inputs[constants:series], *rest))

    return loop


def _seconds_a_trip(piece: Piece, compiled: Any, inputs: Any) -> float:
    """How long one trip takes, from as many as are long enough to be timed."""
    trips = 1
    while True:
        calls, each = (trips, 1) if piece.carried is None else (1, trips)
        start = time.perf_counter()
        for _ in range(calls):
            jax.block_until_ready(compiled(np.int32(each), inputs))
        seconds = time.perf_counter() - start
        if seconds > LONG_ENOUGH or trips >= MOST_TRIPS:
            return seconds / trips
        trips *= 4


def made_up(shape: Any) -> Any:
    """Values of a shape and type: small noise, always the same, for floats, zeros for the rest."""
    if store.is_key(shape):
        return zeros(shape)
    if not jnp.issubdtype(shape.dtype, np.inexact):
        return np.zeros(shape.shape, shape.dtype)
    return np.resize(NOISE.astype(shape.dtype), shape.shape)


def zeros(shape: Any) -> Any:
    """Zeros of a shape and type, keys made of zeros included."""
    if not store.is_key(shape):
        return jnp.zeros(shape.shape, shape.dtype)
    words = jax.eval_shape(jax.random.key_data, jax.ShapeDtypeStruct(shape.shape, shape.dtype))
    return jax.random.wrap_key_data(jnp.zeros(words.shape, words.dtype), dtype=shape.dtype)


def peak(size: int = 2048) -> float:
    """Operations a second and device in a product of large matrices, all devices of this process at work at once."""
    program, here = jax.jit(jnp.matmul), jax.local_devices()
    inputs = [jax.device_put(jnp.ones((size, size), jnp.float32), device) for device in here]
    jax.block_until_ready([program(x, x) for x in inputs])
    start, repeats = time.perf_counter(), 3
    jax.block_until_ready([program(x, x) for x in inputs for _ in range(repeats)])
    return 2 * size**3 * repeats / (time.perf_counter() - start)
