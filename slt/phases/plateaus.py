"""Milestones: plateaus of a Gaussian process through a learning-coefficient curve, and the stages between them.

Hoogland et al. 2024 (arXiv 2402.02364): a milestone is a critical point of lambda-hat in log time, a stage what lies
between two of them.
"""

import itertools
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Real
from scipy.linalg import cho_solve
from scipy.stats import norm

GRID = 1000  # places at which slopes are looked at; the smallest length scale of the kernel is some fifty of them


class Process(NamedTuple):
    """The posterior of a curve f(x), x = log(step + 1), given its points: a Gaussian process with an RBF kernel.

    Everything but `centre` and `scale`, which undo the standardisation of the curve, is in standardised units.
    """

    x: Float[np.ndarray, " time"]
    weights: Float[np.ndarray, " time"]  # (K + noise)^-1 y
    cholesky: Float[np.ndarray, "time time"]  # of K + noise, lower
    variance: float
    length: float
    centre: float
    scale: float


def gaussian_process(
    step: Real[np.ndarray, " time"],
    curve: Float[np.ndarray, " time"],
    stderr: Float[np.ndarray, " time"] | float,
    *,
    restarts: int = 10,
    seed: int = 0,
) -> Process:
    """The process of maximal marginal likelihood: kernel c RBF(l), c in (1e-3, 1e3), l in (.5, 1e3) in log(step + 1).

    Hoogland et al. 2024's kernel and restarts. The curve is standardised; points that are NaN are left out. Errors are
    taken as independent.
    """
    from sklearn.exceptions import ConvergenceWarning  # here: it takes a second to import
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel
    from threadpoolctl import threadpool_limits

    curve, stderr = np.asarray(curve, float), np.broadcast_to(np.asarray(stderr, float), np.shape(curve))
    seen = np.isfinite(curve) & np.isfinite(stderr)
    if seen.sum() < 4:
        raise ValueError(f"got {seen.sum()} finite points of {len(curve)}: a Gaussian process needs at least 4")
    x, curve, stderr = np.log(np.asarray(step, float)[seen] + 1), curve[seen], stderr[seen]
    centre, scale = float(curve.mean()), float(curve.std() or 1.0)
    kernel = ConstantKernel(1.0, (1e-3, 1e3)) * RBF(3.0, (0.5, 1e3))
    noise: Any = (stderr / scale) ** 2 + 1e-10  # its stubs want a number
    regressor = GaussianProcessRegressor(kernel, alpha=noise, n_restarts_optimizer=restarts, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bound is where noise alone belongs
        with threadpool_limits(1):  # matrices as small as a curve: more threads take longer
            fit: Any = regressor.fit(x[:, None], (curve - centre) / scale)
    variance, length = np.exp(fit.kernel_.theta)
    return Process(x, fit.alpha_, fit.L_, float(variance), float(length), centre, scale)


def value(
    process: Process, at: Float[np.ndarray, " places"]
) -> tuple[Float[np.ndarray, " places"], Float[np.ndarray, "places places"]]:
    """Posterior mean and covariance of the curve f at the places `at`, in log(step + 1)."""
    mean, covariance = _condition(process, _kernel(process, at, process.x), _kernel(process, at, at))
    return process.centre + mean, covariance


def slope(
    process: Process, at: Float[np.ndarray, " places"]
) -> tuple[Float[np.ndarray, " places"], Float[np.ndarray, "places places"]]:
    """Posterior mean and covariance of df/dx, from Cov(f'(s), f(x)) = -(s - x)/l^2 k and Cov(f'(s), f'(t))."""
    l = process.length
    cross = -np.subtract.outer(at, process.x) / l**2 * _kernel(process, at, process.x)
    prior = (1 / l**2 - np.subtract.outer(at, at) ** 2 / l**4) * _kernel(process, at, at)
    return _condition(process, cross, prior)


def _kernel(process: Process, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return process.variance * np.exp(-(np.subtract.outer(one, other) ** 2) / (2 * process.length**2))


def _condition(process: Process, cross: np.ndarray, prior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    covariance = prior - cross @ cho_solve((process.cholesky, True), cross.T)
    return process.scale * (cross @ process.weights), process.scale**2 * covariance


class Milestone(NamedTuple):
    """A plateau of the curve at `step`; [low, high] is its interval, in steps.

    slope: of the posterior mean, per unit of log(step + 1).  support: the smaller change of the curve over the stages
    before and after it, in posterior standard deviations.
    """

    step: float
    low: float
    high: float
    slope: float
    support: float


def milestones(
    process: Process, *, flat: float = 0.25, support: float = 2.0, coverage: float = 0.95
) -> list[Milestone]:
    """Where the slope of the posterior mean vanishes, or its size has a minimum below `flat`, between two stages.

    `flat` is in the curve's units per unit of log(step + 1); the published value is for curves of some hundreds. With
    support=0 this is the published recipe, which finds zeros in noise as well. Else the stage whose change is least
    certain is merged with a neighbour until each changes by `support` posterior standard deviations. The interval is
    the piece around a milestone on which a slope no larger than its own is within the pointwise posterior quantile.
    """
    x = np.linspace(process.x[0], process.x[-1], GRID)
    mean, covariance = slope(process, x)
    size, deviation = np.abs(mean), np.sqrt(np.maximum(np.diag(covariance), 0))
    lowest = (size[1:-1] <= size[:-2]) & (size[1:-1] < size[2:]) & (size[1:-1] < flat)
    places, supports = _merge(process, x, size, 1 + np.flatnonzero(lowest), support)
    quantile = norm.ppf((1 + coverage) / 2)
    found = []
    for i, certain in zip(places, supports, strict=True):
        outside = np.flatnonzero(size > size[i] + quantile * deviation)
        low = outside[outside < i].max(initial=-1) + 1
        high = outside[outside > i].min(initial=GRID) - 1
        at = np.expm1(x[[i, low, high]])
        found.append(Milestone(float(at[0]), float(at[1]), float(at[2]), float(mean[i]), float(certain)))
    return found


def _merge(
    process: Process, x: np.ndarray, size: np.ndarray, places: np.ndarray, support: float
) -> tuple[np.ndarray, np.ndarray]:
    """The places that are left when every stage changes by `support` deviations, and the support of each."""
    while True:
        edges = np.concatenate([[0], places, [len(x) - 1]])
        certain = _certainty(process, x[edges])
        weakest = int(certain.argmin())
        if len(places) == 0 or certain[weakest] >= support:
            return places, np.minimum(certain[:-1], certain[1:])[: len(places)]
        ends = [end for end in (weakest - 1, weakest) if 0 <= end < len(places)]
        places = np.delete(places, max(ends, key=lambda end: size[places[end]]))


def _certainty(process: Process, edges: np.ndarray) -> np.ndarray:
    """|f(b) - f(a)| of each stage in its posterior standard deviations."""
    mean, covariance = value(process, edges)
    step = np.diff(np.eye(len(edges)), axis=0)
    variance = np.maximum(np.diag(step @ covariance @ step.T), 1e-18 * process.scale**2)
    return np.abs(np.diff(mean)) / np.sqrt(variance)


class Stage(NamedTuple):
    """What happens from checkpoint `start` to `end`: A, the loss falls and lambda-hat rises; B, both fall; else -."""

    start: int
    end: int
    loss: float
    llc: float
    kind: str


def stages(boundaries: Sequence[int], *, loss: Sequence[float], llc: Sequence[float]) -> list[Stage]:
    """The stages between boundaries (checkpoints), the first and last checkpoint included, with the change of each.

    Types A and B of Hoogland et al. 2024: training trades loss for complexity, or becomes simpler at a lower loss.
    """
    edges = sorted({0, *map(int, boundaries), len(loss) - 1})
    changes = [(a, b, float(loss[b] - loss[a]), float(llc[b] - llc[a])) for a, b in itertools.pairwise(edges)]
    kind = lambda dloss, dllc: "-" if not dloss < 0 else "A" if dllc > 0 else "B" if dllc < 0 else "-"
    return [Stage(*change, kind(*change[2:])) for change in changes]
