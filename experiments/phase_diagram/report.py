"""What Elhage et al. 2022 report of the phase diagram, beside what was measured."""

import numpy as np
import xarray as xr

from experiments.experiment import Claim
from experiments.phase_diagram.theory import CONFUSED, MINIMA, SUPERPOSED, TRIPLE_POINT, boundary

ELHAGE = "Elhage et al. 2022, phase change"
MCGRATH = "McGrath, comment on Elhage et al. 2022"


def claims(results: xr.Dataset) -> list[Claim]:
    """The boundary and the triple point of each plane, the exact minima, the confused region; lambda-hat against loss."""
    two = results.sel(features=2)
    found = [claim for n in (2, 3) for claim in _diagram(results.sel(features=n), n)]
    three = results.sel(features=3)
    return [*found, _others(three), _triple_point(two), _minima(results), *_confused(results), *_coefficients(results)]


def ends_of_superposition(plane: xr.Dataset) -> np.ndarray:
    """For each importance the density up to which the best model has the last feature in superposition; NaN if none has."""
    return ends(plane.density.values, plane.winner.values == SUPERPOSED)


def ends(density: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """For each column the density up to which every row is inside; NaN where the first is not.

    Between the last density that is and the first that is not, in the middle of their logarithms.
    """
    s = np.log(density)
    count = np.where(inside.all(axis=0), len(s), inside.argmin(axis=0))
    middle = (s[np.maximum(count, 1) - 1] + s[np.minimum(count, len(s) - 1)]) / 2
    return np.where(count == 0, np.nan, np.exp(middle))


def cell(plane: xr.Dataset) -> float:
    """The ratio of two neighbouring densities: what a boundary is known to."""
    return float(plane.density[1] / plane.density[0])


def _diagram(plane: xr.Dataset, n: int) -> list[Claim]:
    r = plane.importance.values
    wanted = np.ones_like(r, bool) if n == 2 else r < 1
    ratio = np.log(ends_of_superposition(plane)[wanted] / boundary(r[wanted])) / np.log(cell(plane))
    ratio = ratio[np.isfinite(ratio)]
    off = np.abs(ratio)
    agree = plane.winner == plane.predicted
    sure = plane.winner != CONFUSED
    name = f"n = {n}, m = {n - 1}"
    return [
        Claim(
            f"{name}: fate of the last feature, best of the trained models = least prototype (all points; where it is clear)",
            ELHAGE,
            "most",
            f"{float(agree.mean()):.0%}; {float(agree.where(sure).mean()):.0%}",
            float(agree.where(sure).mean()) > 0.9,
        ),
        Claim(
            f"{name}: superposition up to s = 2r/(1 + 2.5 r)" + (" and its mirror" if n == 2 else ", r < 1"),
            "prototypes of the paper, in closed form",
            "within a cell",
            f"median {np.median(off):.1f}, largest {off.max():.1f} cells (a cell is a factor {cell(plane):.2f}), on average {ratio.mean():+.1f}"
            if len(off)
            else "none found",
            bool(len(off) and np.median(off) <= 1),
        ),
    ]


def _triple_point(two: xr.Dataset) -> Claim:
    r, s = TRIPLE_POINT
    nearest = int(np.abs(np.log(two.importance.values / r)).argmin())
    end = float(ends_of_superposition(two)[nearest])
    off = abs(np.log(end / s)) / np.log(cell(two))
    return Claim(
        "triple point: at r = 1 the pair is given up at s = 4/7",
        "prototypes of the paper, in closed form",
        "0.571",
        f"{end:.3f}, {off:.1f} cells away (r = {float(two.importance[nearest]):.2f})",
        bool(off <= 1),
    )


def _others(three: xr.Dataset) -> Claim:
    """n = 3, r > 1: the last feature is dedicated; whether the two others share the other dimension, up to s = 4/7."""
    part = three.sel(importance=three.importance > 1)
    last = ends(part.density.values, winners(part, "kept").values == 3)
    ratio = np.log(last / TRIPLE_POINT[1]) / np.log(cell(three))
    ratio = ratio[np.isfinite(ratio)]
    return Claim(
        "n = 3, r > 1: the two others are in superposition up to s = 4/7, whatever r",
        "prototypes of the paper, in closed form",
        "within a cell",
        f"median {np.median(ratio):+.1f}, from {ratio.min():+.1f} to {ratio.max():+.1f} cells" if len(ratio) else "none found",
        bool(len(ratio) and np.median(np.abs(ratio)) <= 1),
    )  # fmt: skip


def _minima(results: xr.Dataset) -> Claim:
    found, known = results.known_minimum.values, np.array(list(MINIMA.values()))
    off = np.abs(found - known).max()
    shown = lambda values: ", ".join(f"{value:.5f}" for value in values)
    at = ", ".join(f"({s}, {r})" for s, r in MINIMA)
    return Claim(
        f"n = 2: least loss over all W and b at (s, r) = {at}",
        "search from many starts",
        shown(known),
        shown(found),
        bool(off < 1e-4),
    )


def _confused(results: xr.Dataset) -> list[Claim]:
    share = (results.winner == CONFUSED).mean(("density", "importance")).values
    s = results.density.where((results.winner == CONFUSED).any("importance")).min("density").values
    gain = 1 - (results.loss.min("fate") / results.prototype)
    at = (
        gain.where(gain == gain.max())
        .stack(point=("features", "density", "importance"))
        .dropna("point")
        .point.values[0]
    )
    return [
        Claim(
            "a third, confused phase in which a feature is half kept: share of the plane (n = 2, 3), least density",
            MCGRATH,
            "at high density",
            f"{share[0]:.0%}, {share[1]:.0%}; s = {s[0]:.2f}, {s[1]:.2f}",
            bool((share > 0).all() and (s > 0.2).all()),
        ),
        Claim(
            "how far below the best prototype a trained model gets",
            "this experiment",
            "-",
            f"median {float(gain.median()):.1%}; most {float(gain.max()):.0%}, at n = {at[0]}, s = {at[1]:.2f}, r = {at[2]:.2f}",
            None,
        ),
    ]


def winners(plane: xr.Dataset, name: str) -> xr.DataArray:
    """A number of the best model at each point."""
    return plane[name].isel(fate=plane.winner)


def rival(plane: xr.Dataset) -> xr.DataArray:
    """At each point the loss of the best model of each fate but the winner's; infinite where there is none."""
    fate = xr.DataArray(np.arange(plane.sizes["fate"]), dims="fate")
    return plane.loss.where(fate != plane.winner, np.inf)


def competitors(plane: xr.Dataset, name: str) -> xr.DataArray:
    """A number of the second best fate's best model; NaN where all models had one fate."""
    other = rival(plane)
    return plane[name].isel(fate=other.argmin("fate")).where(np.isfinite(other.min("fate")))


def _coefficients(results: xr.Dataset) -> list[Claim]:
    claims = []
    for n, half in ((2, 2.0), (3, 4.0)):
        plane = results.sel(features=n)
        value, stderr, hessian = (winners(plane, name).values for name in ("value", "stderr", "hessian"))
        near = np.abs(value - half) < np.maximum(0.15 * half, 2 * stderr)
        same = np.abs(value - hessian) < np.maximum(0.15 * half, 2 * stderr)
        claims.append(
            Claim(
                f"n = {n}: lambda-hat of the winner is {half:g}, half of the directions, in every phase (regular minima)",
                "Watanabe 2009",
                "most points",
                f"{np.mean(near):.0%} of the plane; median {np.nanmedian(value):.2f}; equal to what the Hessian gives at {np.mean(same):.0%}",
                bool(np.mean(near) > 0.8),
            )
        )
    rivals = [_rivals(results.sel(features=n), n) for n in (2, 3)]
    return [*claims, *rivals, _across(results)]


def _rivals(plane: xr.Dataset, n: int) -> Claim:
    """Competitors with a smaller lambda-hat: with few examples the posterior prefers them to the winner.

    n L + lambda log n is equal at n/log n = (difference of lambda)/(difference of the loss).
    """
    gap = (competitors(plane, "loss") - winners(plane, "loss")).values
    less = (winners(plane, "value") - competitors(plane, "value")).values
    error = np.hypot(winners(plane, "stderr").values, competitors(plane, "stderr").values)
    seen = np.isfinite(gap) & np.isfinite(less)
    simpler = seen & (less > 2 * error) & (gap > 0)
    turn = np.median(less[simpler] / gap[simpler]) if simpler.any() else np.nan
    median = np.median(less[seen]) if seen.any() else np.nan
    return Claim(
        f"n = {n}: best model of the second best fate: where one was found, its lambda-hat less than the winner's by; where it is clearly less, n/log n up to which that outweighs the loss",
        "the free energy n L + lambda log n", "?",
        f"found at {seen.mean():.0%} of the plane, median {median:+.2f}; clearly less at {simpler.mean():.0%}, n/log n = {turn:.3g}", None,
    )  # fmt: skip


def _across(results: xr.Dataset) -> Claim:
    """lambda-hat of the superposed model less that of its rival, where both were found and lie within 10 % in loss."""
    rival = results.loss.where(results.fate != results.fate[SUPERPOSED], np.inf)
    other = rival.argmin("fate")
    ratio = results.loss.isel(fate=SUPERPOSED) / rival.isel(fate=other)  # infinite or 0 where one was not found
    difference = results.value.isel(fate=SUPERPOSED) - results.value.isel(fate=other)
    error = np.hypot(results.stderr.isel(fate=SUPERPOSED), results.stderr.isel(fate=other))
    near = ((ratio > 0.9) & (ratio < 1.1)).values & np.isfinite(difference.values)
    if not near.any():
        return Claim("lambda-hat on both sides of the boundary", "open", "?", "no two rivals of nearly one loss", None)
    d, e = difference.values[near], error.values[near]
    return Claim(
        "lambda-hat of superposed less rival at the boundary (loss within 10 %): does n move the boundary?",
        "open; the free energy n L + lambda log n",
        "?",
        f"median {np.median(d):+.2f} over {near.sum()} pairs, {np.mean(np.abs(d) > 2 * e):.0%} beyond two standard errors",
        None,
    )
