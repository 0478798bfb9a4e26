"""Phase transitions in curves over training, and whether two sets of them coincide."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import ruptures
from jaxtyping import Float
from ruptures.base import BaseCost


class ChangePoint(NamedTuple):
    """The curve has one level before `index` and another from `index` on; [low, high] is the interval for `index`.

    jump: the second level less the first, in the curve's units.
    """

    index: int
    low: int
    high: int
    jump: float


class _WeightedMean(BaseCost):
    """Squared residuals about the weighted mean of a segment, in units of each point's own standard error."""

    model = "weighted mean"  # type: ignore[assignment]
    min_size = 1

    def fit(self, signal: np.ndarray) -> "_WeightedMean":
        self.signal = signal
        value, stderr = signal.T
        seen = np.isfinite(value) & np.isfinite(stderr)
        weight = np.where(seen, 1 / np.where(seen, stderr, 1) ** 2, 0)
        value = np.where(seen, value, 0)
        self.sums = np.cumsum(
            np.vstack([np.zeros(3), np.stack([weight, weight * value, weight * value**2], axis=1)]), axis=0
        )
        return self

    def error(self, start: int, end: int) -> float:
        weight, first, second = self.sums[end] - self.sums[start]
        return second - first**2 / weight if weight > 0 else 0.0

    def mean(self, start: int, end: int) -> float:
        weight, first, _ = self.sums[end] - self.sums[start]
        return first / weight if weight > 0 else np.nan


def change_points(
    curve: Float[np.ndarray, " time"],
    stderr: Float[np.ndarray, " time"] | float,
    *,
    penalty: float | None = None,
    min_size: int = 3,
    coverage: float = 0.95,
) -> list[ChangePoint]:
    """The piecewise-constant fit of a curve whose points have known standard errors: PELT with a penalty per change.

    Killick et al. 2012 (arXiv 1101.1438). The cost is the Gaussian -2 log likelihood; the default penalty 3 log T
    counts a level and a location (Zhang and Siegmund 2007). An interval holds every place for one change, its
    neighbours fixed, whose cost is within x of the best, (1 - e^{-x/2})^2 = coverage: the law of the likelihood ratio
    of a location is that of a two-sided Brownian motion with drift, not chi-squared (Hansen 2000, Econometrica 68).
    Points that are NaN carry no weight.
    """
    curve = np.asarray(curve, float)
    if curve.ndim != 1 or len(curve) < 2 * min_size:
        raise ValueError(
            f"got a curve of shape {curve.shape}: at least {2 * min_size} points in one dimension are needed"
        )
    cost = _WeightedMean().fit(np.stack([curve, np.broadcast_to(stderr, curve.shape)], axis=1))
    search = ruptures.Pelt(custom_cost=cost, min_size=min_size, jump=1).fit(cost.signal)
    ends = search.predict(pen=3 * np.log(len(curve)) if penalty is None else penalty)
    edges = [0, *ends]
    triples = zip(edges, edges[1:], edges[2:], strict=False)
    return [_with_interval(cost, left, index, right, coverage) for left, index, right in triples]


def _with_interval(cost: _WeightedMean, left: int, index: int, right: int, coverage: float) -> ChangePoint:
    places = range(left + 1, right)
    costs = np.array([cost.error(left, t) + cost.error(t, right) for t in places])
    threshold = -2 * np.log(1 - np.sqrt(coverage))
    inside = left + 1 + np.flatnonzero(costs <= costs[places.index(index)] + threshold)
    return ChangePoint(index, int(inside.min()), int(inside.max()), cost.mean(index, right) - cost.mean(left, index))


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
    share = np.trace(hits) / count
    near = np.concatenate(lags)
    return Alignment(
        float(share),
        count,
        float(np.median(near[np.isfinite(near)])) if np.isfinite(near).any() else np.nan,
        float(null.mean()),
        float((1 + np.sum(null >= share)) / (1 + shuffles)),
    )


def _lags(one: Sequence[int], other: Sequence[int]) -> np.ndarray:
    """For each transition in `one`, the signed distance to the nearest in `other`; infinite if there is none."""
    if len(other) == 0:
        return np.full(len(one), np.inf)
    distance = np.subtract.outer(np.asarray(other, float), np.asarray(one, float))
    return distance[np.argmin(np.abs(distance), axis=0), np.arange(len(one))]
