"""The planted curves, and every method as a function of a curve: what it takes for the boundaries of stages."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

import slt

T = 80
STEPS = np.round(np.geomspace(30, 30_000, T)).astype(int)
X = np.log(STEPS + 1.0)
SHAPES = ("jumps", "rises", "kinks", "noise")
NEAR = 4  # checkpoints: a boundary that is further from a planted jump or kink is not that one
TRUTH: dict[str, tuple[tuple[int, int], ...]] = {
    "jumps": ((27 - NEAR, 27 + NEAR), (54 - NEAR, 54 + NEAR)),
    "rises": ((28, 52),),
    "kinks": ((27 - NEAR, 27 + NEAR), (54 - NEAR, 54 + NEAR)),
    "noise": (),
}
"""Where a boundary is right, first and last checkpoint: about a jump or a change of slope; of two rises, the plateau
between them, four of their widths from both, so that one on the first or the last plateau is counted as wrong."""


class Found(NamedTuple):
    """A boundary at checkpoint `index`, with its interval; high < low where the method gives none."""

    index: int
    low: int
    high: int


def curves(kind: str, count: int, size: float, rho: float) -> Float[np.ndarray, "count time"]:
    """`count` curves of one shape in noise of standard error one, whose neighbours have the correlation rho."""
    rng = np.random.default_rng([SHAPES.index(kind), round(100 * rho)])
    noise = np.empty((count, T))
    noise[:, 0] = rng.normal(size=count)
    for t in range(1, T):
        noise[:, t] = rho * noise[:, t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=count)
    return noise + size * _shape(kind)[None]


def _shape(kind: str) -> Float[np.ndarray, " time"]:
    """The curve without noise; a change in it has the size one."""
    if kind == "noise":
        return np.zeros(T)
    place = np.arange(T)
    if kind == "rises":
        return 1 / (1 + np.exp(-(place - 20) / 2)) + 1 / (1 + np.exp(-(place - 60) / 2))
    first, second = ((low + high) // 2 for low, high in TRUTH[kind])
    if kind == "jumps":
        return (place >= first) * 1.0 - (place >= second) * 1.0
    return np.interp(place, [0, first, second, T - 1], [0.0, 1.0, 1.0, 0.0])


def _changes(curve: np.ndarray, stderr: np.ndarray) -> list[Found]:
    return [Found(c.index, c.low, c.high) for c in slt.change_points(curve, stderr)]


def _slopes(curve: np.ndarray, stderr: np.ndarray) -> list[Found]:
    return [Found(c.index, c.low, c.high) for c in slt.slope_changes(np.arange(T, dtype=float), curve, stderr)]


@functools.cache
def _process(curve: bytes) -> slt.Process:
    return slt.gaussian_process(STEPS, np.frombuffer(curve), 1.0)


def _milestones(curve: np.ndarray, support: float) -> list[Found]:
    process = _process(curve.tobytes())  # one fit for every support
    at = lambda step: int(np.abs(X - np.log(step + 1)).argmin())
    return [Found(at(m.step), at(m.low), at(m.high)) for m in slt.milestones(process, support=support)]


def _differences(curve: np.ndarray) -> list[Found]:
    """The obvious: where two neighbours differ by more than four standard errors of their difference."""
    return [Found(int(i) + 1, 0, -1) for i in np.flatnonzero(np.abs(np.diff(curve)) > 4 * np.sqrt(2))]


METHODS: dict[str, Callable[[np.ndarray], list[Found]]] = {
    "differences": _differences,
    "change points": lambda curve: _changes(curve, np.ones(T)),
    "change points, inflated": lambda curve: _changes(curve, slt.inflated(curve, 1.0)),
    "slope changes": lambda curve: _slopes(curve, np.ones(T)),
    "slope changes, inflated": lambda curve: _slopes(curve, slt.inflated(curve, 1.0)),
    "process, as published": lambda curve: _milestones(curve, 0.0),
    "process, supported": lambda curve: _milestones(curve, 2.0),
}
"""Name -> curve -> boundaries. A Gaussian process is told the standard errors, and takes them for independent."""
