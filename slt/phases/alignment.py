"""Whether two sets of transitions coincide: against runs paired at random, or against shifts in time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from slt.samplers.base import require


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


Runs = Sequence[Sequence[int]]  # the checkpoints of the transitions of each run


def align(one: Runs, other: Runs, *, tolerance: int, shuffles: int = 1000, seed: int = 0) -> Alignment:
    """How well the transitions `one[run]` coincide with `other[run]`, against a null that shuffles the runs."""
    _check(one, other, tolerance, shuffles)
    hits = np.array([[_hits(a, b, tolerance) for b in other] for a in one])
    rng, runs = np.random.default_rng(seed), len(one)
    return _against(one, other, hits, own=np.arange(runs), null=[rng.permutation(runs) for _ in range(shuffles)])


def align_shifted(
    one: Runs, other: Runs, *, length: int, tolerance: int, shuffles: int = 1000, seed: int = 0
) -> Alignment:
    """As `align`, for few runs or one: the null shifts `other[run]` in time, around the circle of `length` checkpoints.

    It takes every place as equally likely: give transitions on a log axis of time. Each run is shifted on its own; with
    one the p-value cannot be less than about (2 tolerance + 1) / length.
    """
    _check(one, other, tolerance, shuffles)
    if any(not 0 <= t < length for run in [*one, *other] for t in run):
        raise ValueError(f"got length={length} and a transition outside it: give the number of checkpoints of a run")
    shifted = lambda run, by: (np.asarray(run, int) + by) % length
    pairs = list(zip(one, other, strict=True))
    hits = np.array([[_hits(a, shifted(b, by), tolerance) for by in range(length)] for a, b in pairs])
    shifts = np.random.default_rng(seed).integers(length, size=(shuffles, len(one)))
    return _against(one, other, hits, own=np.zeros(len(one), int), null=shifts)


def _check(one: Runs, other: Runs, tolerance: int, shuffles: int) -> None:
    if len(one) != len(other):
        raise ValueError(f"got transitions of {len(one)} runs and of {len(other)}: both need one sequence per run")
    require(">= 0", tolerance=tolerance)
    require(">= 1", shuffles=shuffles)


def _against(one: Runs, other: Runs, hits: np.ndarray, *, own: np.ndarray, null: Sequence | np.ndarray) -> Alignment:
    """hits[run, choice] summed over the runs: at their own choices, beside the choices under the null."""
    lags = np.concatenate([np.zeros(0), *(_lags(a, b) for a, b in zip(one, other, strict=True))])
    if lags.size == 0:
        return Alignment(np.nan, 0, np.nan, np.nan, np.nan)
    total = lambda choices: hits[np.arange(len(one)), choices].sum(axis=-1) / len(lags)
    share, shares, finite = total(own), total(np.asarray(null)), lags[np.isfinite(lags)]
    p_value = (1 + np.sum(shares >= share)) / (1 + len(shares))
    lag = float(np.median(finite)) if finite.size else np.nan
    return Alignment(float(share), len(lags), lag, float(shares.mean()), float(p_value))


def _hits(one: Sequence[int], other: Sequence[int] | np.ndarray, tolerance: int) -> int:
    """How many transitions of `one` have one of `other` within the tolerance."""
    return int(np.sum(np.abs(_lags(one, other)) <= tolerance))


def _lags(one: Sequence[int], other: Sequence[int] | np.ndarray) -> np.ndarray:
    """For each transition in `one`, the signed distance to the nearest in `other`; infinite if there is none."""
    if len(other) == 0:
        return np.full(len(one), np.inf)
    distance = np.subtract.outer(np.asarray(other, float), np.asarray(one, float))
    return distance[np.argmin(np.abs(distance), axis=0), np.arange(len(one))]
