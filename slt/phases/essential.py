"""Essential dynamics: the curve that a model's outputs draw over training, and the points about which it turns.

Hoogland et al. 2024 (arXiv 2402.02364): outputs on fixed inputs, principal components over checkpoints, smoothing,
osculating circles. Their centres draw the evolute, whose cusps are the vertices of the curve. A random walk in many
dimensions draws Lissajous curves, with the share 6 / (pi k)^2 of its variance in component k and with vertices of their
own (Antognini and Sohl-Dickstein 2018, arXiv 1806.08805): that is the null that a figure should be held against.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Essential(NamedTuple):
    """Scores of the checkpoints on the first principal components, and each one's share of the variance."""

    scores: Float[np.ndarray, "time components"]
    explained: Float[np.ndarray, " components"]


def essential(outputs: Float[np.ndarray, "time features"], *, components: int = 3) -> Essential:
    """Principal components of outputs on fixed inputs, centred over the checkpoints (singular value decomposition).

    The sign of each is such that it rises from the first checkpoint to the last.
    """
    if outputs.ndim != 2 or components > min(len(outputs) - 1, outputs.shape[1]):
        raise ValueError(
            f"got outputs of shape {outputs.shape} and components={components}: give (time, features), "
            "with more checkpoints than components and no fewer features"
        )
    U, S, _ = np.linalg.svd(outputs - outputs.mean(axis=0, keepdims=True), full_matrices=False)
    scores = (U * S[None])[:, :components]
    sign = np.where(scores[-1] < scores[0], -1.0, 1.0)
    return Essential(scores * sign[None], (S**2 / max(np.sum(S**2), np.finfo(float).tiny))[:components])


def smooth(curve: Float[np.ndarray, "time k"], start: float, end: float) -> Float[np.ndarray, "time k"]:
    """Gaussian smoothing over checkpoints whose width, in checkpoints, grows linearly from `start` to `end`.

    Late checkpoints of a log schedule are noisier than early ones move. Weights are normalised at the ends of the curve.
    """
    place = np.arange(len(curve))
    width = np.maximum(np.linspace(start, end, len(curve)), 1e-6)
    weight = np.exp(-((place[None] - place[:, None]) ** 2) / (2 * width[:, None] ** 2))
    return (weight / weight.sum(axis=1, keepdims=True)) @ curve


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
    """A cusp of the evolute at checkpoint `index`: the curvature is extremal there, largest or smallest in size.

    [low, high]: the interval for `index`.  support: the share of the resamples in which it was found at all.
    """

    index: int
    low: int
    high: int
    support: float
    centre: tuple[float, float]
    radius: float
    sharp: bool


def vertices(
    outputs: Float[np.ndarray, "time features"],
    *,
    pair: tuple[int, int] = (0, 1),
    width: tuple[float, float] = (1.0, 4.0),
    resamples: int = 50,
    support: float = 0.9,
    coverage: float = 0.95,
    seed: int = 0,
) -> list[Vertex]:
    """The vertices of the smoothed curve of two principal components that stay when the inputs are drawn anew.

    Each resample draws the features with replacement and the smoothing width's factor from 2^(-1/2) to 2^(1/2), log
    uniform. A vertex is found again in it if there is one of the same kind within twice the smoothing width; the
    interval holds `coverage` of the places where it is found. Noise that all features share is not seen.
    """
    rng, (time, features) = np.random.default_rng(seed), outputs.shape
    reach = 2 * np.linspace(*width, time)

    def turns(columns: np.ndarray, factor: float) -> tuple[Circles, np.ndarray, np.ndarray]:
        scores = essential(columns, components=max(pair) + 1).scores[:, list(pair)]
        drawn = circles(smooth(scores, factor * width[0], factor * width[1]))
        return drawn, *_extrema(drawn.curvature)

    drawn, places, sharp = turns(outputs, 1.0)
    again = np.full((resamples, len(places)), np.nan)
    for row in again:
        _, found, kind = turns(outputs[:, rng.integers(features, size=features)], 2 ** rng.uniform(-0.5, 0.5))
        for j, (at, is_sharp) in enumerate(zip(places, sharp, strict=True)):
            near = found[(kind == is_sharp) & (np.abs(found - at) <= reach[at])]
            row[j] = near[np.abs(near - at).argmin()] if near.size else np.nan
    share = np.isfinite(again).mean(axis=0)
    kept = []
    for j in np.flatnonzero(share >= support):
        at, tails = int(places[j]), [(1 - coverage) / 2, (1 + coverage) / 2]
        low, high = np.nanquantile(np.append(again[:, j], at), tails, method="inverted_cdf")
        x, y = drawn.centre[at]
        kept.append(
            Vertex(
                at, int(low), int(high), float(share[j]), (float(x), float(y)), float(drawn.radius[at]), bool(sharp[j])
            )
        )
    return kept


def _extrema(curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places where the signed curvature is extremal, and whether its size is largest there."""
    left, here, right = curvature[:-2], curvature[1:-1], curvature[2:]
    highest, lowest = (here > left) & (here >= right), (here < left) & (here <= right)
    places = 1 + np.flatnonzero(highest | lowest)
    return places, (highest == (here > 0))[places - 1]


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

    A vertex within `tolerance` checkpoints counts, and f is the least-squares fit to the centres, each of which must be
    within `gap` radii of it. A cusp is where the curve turns by more than a right angle. A curve that has a cusp in
    every plane stands at its form.
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
    places = np.union1d(_extrema(drawn.curvature)[0], back)
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
