"""Change points of a curve over training: of its level, or of its slope, by penalised likelihood."""

from typing import NamedTuple

import numpy as np
import ruptures
from jaxtyping import Float, Real
from ruptures.base import BaseCost
from scipy.stats import norm

from slt.phases.autoregression import KEPT, RHO, expected_square, kept_mean, second_difference
from slt.samplers.base import require

LEAST_ERROR = 1e-3  # of the median: a chain that did not move knows nothing exactly
STATED = 0.3  # how well the stated standard errors are taken to be known: standard deviation of the log of their square
SEEN = 0.2  # the same of a mean square of some hundred differences

Curve = Float[np.ndarray, " time"]


class ChangePoint(NamedTuple):
    """The curve has one level before `index` and another from `index` on; [low, high] is the interval for `index`.

    jump: the second level less the first, in the curve's units.
    """

    index: int
    low: int
    high: int
    jump: float


class SlopeChange(NamedTuple):
    """The curve has the slope `before` up to `index` and `after` from there on; [low, high] is the interval.

    Slopes are per unit of the time that was given.
    """

    index: int
    low: int
    high: int
    before: float
    after: float


class _Cost(BaseCost):
    """Squared residuals about the weighted mean (degree 0) or line (1) of a segment, in units of the points' errors."""

    model = "weighted"  # type: ignore[assignment]

    def __init__(self, degree: int) -> None:
        self.degree, self.min_size = degree, degree + 1

    def fit(self, signal: np.ndarray) -> "_Cost":
        self.signal = signal
        x, y, stderr = signal.T
        seen = np.isfinite(y) & np.isfinite(stderr)
        weight = np.where(seen, 1 / np.where(seen, stderr, 1) ** 2, 0)
        centre = y[seen].mean() if self.degree and seen.any() else 0
        x, y = x - x.mean(), np.where(seen, y - centre, 0)
        moments = weight * np.stack([np.ones_like(x), x, y, x * x, x * y, y * y])
        self.sums = np.cumsum(np.hstack([np.zeros((6, 1)), moments]), axis=1).T
        return self

    def _moments(self, start: int, end: int) -> list[float]:
        return (self.sums[end] - self.sums[start]).tolist()

    def _about_mean(self, start: int, end: int) -> tuple[float, float, float]:
        w, x, y, xx, xy, yy = self._moments(start, end)
        return (xx - x * x / w, xy - x * y / w, yy - y * y / w) if w > 0 else (0.0, 0.0, 0.0)

    def error(self, start: int, end: int) -> float:
        xx, xy, yy = self._about_mean(start, end)
        if self.degree == 0:
            return yy
        return max(yy - xy**2 / xx, 0.0) if xx > 0 else max(yy, 0.0)

    def mean(self, start: int, end: int) -> float:
        w, _, y, *_ = self._moments(start, end)
        return y / w if w > 0 else np.nan

    def slope(self, start: int, end: int) -> float:
        xx, xy, _ = self._about_mean(start, end)
        return xy / xx if xx > 0 else np.nan


def change_points(
    curve: Curve, stderr: Curve | float, *, penalty: float | None = None, min_size: int = 3, coverage: float = 0.95
) -> list[ChangePoint]:
    """The piecewise-constant fit of a curve whose points have known standard errors: PELT with a penalty per change.

    Killick et al. 2012 (arXiv 1101.1438). The cost is the Gaussian -2 log likelihood; the default penalty 3 log T
    counts a level and a location (Zhang and Siegmund 2007). An interval holds every place for one change, its
    neighbours fixed, whose cost is within x of the best, (1 - e^{-x/2})^2 = coverage (Hansen 2000, Econometrica 68).
    Points that are NaN carry no weight.
    """
    time = np.arange(np.size(curve), dtype=float)
    cost = _cost(time, curve, stderr, degree=0)
    return [
        ChangePoint(at, *_interval(cost, left, at, right, coverage), cost.mean(at, right) - cost.mean(left, at))
        for left, at, right in _search(cost, penalty, min_size, coverage)
    ]


def slope_changes(
    time: Real[np.ndarray, " time"],
    curve: Curve,
    stderr: Curve | float,
    *,
    penalty: float | None = None,
    min_size: int = 4,
    coverage: float = 0.95,
) -> list[SlopeChange]:
    """The piecewise-linear fit of a curve, for one that rises gradually, not in jumps: PELT as in `change_points`.

    The pieces need not meet. `time` is what the curve is linear in. The default penalty is 4 log T.
    """
    cost = _cost(np.asarray(time, float), curve, stderr, degree=1)
    return [
        SlopeChange(at, *_interval(cost, left, at, right, coverage), cost.slope(left, at), cost.slope(at, right))
        for left, at, right in _search(cost, penalty, min_size, coverage)
    ]


def _cost(time: np.ndarray, curve: Curve, stderr: Curve | float, *, degree: int) -> _Cost:
    curve = np.asarray(curve, float)
    if curve.ndim != 1 or time.shape != curve.shape:
        raise ValueError(f"got a curve of shape {curve.shape} at times of shape {time.shape}: write (time,) for both")
    if not (np.isfinite(time).all() and np.all(np.diff(time) > 0)):
        raise ValueError("got times that do not rise, or are not finite: write them in order, each once")
    return _Cost(degree).fit(np.stack([time, curve, _errors(curve, stderr)], axis=1))


def _errors(curve: np.ndarray, stderr: Curve | float) -> np.ndarray:
    """A standard error for each point, none of them nearly zero beside the others."""
    stderr = np.asarray(stderr, float)
    if stderr.shape not in ((), curve.shape):
        raise ValueError(f"got standard errors of shape {stderr.shape} for {len(curve)} points: write one for each")
    stderr = np.broadcast_to(stderr, curve.shape)
    known = stderr[np.isfinite(stderr)]
    if np.any(known < 0) or (known.size and np.median(known) == 0):
        raise ValueError("got standard errors that are negative, or zero for most points: write those of the curve")
    return np.maximum(stderr, LEAST_ERROR * np.median(known)) if known.size else stderr


def _search(cost: _Cost, penalty: float | None, min_size: int, coverage: float) -> list[tuple[int, int, int]]:
    """The changes that PELT finds, each between its neighbours."""
    penalty = float((3 + cost.degree) * np.log(max(len(cost.signal), 1))) if penalty is None else penalty
    require(">= 0", penalty=penalty)
    require(f">= {cost.min_size}", min_size=min_size)
    require("> 0", coverage=coverage)
    require("< 1", coverage=coverage)
    if len(cost.signal) < 2 * min_size:
        raise ValueError(f"got a curve of {len(cost.signal)} points: write at least {2 * min_size} points")
    ends = ruptures.Pelt(custom_cost=cost, min_size=min_size, jump=1).fit(cost.signal).predict(pen=penalty)
    edges = [0, *ends]
    return list(zip(edges, edges[1:], edges[2:], strict=False))


def _interval(cost: _Cost, left: int, index: int, right: int, coverage: float) -> tuple[int, int]:
    """The first and the last place between its neighbours for one change, whose cost is within reach of the best."""
    places = range(left + 1, right)
    costs = np.array([cost.error(left, t) + cost.error(t, right) for t in places])
    threshold = -2 * np.log(1 - np.sqrt(coverage))
    inside = left + 1 + np.flatnonzero(costs <= costs[places.index(index)] + threshold)
    return int(inside.min()), int(inside.max())


def inflated(curve: Curve, stderr: Curve | float) -> Curve:
    """Standard errors for detectors that take errors as independent: stderr times the root of their long-run variance.

    Correlated errors look like changes. Correlation and variance, of which the stated errors say that it is one, are
    those that fit best the mean squares of second differences at the lags 1 and 2 (`autoregression`). The factor is at
    least one. Points that are NaN are left out.
    """
    curve = np.asarray(curve, float)
    stderr = _errors(curve, stderr)
    seen = np.isfinite(curve) & np.isfinite(stderr)
    if seen.sum() < 10:
        return stderr.copy()
    rho, s2 = RHO[:, None], np.exp(np.linspace(-3, 3, 121))[None]
    misfit = (np.log(s2) / STATED) ** 2
    for lag in (1, 2):
        square = _relative_square(curve[seen], stderr[seen], lag)
        misfit = misfit + (np.log(max(square, 1e-30) / (s2 * expected_square(rho, lag))) / SEEN) ** 2
    i, j = np.unravel_index(misfit.argmin(), misfit.shape)
    return stderr * np.sqrt(max(float(s2[0, j]), 1.0) * (1 + rho[i, 0]) / (1 - rho[i, 0]))


def _relative_square(curve: np.ndarray, stderr: np.ndarray, lag: int) -> float:
    """Mean square of second differences in units of the standard errors, without its largest quarter."""
    noise = (stderr[: -2 * lag] ** 2 + 4 * stderr[lag:-lag] ** 2 + stderr[2 * lag :] ** 2) / 6
    cut = norm.ppf((1 + KEPT) / 2)
    expected = 1 - 2 * cut * norm.pdf(cut) / KEPT  # of the squares of a standard normal that are kept
    return kept_mean(second_difference(curve, lag) ** 2 / noise) / float(expected)
