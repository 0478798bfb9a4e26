"""Whether two sets of transitions coincide: against runs paired at random, or against shifts in time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Alignment(NamedTuple):
    """Of the transitions in one curve, the share with a transition in another within a tolerance, in the same run.

    count: how many transitions the share is of.  lag: median distance to the nearest (other less one), in
    checkpoints. null: the mean share when runs are paired at random.  p_value: how often such a pairing does as well.
    """

    share: float
    count: int
    lag: float
    null: float
    p_value: float


def align(
    one: Sequence[Sequence[int]], other: Sequence[Sequence[int]], *, tolerance: int, shuffles: int = 1000, seed: int = 0
) -> Alignment:
    """How well the transitions `one[run]` coincide with `other[run]`, against a null that shuffles the runs."""
    if len(one) != len(other):
        raise ValueError(f"got transitions of {len(one)} runs and of {len(other)}: both need one sequence per run")
    lags = [_lags(a, b) for a, b in zip(one, other, strict=True)]
    count = sum(map(len, lags))
    if count == 0:
        return Alignment(np.nan, 0, np.nan, np.nan, np.nan)
    hits = np.array([[np.sum(np.abs(_lags(a, b)) <= tolerance) for b in other] for a in one])
    rng = np.random.default_rng(seed)
    null = np.array([hits[np.arange(len(one)), rng.permutation(len(one))].sum() for _ in range(shuffles)]) / count
    return _against(null, np.trace(hits) / count, np.concatenate(lags))


def align_shifted(
    one: Sequence[Sequence[int]],
    other: Sequence[Sequence[int]],
    *,
    length: int,
    tolerance: int,
    shuffles: int = 1000,
    seed: int = 0,
) -> Alignment:
    """As `align`, for few runs or one: the null shifts `other[run]` in time, around the circle of `length` checkpoints.

    A shift keeps how many transitions there are and how far apart they lie. It takes every place as equally likely:
    where transitions crowd at one end, as on a linear axis of time they do, both sets should be on a log axis. Each run
    is shifted on its own; with one run the p-value cannot be less than about (2 tolerance + 1) / length.
    """
    if len(one) != len(other):
        raise ValueError(f"got transitions of {len(one)} runs and of {len(other)}: both need one sequence per run")
    if any(not 0 <= t < length for run in [*one, *other] for t in run):
        raise ValueError(f"got length={length} and a transition outside it: give the number of checkpoints of a run")
    lags = [_lags(a, b) for a, b in zip(one, other, strict=True)]
    count = sum(map(len, lags))
    if count == 0:
        return Alignment(np.nan, 0, np.nan, np.nan, np.nan)
    near = np.concatenate(lags)
    moved = lambda run, by: [(t + by) % length for t in run]
    hits = np.array(
        [
            [np.sum(np.abs(_lags(a, moved(b, by))) <= tolerance) for by in range(length)]
            for a, b in zip(one, other, strict=True)
        ]
    )
    shifts = np.random.default_rng(seed).integers(length, size=(shuffles, len(one)))
    return _against(hits[np.arange(len(one))[None], shifts].sum(axis=1) / count, hits[:, 0].sum() / count, near)


def _against(null: np.ndarray, share: float, lags: np.ndarray) -> Alignment:
    """A share beside the shares under the null."""
    finite = lags[np.isfinite(lags)]
    return Alignment(
        float(share),
        len(lags),
        float(np.median(finite)) if finite.size else np.nan,
        float(null.mean()),
        float((1 + np.sum(null >= share)) / (1 + len(null))),
    )


def _lags(one: Sequence[int], other: Sequence[int]) -> np.ndarray:
    """For each transition in `one`, the signed distance to the nearest in `other`; infinite if there is none."""
    if len(other) == 0:
        return np.full(len(one), np.inf)
    distance = np.subtract.outer(np.asarray(other, float), np.asarray(one, float))
    return distance[np.argmin(np.abs(distance), axis=0), np.arange(len(one))]
