"""What each method is said to do, beside what it did on the planted curves."""

import numpy as np
import scipy.stats
import xarray as xr

from experiments.shared.claims import Claim

OURS, PUBLISHED = "asked here", "the recipe of Hoogland et al. 2024"
SUITED = {"jumps": "change points, inflated", "rises": "process, supported", "kinks": "slope changes, inflated"}
"""Shape -> the method that is meant for it."""
STATED = {"differences": 0.02, "change points": 0.05, "slope changes": 0.05, "process, as published": np.nan}
"""Method -> the share of curves of white noise in which it may find a boundary; 15 % for those that are not here."""


def claims(results: xr.Dataset) -> list[Claim]:
    """False alarms of every method against those stated; recall and precision where it should work; `align`."""
    made = [alarms(results, str(method)) for method in results.detector.values]
    for shape in SUITED:
        made += found(results, shape)
    return [*made, intervals(results), *alignment(results)]


def alarms(results: xr.Dataset, method: str) -> Claim:
    """Curves of noise alone in which a method finds a boundary: white noise, or the worse of both if it is inflated."""
    here = results.alarms.sel(detector=method, shape="noise").isel(size=0)
    inflated = "inflated" in method
    share = float(here.max() if inflated else here.sel(noise="white"))
    bound, count = STATED.get(method, 0.15), int(results["count"].sel(detector=method))
    low, high = scipy.stats.binomtest(round(share * count), count).proportion_ci(method="wilson")
    published = np.isnan(bound)
    expected = "not stated" if published else f"<= {bound:.0%}"
    text = f"{method}: false alarms in {'any noise' if inflated else 'white noise'}"
    holds = None if published else share <= bound
    head = method in SUITED.values() or published
    return Claim(text, PUBLISHED if published else OURS, expected, share, low, high, count, "share", holds, head)


def found(results: xr.Dataset, shape: str) -> list[Claim]:
    """Recall and precision of the method meant for a shape at the largest change, in white noise."""
    method = SUITED[shape]
    here = results.sel(shape=shape, detector=method, noise="white").isel(size=-1)
    recall, precision = float(here.recall), float(here.precision)
    size = f"{float(results['size'][-1]):g} s.e."
    return [
        Claim(f"{shape} of {size}: recall of {method}", OURS, ">= .9", recall, holds=recall >= 0.9),
        Claim(f"{shape} of {size}: precision of {method}", OURS, ">= .8", precision, holds=precision >= 0.8),
    ]


def intervals(results: xr.Dataset) -> Claim:
    """The least share of intervals that hold the planted place, from the second size on."""
    pairs = [("jumps", "change points, inflated"), ("kinks", "slope changes, inflated")]
    values = [results.coverage.sel(shape=shape, detector=method, noise="white").values[1:] for shape, method in pairs]
    least = float(np.nanmin(values)) if np.isfinite(values).any() else np.nan
    return Claim("least coverage of the 95 % intervals, white noise", OURS, ">= .9", least, holds=least >= 0.9)


def alignment(results: xr.Dataset) -> list[Claim]:
    """How often `align` calls two sets of transitions related: unrelated ones, and ones with half in common."""
    null, planted = (float(np.mean(values <= 0.05)) for values in results.p_value.values)
    count = results.sizes["trial"]
    allowed = 0.05 + 3 * np.sqrt(0.05 * 0.95 / count)
    text = "align: p <= .05 for unrelated transitions of twelve runs"
    return [
        Claim(
            text, "a permutation test", "<= 5 % and its error", null, count=count, unit="share", holds=null <= allowed
        ),
        Claim(
            "align: p <= .05 where half coincide",
            OURS,
            ">= 90 %",
            planted,
            count=count,
            unit="share",
            holds=planted >= 0.9,
            headline=True,
        ),
    ]
