"""What Elhage et al. 2022 report of the phase diagram, beside what was measured."""

import numpy as np
import xarray as xr

from experiments.phase_diagram.theory import CONFUSED, SUPERPOSED, TRIPLE_POINT, boundary
from experiments.shared.claims import Claim, median, share

ELHAGE, PROTOTYPES = "Elhage et al. 2022, phase change", "prototypes of the paper, in closed form"
MCGRATH, FREE_ENERGY = "McGrath, comment on Elhage et al. 2022", "the free energy n L + lambda log n"
REGULAR = "Watanabe 2009, regular minima"
HALF = {2: 2.0, 3: 4.0}  # features -> half of the directions of a minimum


def claims(results: xr.Dataset) -> list[Claim]:
    """The boundary and the triple point of each plane, the confused region; lambda-hat against loss."""
    made = [triple_point(results.sel(features=2)), others(results.sel(features=3))]
    for n in (2, 3):
        plane = results.sel(features=n)
        made += [*diagram(plane, n), confused(plane, n), *coefficients(plane, n)]
    return [*made, across(results)]


def ends(density: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """For each column the density up to which every row is inside; NaN where the first is not.

    Between the last density that is and the first that is not, in the middle of their logarithms.
    """
    s = np.log(density)
    count = np.where(inside.all(axis=0), len(s), inside.argmin(axis=0))
    middle = (s[np.maximum(count, 1) - 1] + s[np.minimum(count, len(s) - 1)]) / 2
    return np.where(count == 0, np.nan, np.exp(middle))


def in_cells(plane: xr.Dataset, found: np.ndarray, expected: np.ndarray | float) -> np.ndarray:
    """How far found densities are from expected ones, in cells of the plane, where they were found."""
    off = np.log(found / expected) / np.log(float(plane.density[1] / plane.density[0]))
    return off[np.isfinite(off)]


def diagram(plane: xr.Dataset, n: int) -> list[Claim]:
    """How often the trained fate is that of the least prototype, and how far the boundary is off."""
    r = plane.importance.values
    wanted = np.ones_like(r, bool) if n == 2 else r < 1
    last = ends(plane.density.values, plane.winner.values == SUPERPOSED)
    off = np.abs(in_cells(plane, last[wanted], boundary(r[wanted])))
    clear = plane.winner.values != CONFUSED
    agree = (plane.winner == plane.predicted).values[clear]
    holds = bool(len(off) and np.median(off) <= 1)
    text = f"n = {n}: superposition up to s = 2r/(1 + 2.5 r)" + (" and its mirror" if n == 2 else ", r < 1")
    return [
        share(f"n = {n}: trained fate = least prototype, where clear", agree, ELHAGE, "most", holds=agree.mean() > 0.9),
        median(text, off, PROTOTYPES, "within a cell", unit="cells off", holds=holds, headline=True),
    ]


def triple_point(two: xr.Dataset) -> Claim:
    """The density at which the pair is given up where all features are equally important."""
    r, s = TRIPLE_POINT
    nearest = int(np.abs(np.log(two.importance.values / r)).argmin())
    end = ends(two.density.values, two.winner.values == SUPERPOSED)[[nearest]]
    off = in_cells(two, end, s)
    holds = bool(off.size and abs(off[0]) <= 1)
    text = "triple point: at r = 1 the pair is given up at s"
    return Claim(text, PROTOTYPES, "4/7 within a cell", float(end[0]), holds=holds)


def others(three: xr.Dataset) -> Claim:
    """n = 3, r > 1: the last feature is dedicated; whether the two others share the other dimension, up to s = 4/7."""
    part = three.sel(importance=three.importance > 1)
    last = ends(part.density.values, winners(part, "kept").values == 3)
    off = in_cells(three, last, TRIPLE_POINT[1])
    holds = bool(len(off) and np.median(np.abs(off)) <= 1)
    text = "n = 3, r > 1: the two others are in superposition up to s = 4/7"
    return median(text, off, PROTOTYPES, "within a cell", unit="cells off", holds=holds, headline=True)


def confused(plane: xr.Dataset, n: int) -> Claim:
    """The region in which some feature is half kept by the best model: it exists, and at high density alone."""
    inside = (plane.winner == CONFUSED).values
    densities = plane.density.values[inside.any(axis=1)]
    holds = bool(inside.any() and densities.min() > 0.2)
    text = f"n = {n}: a third phase in which a feature is half kept"
    return share(text, inside, MCGRATH, "at s > .2 only", holds=holds)


def winners(plane: xr.Dataset, name: str) -> xr.DataArray:
    """A number of the best model at each point."""
    return plane[name].isel(fate=plane.winner)


def competitors(plane: xr.Dataset, name: str) -> xr.DataArray:
    """A number of the second best fate's best model; NaN where all models had one fate."""
    fate = xr.DataArray(np.arange(plane.sizes["fate"]), dims="fate")
    other = plane.loss.where(fate != plane.winner, np.inf)
    return plane[name].isel(fate=other.argmin("fate")).where(np.isfinite(other.min("fate")))


def coefficients(plane: xr.Dataset, n: int) -> list[Claim]:
    """Whether lambda-hat of the winner is half of the directions, and less than that of its competitor.

    A competitor with a smaller one is what the posterior prefers when examples are few.
    """
    value, stderr = (winners(plane, name).values for name in ("value", "stderr"))
    near = np.abs(value - HALF[n]) < np.maximum(0.15 * HALF[n], 2 * stderr)
    less, winner = value - competitors(plane, "value").values, f"n = {n}: lambda-hat of the winner"
    half = f"{winner} is half the directions, {HALF[n]:g}"
    return [
        share(half, near, REGULAR, "most points", holds=near.mean() > 0.8, headline=True),
        median(winner, value, REGULAR, f"{HALF[n]:g}"),
        median(f"{winner} less its competitor's", less, FREE_ENERGY),
    ]


def across(results: xr.Dataset) -> Claim:
    """lambda-hat of the superposed model less that of its rival, where both were found and lie within 10 % in loss."""
    rest = results.loss.where(results.fate != results.fate[SUPERPOSED], np.inf)
    other = rest.argmin("fate")
    ratio = results.loss.isel(fate=SUPERPOSED) / rest.isel(fate=other)  # infinite or 0 where one was not found
    difference = (results.value.isel(fate=SUPERPOSED) - results.value.isel(fate=other)).values
    near = ((ratio > 0.9) & (ratio < 1.1)).values
    text = "lambda-hat of the superposed model less its rival's, at the boundary"
    return median(text, difference[near], FREE_ENERGY, headline=True)
