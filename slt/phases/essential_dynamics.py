"""Essential dynamics: the curve that a model's outputs draw over training, and the points about which it turns.

Hoogland et al. 2024 (arXiv 2402.02364): outputs on fixed inputs, principal components over checkpoints, smoothing,
osculating circles. Their centres draw the evolute, whose cusps are the vertices of the curve. A random walk draws
Lissajous curves, which have vertices too (Antognini and Sohl-Dickstein 2018, arXiv 1806.08805).
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from slt.phases.autoregression import RHO, expected_square, kept_mean, second_difference


class Essential(NamedTuple):
    """Scores of the checkpoints on the first principal components, and each one's share of the variance."""

    scores: Float[np.ndarray, "time components"]
    explained: Float[np.ndarray, " components"]


def essential(outputs: Float[np.ndarray, "time features"], *, components: int = 3) -> Essential:
    """Principal components of outputs on fixed inputs, centred over the checkpoints (singular value decomposition).

    The sign of each is such that it rises from the first checkpoint to the last.
    """
    if outputs.ndim != 2 or components > min(len(outputs) - 1, outputs.shape[1]):
        shape = f"outputs of shape {outputs.shape}"
        raise ValueError(f"got {shape}: write (time, features), more than the {components} components")
    U, S, _ = np.linalg.svd(outputs - outputs.mean(axis=0, keepdims=True), full_matrices=False)
    scores = (U * S[None])[:, :components]
    sign = np.where(scores[-1] < scores[0], -1.0, 1.0)
    return Essential(scores * sign[None], (S**2 / max(np.sum(S**2), np.finfo(float).tiny))[:components])


def smooth(curve: Float[np.ndarray, "time k"], start: float, end: float) -> Float[np.ndarray, "time k"]:
    """Gaussian smoothing over checkpoints whose width, in checkpoints, grows linearly from `start` to `end`."""
    return _weights(len(curve), start, end) @ curve


def _weights(time: int, start: float, end: float) -> np.ndarray:
    place, width = np.arange(time), np.maximum(np.linspace(start, end, time), 1e-6)
    weight = np.exp(-((place[None] - place[:, None]) ** 2) / (2 * width[:, None] ** 2))
    return weight / weight.sum(axis=1, keepdims=True)


class Circles(NamedTuple):
    """Osculating circles of a plane curve; NaN at its two ends, infinite radius where it is straight."""

    centre: Float[np.ndarray, "time 2"]
    radius: Float[np.ndarray, " time"]
    curvature: Float[np.ndarray, " time"]  # signed: positive where it turns left


def circles(curve: Float[np.ndarray, "time 2"]) -> Circles:
    """The circle through each checkpoint and its two neighbours: exact on circles, whatever the spacing of the points.

    Curvature 4 area / (a b c), radius its inverse, centre where the perpendicular bisectors meet.
    """
    before, after = curve[:-2] - curve[1:-1], curve[2:] - curve[1:-1]
    cross = -(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
    square = lambda v: np.sum(v**2, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = np.sqrt(square(before) * square(after) * square(after - before))
        curvature = 2 * cross / sides
        lever = square(after)[:, None] * before - square(before)[:, None] * after
        centre = curve[1:-1] + np.stack([lever[:, 1], -lever[:, 0]], axis=1) / (2 * cross)[:, None]
        radius = 1 / np.abs(curvature)
    pad = lambda a: np.concatenate([np.full_like(a[:1], np.nan), a, np.full_like(a[:1], np.nan)])
    return Circles(pad(centre), pad(radius), pad(curvature))


class Vertex(NamedTuple):
    """A place of largest curvature, where the evolute has a cusp; [low, high] is the interval for `index`.

    support: distance from the chord between the neighbouring vertices (or ends of the curve), in standard errors.
    found: the share of resamples that have it.
    """

    index: int
    low: int
    high: int
    support: float
    found: float
    centre: tuple[float, float]
    radius: float


def vertices(
    outputs: Float[np.ndarray, "time features"],
    *,
    pair: tuple[int, int] = (0, 1),
    width: tuple[float, float] = (1.0, 4.0),
    support: float = 8.0,
    coverage: float = 0.95,
    resamples: int = 40,
    seed: int = 0,
) -> list[Vertex]:
    """The vertices of the smoothed curve of two principal components that stand out of the noise, with intervals.

    The one nearest to the chord between its neighbours is given up until each is `support` standard errors from it.
    An interval holds `coverage` of the places of the vertex when features are drawn with replacement and the smoothing
    width is multiplied by 2^u, u uniform on (-1/2, 1/2).
    """
    rng, (_, features) = np.random.default_rng(seed), outputs.shape
    curve, drawn, places, supports = _turns(outputs, pair, width, support)
    edges = np.concatenate([[0], places, [len(curve) - 1]])
    again: list[list[int]] = [[] for _ in places]
    for _ in range(resamples if len(places) else 0):
        factor, chosen = 2 ** rng.uniform(-0.5, 0.5), rng.integers(features, size=features)
        _, _, others, _ = _turns(outputs[:, chosen], pair, (factor * width[0], factor * width[1]), support)
        for j, at in enumerate(places):
            near = others[(2 * others > edges[j] + at) & (2 * others < at + edges[j + 2])]
            again[j] += near[np.abs(near - at).argsort()][:1].tolist()
    tails, found = [(1 - coverage) / 2, (1 + coverage) / 2], []
    for at, where, certain in zip(places.tolist(), again, supports.tolist(), strict=True):
        low, high = np.quantile([*where, at], tails, method="inverted_cdf").astype(int).tolist()
        share, (x, y), radius = len(where) / max(resamples, 1), drawn.centre[at].tolist(), float(drawn.radius[at])
        found.append(Vertex(at, min(low, at), max(high, at), certain, share, (x, y), radius))
    return found


def _turns(
    outputs: np.ndarray, pair: tuple[int, int], width: tuple[float, float], support: float
) -> tuple[np.ndarray, Circles, np.ndarray, np.ndarray]:
    """The smoothed curve, its circles, the vertices that stand out, and by how much."""
    scores = essential(outputs, components=max(pair) + 1).scores[:, list(pair)]
    weight = _weights(len(scores), *width)
    curve = weight @ scores
    variance = _noise(outputs, scores) * np.sum(weight**2, axis=1)
    drawn = circles(curve)
    size = np.abs(drawn.curvature)
    places = 1 + np.flatnonzero((size[1:-1] > size[:-2]) & (size[1:-1] >= size[2:]))
    while True:
        supports = _from_chord(curve, variance, np.concatenate([[0], places, [len(curve) - 1]]))
        if len(places) == 0 or supports.min() >= support:
            return curve, drawn, places, supports
        places = np.delete(places, supports.argmin())


def _from_chord(curve: np.ndarray, variance: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Distance of each inner edge from the chord between its neighbours, in standard errors."""
    a, p, b = edges[:-2], edges[1:-1], edges[2:]
    chord, lever = curve[b] - curve[a], curve[p] - curve[a]
    share = np.clip(np.sum(chord * lever, axis=1) / np.maximum(np.sum(chord**2, axis=1), 1e-300), 0, 1)
    distance = np.linalg.norm(lever - share[:, None] * chord, axis=1)
    return distance / np.sqrt(variance[p] + (1 - share) ** 2 * variance[a] + share**2 * variance[b] + 1e-300)


def _noise(outputs: np.ndarray, scores: np.ndarray) -> float:
    """The long-run variance of the scores, a component: s^2 (1 + rho)/(1 - rho) of an AR(1), as in `inflated`.

    rho is read off all features: the ratio of their mean squares at the lags two and one rises with it.
    """
    square = lambda curves, lag: kept_mean(np.mean(second_difference(curves, lag) ** 2, axis=1))
    ratio = square(outputs, 2) / max(square(outputs, 1), 1e-300)
    rho = float(np.interp(ratio, expected_square(RHO, 2) / expected_square(RHO, 1), RHO))
    variance = square(scores, 1) / (2 * (1 - rho) * (3 - rho))
    return variance * (1 + rho) / (1 - rho)


def _extrema(curvature: np.ndarray) -> np.ndarray:
    """Places where the signed curvature is extremal."""
    left, here, right = curvature[:-2], curvature[1:-1], curvature[2:]
    return 1 + np.flatnonzero(((here > left) & (here >= right)) | ((here < left) & (here <= right)))


class Form(NamedTuple):
    """A point of the space of scores about which the curve turns at checkpoint `index`, in every plane of components.

    gap: how far the centres in the planes are from agreeing, the largest distance over the radius.
    """

    index: int
    point: tuple[float, ...]
    gap: float


def forms(scores: Float[np.ndarray, "time components"], *, tolerance: int = 2, gap: float = 0.5) -> list[Form]:
    """Times t and points f such that in every plane of two components the curve has a cusp at t, or a vertex at t whose
    circle has its centre at f (Hoogland et al. 2024), for scores that are smoothed already.

    A vertex within `tolerance` checkpoints counts; f is the least-squares fit to the centres, within `gap` radii of
    each. A cusp is a turn by more than a right angle. A curve that has a cusp in every plane stands at its form.
    """
    pairs = list(itertools.combinations(range(scores.shape[1]), 2))
    planes = [_turning(scores[:, list(pair)]) for pair in pairs]
    found: list[Form] = []
    for t in sorted({int(t) for places, _, _ in planes for t in places}):
        form = _form(t, scores, pairs, planes, tolerance)
        if form is None or form.gap > gap:
            continue
        if found and form.index - found[-1].index <= tolerance:  # one form, seen in neighbouring checkpoints
            form = min(found.pop(), form, key=lambda each: each.gap)
        found.append(form)
    return found


def _turning(curve: np.ndarray) -> tuple[np.ndarray, np.ndarray, Circles]:
    """Checkpoints where a plane curve has a vertex or a cusp, which of them are cusps, and its circles."""
    drawn, step = circles(curve), np.diff(curve, axis=0)
    back = 1 + np.flatnonzero(np.sum(step[1:] * step[:-1], axis=1) < 0)
    places = np.union1d(_extrema(drawn.curvature), back)
    return places, np.isin(places, back), drawn


def _form(
    t: int, scores: np.ndarray, pairs: Sequence[tuple[int, int]], planes: Sequence, tolerance: int
) -> Form | None:
    """The form at checkpoint t, or None if a plane has neither a vertex nor a cusp near it."""
    rows, centres, radii = [], [], []
    for pair, (places, cusp, drawn) in zip(pairs, planes, strict=True):
        near = np.flatnonzero(np.abs(places - t) <= tolerance)
        if near.size == 0:
            return None
        if cusp[near].any():
            continue
        at = places[near[np.abs(places[near] - t).argmin()]]
        rows += [np.eye(scores.shape[1])[i] for i in pair]
        centres += list(drawn.centre[at])
        radii += [drawn.radius[at]] * 2
    if not rows:
        return Form(t, tuple(scores[t].tolist()), 0.0)
    if not np.all(np.isfinite(radii)):
        return None
    # a component that only cusps speak of stays where the curve is
    matrix, right = np.array(rows), np.array(centres)
    seen = matrix.any(axis=0)
    point = scores[t].copy()
    point[seen] = np.linalg.lstsq(matrix[:, seen], right, rcond=None)[0]
    return Form(t, tuple(point.tolist()), float(np.max(np.abs(matrix @ point - right) / np.array(radii))))
