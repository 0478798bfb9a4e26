"""Change points of a curve over training: of its level, or of its slope, by penalised likelihood."""

from typing import NamedTuple

import numpy as np
import ruptures
from jaxtyping import Float, Real
from ruptures.base import BaseCost
from scipy.stats import norm


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
    return [
        ChangePoint(at, *_interval(cost, left, at, right, coverage), cost.mean(at, right) - cost.mean(left, at))
        for left, at, right in triples
    ]


def _interval(
    cost: "_WeightedMean | _WeightedLine", left: int, index: int, right: int, coverage: float
) -> tuple[int, int]:
    """The first and the last place between its neighbours for one change, whose cost is within reach of the best."""
    places = range(left + 1, right)
    costs = np.array([cost.error(left, t) + cost.error(t, right) for t in places])
    threshold = -2 * np.log(1 - np.sqrt(coverage))
    inside = left + 1 + np.flatnonzero(costs <= costs[places.index(index)] + threshold)
    return int(inside.min()), int(inside.max())


class SlopeChange(NamedTuple):
    """The curve has the slope `before` up to `index` and `after` from there on; [low, high] is the interval.

    Slopes are per unit of the time that was given.
    """

    index: int
    low: int
    high: int
    before: float
    after: float


class _WeightedLine(BaseCost):
    """Squared residuals about the weighted least-squares line of a segment, in units of each point's standard error."""

    model = "weighted line"  # type: ignore[assignment]
    min_size = 2

    def fit(self, signal: np.ndarray) -> "_WeightedLine":
        self.signal = signal
        x, y, stderr = signal.T
        seen = np.isfinite(y) & np.isfinite(stderr)
        weight = np.where(seen, 1 / np.where(seen, stderr, 1) ** 2, 0)
        x, y = x - x.mean(), np.where(seen, y - (y[seen].mean() if seen.any() else 0), 0)
        moments = weight * np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
        self.sums = np.cumsum(np.hstack([np.zeros((6, 1)), moments]), axis=1).T
        return self

    def _centred(self, start: int, end: int) -> tuple[float, float, float]:
        w, x, y, xx, xy, yy = (self.sums[end] - self.sums[start]).tolist()
        return (xx - x * x / w, xy - x * y / w, yy - y * y / w) if w > 0 else (0.0, 0.0, 0.0)

    def error(self, start: int, end: int) -> float:
        xx, xy, yy = self._centred(start, end)
        return max(yy - xy**2 / xx, 0.0) if xx > 0 else max(yy, 0.0)

    def slope(self, start: int, end: int) -> float:
        xx, xy, _ = self._centred(start, end)
        return xy / xx if xx > 0 else np.nan


def slope_changes(
    time: Real[np.ndarray, " time"],
    curve: Float[np.ndarray, " time"],
    stderr: Float[np.ndarray, " time"] | float,
    *,
    penalty: float | None = None,
    min_size: int = 4,
    coverage: float = 0.95,
) -> list[SlopeChange]:
    """The piecewise-linear fit of a curve, for one that rises gradually, not in jumps: PELT as in `change_points`.

    The pieces need not meet. `time` is what the curve is linear in, such as log(step + 1). The default penalty 4 log T
    counts a level, a slope and a location.
    """
    curve = np.asarray(curve, float)
    if curve.ndim != 1 or len(curve) < 2 * min_size:
        raise ValueError(
            f"got a curve of shape {curve.shape}: at least {2 * min_size} points in one dimension are needed"
        )
    columns = [np.asarray(time, float), curve, np.broadcast_to(stderr, curve.shape)]
    cost = _WeightedLine().fit(np.stack(columns, axis=1))
    search = ruptures.Pelt(custom_cost=cost, min_size=min_size, jump=1).fit(cost.signal)
    edges = [0, *search.predict(pen=4 * np.log(len(curve)) if penalty is None else penalty)]
    return [
        SlopeChange(at, *_interval(cost, left, at, right, coverage), cost.slope(left, at), cost.slope(at, right))
        for left, at, right in zip(edges, edges[1:], edges[2:], strict=False)
    ]


KEPT = 0.75  # share of the squared differences that are averaged: jumps are among the others
STATED = 0.3  # how well the stated standard errors are taken to be known: standard deviation of the log of their square
SEEN = 0.2  # the same of a mean square of some hundred differences


def inflated(
    curve: Float[np.ndarray, " time"], stderr: Float[np.ndarray, " time"] | float
) -> Float[np.ndarray, " time"]:
    """Standard errors for detectors that take errors as independent: stderr times the root of their long-run variance.

    Errors of neighbouring checkpoints that are correlated, as those of chains with the same random numbers are, look
    like changes. For an AR(1) of coefficient rho the variance of a mean is (1 + rho)/(1 - rho) times that of independent
    errors. rho and the variance s^2, of which the stated errors say that it is one, are those that fit best the mean
    squares 2 s^2 (1 - rho^k)(3 - rho^k) of second differences at the lags k = 1, 2, in which neither level nor slope
    enter; the largest quarter, jumps among them, is left out. (After Chakar et al. 2017, Bernoulli 23, who take first
    differences.) The factor is at least one. Points that are NaN are left out.
    """
    curve, stderr = np.asarray(curve, float), np.broadcast_to(np.asarray(stderr, float), np.shape(curve))
    seen = np.isfinite(curve) & np.isfinite(stderr)
    if seen.sum() < 10:
        return stderr.copy()
    rho, s2 = np.linspace(0, 0.98, 99)[:, None], np.exp(np.linspace(-3, 3, 121))[None]
    misfit = (np.log(s2) / STATED) ** 2
    for lag in (1, 2):
        square = _second_difference(curve[seen], stderr[seen], lag)
        model = 2 * s2 * (1 - rho**lag) * (3 - rho**lag)
        misfit = misfit + (np.log(max(square, 1e-30) / model) / SEEN) ** 2
    i, j = np.unravel_index(misfit.argmin(), misfit.shape)
    return stderr * np.sqrt(max(s2[0, j], 1.0) * (1 + rho[i, 0]) / (1 - rho[i, 0]))


def _second_difference(curve: np.ndarray, stderr: np.ndarray, lag: int) -> float:
    """Mean square of y_i - 2 y_{i + lag} + y_{i + 2 lag} in units of the standard errors, without its largest quarter."""
    middle = slice(lag, -lag)
    difference = curve[: -2 * lag] - 2 * curve[middle] + curve[2 * lag :]
    noise = (stderr[: -2 * lag] ** 2 + 4 * stderr[middle] ** 2 + stderr[2 * lag :] ** 2) / 6
    squares, cut = np.sort(difference**2 / noise), norm.ppf((1 + KEPT) / 2)
    expected = 1 - 2 * cut * norm.pdf(cut) / KEPT  # of the squares of a standard normal that are kept
    return float(squares[: max(int(KEPT * len(squares)), 1)].mean() / expected)
