"""Curves that sit on levels and jump between them: the levels, and the jumps with the interval in which each lies."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

import toymodels as tm


class Jump(NamedTuple):
    """A curve leaves one level at `low`, passes the middle at `index`, and is on the next from `high` on.

    size: the second level less the first.
    """

    index: int
    low: int
    high: int
    size: float


class Level(NamedTuple):
    """The curve is within the width of `value` from checkpoint `first` to `last`."""

    first: int
    last: int
    value: float


def levels(curve: Float[np.ndarray, " time"], *, width: float, hold: int) -> list[Level]:
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
    """The changes of `least` or more from one level to the next; what drifts by less is still the same level."""
    found: list[Jump] = []
    kept: Level | None = None
    for level in levels(curve, width=width, hold=hold):
        if kept is not None and abs(level.value - kept.value) >= least:
            middle, sign = (level.value + kept.value) / 2, np.sign(level.value - kept.value)
            passed = sign * (curve[kept.last : level.first + 1] - middle) >= 0
            found.append(Jump(kept.last + int(passed.argmax()), kept.last, level.first, level.value - kept.value))
            kept = level
        else:  # the same level goes on: its value stays that of its beginning, so that a slow drift adds up
            kept = level if kept is None else kept._replace(last=level.last)
    return found


def on_level(curves: Float[np.ndarray, "run time feature"], *, width: float, hold: int) -> float:
    """The share of the time that the curves are on a level."""
    lasting = 0
    for r, i in np.ndindex(curves.shape[0], curves.shape[2]):
        found = levels(curves[r, :, i], width=width, hold=hold)
        lasting += sum(level.last - level.first + 1 for level in found)
    return lasting / curves.size


def sequence(names: list[str], hold: int) -> list[tuple[int, str]]:
    """The names that last, each with the checkpoint at which it begins."""
    starts = tm.transitions(names, hold)
    lasting = [i for i in range(len(names) - hold + 1) if len(set(names[i : i + hold])) == 1]
    first = [(lasting[0], names[lasting[0]])] if lasting else []
    return first + [(i, names[i]) for i in starts]
