"""Which method finds the stages that were planted in a curve, and which finds stages in noise?

Synthetic learning-coefficient curves over log-spaced checkpoints: levels that jump, rises that take time, and kinks, in
white noise and in noise that is correlated between checkpoints (as that of chains with common random numbers is), and
noise alone. The methods of `slt.phases` stand beside the published recipe and beside plain differences.
"""

import itertools
from typing import Annotated, Any

import numpy as np
import xarray as xr
from typing_extensions import Doc

import slt
from experiments.shared.ranges import Count, Positive, between, checked
from experiments.stages.methods import METHODS, NEAR, SHAPES, TRUTH, Found, X, curves
from experiments.stages.report import claims

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "3 min on two cores"

PRESETS = {"smoke": dict(count=1, fits=1), "default": {}, "paper": dict(count=1000, fits=100)}


@checked
def run(
    *,
    count: Annotated[Count, Doc("curves of each shape, size and noise")] = 40,
    fits: Annotated[Count, Doc("of them, those that a Gaussian process is fitted to: the slowest method")] = 15,
    correlation: Annotated[
        float, between(0, 0.999), Doc("between neighbouring checkpoints, of correlated noise")
    ] = 0.7,
    smallest: Annotated[Positive, Doc("planted change, in standard errors; others are 3 and 10 times it")] = 2.0,
) -> xr.Dataset:
    """Every method on every curve: what it finds of what was planted, what besides, and how far off."""
    noises, sizes = {"white": 0.0, "correlated": correlation}, [smallest, 3 * smallest, 10 * smallest]
    shape = (len(METHODS), len(SHAPES), len(noises), len(sizes))
    measured = {name: np.full(shape, np.nan) for name in ("recall", "precision", "alarms", "distance", "coverage")}
    numbers = {method: min(count, fits) if method.startswith("process") else count for method in METHODS}
    places = itertools.product(enumerate(METHODS), enumerate(SHAPES), enumerate(noises.values()), enumerate(sizes))
    for (m, method), (k, kind), (r, rho), (s, size) in places:
        if kind == "noise" and s:
            continue  # it has no size
        found = [METHODS[method](curve) for curve in curves(kind, numbers[method], size, rho)]
        for name, value in _score(found, TRUTH[kind]).items():
            measured[name][m, k, r, s] = value
    names = ("detector", "shape", "noise", "size")
    variables: dict[str, Any] = {name: (names, values) for name, values in measured.items()}
    variables["count"] = ("detector", list(numbers.values()))
    coordinates = {"detector": list(METHODS), "shape": list(SHAPES), "noise": list(noises), "size": sizes}
    return xr.Dataset(variables | _alignment(count), coordinates, {"correlation": correlation, "checkpoints": len(X)})


def plot(results: xr.Dataset) -> Any:
    """Recall, precision and false alarms of every method."""
    from experiments.stages.figure import draw

    return draw(results)


def _score(found: list[list[Found]], truth: tuple[tuple[int, int], ...]) -> dict[str, float]:
    """Over curves: shares of the planted that are found and of the found that are right; curves with any boundary.

    Of jumps and kinks also: distance: root mean square, in checkpoints, of what is right from its place; coverage:
    share of intervals that hold the place.
    """
    alarms = float(np.mean([len(each) > 0 for each in found]))
    if not truth:
        return {"alarms": alarms}
    right = [(sum(at) / 2, f) for each in found for at in truth for f in each if at[0] <= f.index <= at[1]]
    hit = sum(any(at[0] <= f.index <= at[1] for f in each) for each in found for at in truth)
    total = sum(map(len, found))
    exact = truth[0][1] - truth[0][0] <= 2 * NEAR  # a place, and not a plateau
    known = [f.low <= at <= f.high for at, f in right if f.high >= f.low]
    return {
        "recall": hit / (len(found) * len(truth)),
        "precision": len(right) / total if total else np.nan,
        "distance": float(np.sqrt(np.mean([(f.index - at) ** 2 for at, f in right]))) if right and exact else np.nan,
        "coverage": float(np.mean(known)) if known and exact else np.nan,
    }


def _alignment(count: int) -> dict[str, Any]:
    """p-values of `align` for twelve runs of one transition each: unrelated ones, and ones with half in common."""
    rng, runs, length = np.random.default_rng(1), 12, len(X)
    place = lambda: int(rng.integers(length))
    p = {"unrelated": [], "half in common": []}
    for _ in range(count):
        one = [[place()] for _ in range(runs)]
        other = [[place()] for _ in range(runs)]
        p["unrelated"].append(slt.align(one, other, tolerance=2, shuffles=200).p_value)
        common = [a if i % 2 else b for i, (a, b) in enumerate(zip(one, other, strict=True))]
        p["half in common"].append(slt.align(one, common, tolerance=2, shuffles=200).p_value)
    return {"p_value": (("pairs", "trial"), np.array(list(p.values()))), "pairs": list(p)}
