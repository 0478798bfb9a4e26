"""Curves that sit on levels and jump between them: the levels, the jumps, and what another curve does meanwhile."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Level(NamedTuple):
    """The curve is within the width of `value` from checkpoint `first` to `last`."""

    first: int
    last: int
    value: float


class Jump(NamedTuple):
    """A curve leaves one level at `low`, passes the middle at `index`, and is on the next from `high` on.

    jump: the second level less the first, in the curve's units.
    """

    index: int
    low: int
    high: int
    jump: float


def flats(curve: Float[np.ndarray, " time"], *, width: float, hold: int) -> list[Level]:
    """The stretches of at least `hold` checkpoints in which a curve varies by 2 `width` at most, from left to right."""
    found, start = [], 0
    while start <= len(curve) - hold:
        spread = np.maximum.accumulate(curve[start:]) - np.minimum.accumulate(curve[start:])
        outside = ~(spread <= 2 * width)  # a NaN is outside of everything
        size = int(outside.argmax()) if outside.any() else len(outside)
        if size >= hold:
            found.append(Level(start, start + size - 1, float(np.median(curve[start : start + size]))))
        start += size if size >= hold else 1
    return found


def jumps(curve: Float[np.ndarray, " time"], *, width: float, hold: int, least: float) -> list[Jump]:
    """The changes of `least` or more from one of the curve's `flats` to the next; a smaller drift is the same level."""
    found: list[Jump] = []
    kept: Level | None = None
    for level in flats(curve, width=width, hold=hold):
        if kept is not None and abs(level.value - kept.value) >= least:
            middle, sign = (level.value + kept.value) / 2, np.sign(level.value - kept.value)
            passed = sign * (curve[kept.last : level.first + 1] - middle) >= 0
            found.append(Jump(kept.last + int(passed.argmax()), kept.last, level.first, level.value - kept.value))
            kept = level
        else:  # the same level goes on: its value stays that of its beginning, so that a slow drift adds up
            kept = level if kept is None else kept._replace(last=level.last)
    return found


class Fall(NamedTuple):
    """By how much curves fall across windows, on average, and across as many windows at random.

    p_value: how often random windows of the same lengths, in the same runs, have a mean fall as large.
    """

    count: int
    mean: float
    null: float
    p_value: float


def fall(
    curves: Float[np.ndarray, "run time"],
    windows: Sequence[Sequence[tuple[int, int]]],
    *,
    first: int = 0,
    shuffles: int = 1000,
) -> Fall:
    """The fall from the checkpoint before each (low, high) of `windows[run]` to the one after it.

    Random windows begin at the checkpoint `first` or later.
    """
    rng, own, others, last = np.random.default_rng(0), [], [], curves.shape[1] - 1
    for curve, run in zip(curves, windows, strict=True):
        for low, high in run:
            begin, end = max(low - 1, 0), min(high + 1, last)
            begins = rng.integers(min(first, last - (end - begin)), last - (end - begin) + 1, shuffles)
            own.append(curve[begin] - curve[end])
            others.append(curve[begins] - curve[begins + end - begin])
    if not own:
        return Fall(0, np.nan, np.nan, np.nan)
    mean, null = float(np.mean(own)), np.mean(others, axis=0)
    return Fall(len(own), mean, float(null.mean()), float((1 + np.sum(null >= mean)) / (1 + shuffles)))
