"""What every learning-coefficient curve is asked: is it the loss in disguise, is it believed, where are its changes?"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

import slt
from experiments.shared.claims import Claim, finite, median, share

DISGUISE = 0.99  # R^2 of lambda-hat on the loss, from which on the curve tells nothing that the loss does not
ASKED = "asked here"


def runs(data: xr.DataArray, *last: str) -> np.ndarray:
    """The variable as an array (run, *last): every axis but the last ones flattened into one."""
    others = [dim for dim in data.dims if dim not in last]
    stacked = data.transpose(*others, *last)
    return np.reshape(stacked.values, (-1, *[stacked.sizes[name] for name in last]))


def fits(results: xr.Dataset, setting: str) -> tuple[np.ndarray, np.ndarray]:
    """(R^2, slope) of lambda-hat on L(w*) over the checkpoints of each run; NaN where either is constant or missing."""
    here = results.sel(setting=setting)
    pairs = zip(runs(here.loss_at_centre, "step"), runs(here.value, "step"), strict=True)
    found = [slt.regress(loss, value) for loss, value in pairs]
    return np.array([fit.r_squared for fit in found]), np.array([fit.slope for fit in found])


def disguise(
    results: xr.Dataset, setting: str, source: str = ASKED, *, expected: bool | None = None, headline: bool = False
) -> list[Claim]:
    """How much of a curve is its loss: R^2 over the checkpoints of each run, and the way its chains go to chance.

    expected: whether the source has the curve as the loss in disguise (R^2 > .99); None: nobody knows.
    """
    r_squared, _ = fits(results, setting)
    middle = np.median(finite(r_squared)) if np.isfinite(r_squared).any() else np.nan
    said = {True: "> .99", False: "<= .99", None: "-"}[expected]
    holds = None if expected is None or np.isnan(middle) else bool((middle > DISGUISE) == expected)
    text = f"{setting}: R^2 of lambda-hat on the loss, in each run"
    saturation = results.sel(setting=setting).saturation.values
    return [
        median(text, r_squared, source, said, holds=holds, headline=headline),
        median(f"{setting}: saturation, the way gone to the chance loss", saturation, ASKED),
    ]


def has(results: xr.Dataset, kind: str) -> np.ndarray:
    """Which estimates `verdict` has this kind of finding against, such as "negative"."""
    split = np.char.split(results.findings.values.astype(str), ", ")
    return np.vectorize(lambda kinds: kind in kinds, otypes=[bool])(split)


def believed(results: xr.Dataset, setting: str, *, headline: bool = False) -> list[Claim]:
    """The share of the estimates that `verdict` has nothing against, and of those that are below zero for sure."""
    here = results.sel(setting=setting)
    text = f"{setting}: estimates that verdict has nothing against"
    return [
        share(text, here.findings.values == "", ASKED, headline=headline),
        share(f"{setting}: estimates below zero by two standard errors", has(here, "negative"), ASKED),
    ]


def aligned(
    text: str,
    one: Sequence[Sequence[int]],
    other: Sequence[Sequence[int]],
    *,
    tolerance: int,
    source: str = ASKED,
    headline: bool = False,
) -> list[Claim]:
    """Whether the transitions `one` coincide with `other` more than those of runs paired at random (p < .05).

    The p-value, and the share of them with one of the other within `tolerance` checkpoints.
    """
    found = slt.align(one, other, tolerance=tolerance)
    holds = bool(found.p_value < 0.05) if found.count else None
    chance, near = (f"null {found.null:.0%}", found.share) if found.count else ("-", np.nan)
    within = f"{text}: share within {tolerance} checkpoints"
    return [
        Claim(
            f"{text}: p, runs paired at random",
            source,
            "< .05",
            found.p_value,
            count=found.count,
            holds=holds,
            headline=headline,
        ),
        Claim(within, source, chance, near, count=found.count, unit="share"),
    ]
