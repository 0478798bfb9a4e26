"""A claim is numbers: what a source says, what was measured, and whether it holds."""

import textwrap
from typing import Any, NamedTuple

import numpy as np
import scipy.stats

MAX_TEXT, MAX_EXPECTED, MAX_HEADLINES = 80, 24, 6
RESAMPLES = 2000


class Claim(NamedTuple):
    """text: what is claimed, at most 80 characters.  source: who says so.  expected: what they say, such as "> .99".

    value: what was measured (NaN: nothing could be), with its 95 % interval over runs (NaN: it has none).  count: of
    how many runs, estimates or points it is.  unit: "" for a pure number, "share" for a part of `count`.  holds: None
    only where nobody knows what to expect.  headline: whether it is one of the at most six that are shown first.
    """

    text: str
    source: str
    expected: str
    value: float
    low: float = np.nan
    high: float = np.nan
    count: int | None = None
    unit: str = ""
    holds: bool | np.bool_ | None = None
    headline: bool = False


def share(
    text: str,
    hits: Any,
    source: str,
    expected: str = "-",
    *,
    holds: bool | np.bool_ | None = None,
    headline: bool = False,
) -> Claim:
    """The share of `hits` (booleans) that are true, with its Wilson interval."""
    hits = np.asarray(hits, bool).ravel()
    value = low = high = np.nan
    if hits.size:
        low, high = scipy.stats.binomtest(int(hits.sum()), hits.size).proportion_ci(method="wilson")
        value = float(hits.mean())
    return Claim(text, source, expected, value, low, high, hits.size, "share", holds, headline)


def median(
    text: str,
    values: Any,
    source: str,
    expected: str = "-",
    *,
    unit: str = "",
    holds: bool | np.bool_ | None = None,
    headline: bool = False,
) -> Claim:
    """The median of the values that are finite, with its bootstrap interval."""
    values = finite(values)
    value = float(np.median(values)) if values.size else np.nan
    return Claim(text, source, expected, value, *interval(values, np.median), values.size, unit, holds, headline)


def mean(
    text: str,
    values: Any,
    source: str,
    expected: str = "-",
    *,
    sign: int = 0,
    unit: str = "",
    headline: bool = False,
) -> Claim:
    """The mean of the values that are finite, with two standard errors on each side.

    sign: +1 or -1 for the claim that it has this sign, which holds if the whole interval has it; 0 claims nothing.
    """
    values = finite(values)
    value = float(np.mean(values)) if values.size else np.nan
    error = 2 * float(np.std(values, ddof=1)) / np.sqrt(values.size) if values.size > 1 else np.nan
    holds = None if sign == 0 or np.isnan(error) else bool(sign * value > error)
    return Claim(text, source, expected, value, value - error, value + error, values.size, unit, holds, headline)


def every(hits: Any) -> bool | None:
    """Whether all are true; None where there are none."""
    return bool(np.all(hits)) if np.size(hits) else None


def finite(values: Any) -> np.ndarray:
    """The finite ones among the values, in one axis."""
    values = np.asarray(values, float).ravel()
    return values[np.isfinite(values)]


def interval(values: np.ndarray, statistic: Any) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of a statistic over runs; NaN for fewer than two."""
    if len(values) < 2:
        return np.nan, np.nan
    resampled = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    low, high = np.quantile(statistic(resampled, axis=1), [0.025, 0.975])
    return float(low), float(high)


def measured(claim: Claim) -> str:
    """The value with its interval, count and unit, in a few characters."""
    if np.isnan(claim.value):
        return "nothing to measure"
    form = (lambda x: f"{x:.0%}") if claim.unit == "share" else _number
    text = form(claim.value)
    if np.isfinite(claim.low) and np.isfinite(claim.high):
        text += f" [{form(claim.low).rstrip('%')}, {form(claim.high)}]"
    if claim.unit not in ("", "share"):
        text += f" {claim.unit}"
    return text if claim.count is None else f"{text} (n = {claim.count})"


def verdict(claim: Claim) -> str:
    """yes, NO, or open where nobody knows."""
    return {True: "yes", False: "NO", None: "open"}[claim.holds]


def checked(claims: list[Claim]) -> list[Claim]:
    """The claims, if they are as short as they must be. Raises ValueError for the first that is not."""
    for claim in claims:
        for name, text, most in (("text", claim.text, MAX_TEXT), ("expected", claim.expected, MAX_EXPECTED)):
            if len(text) > most:
                raise ValueError(
                    f"got a {name} of {len(text)} characters, {textwrap.shorten(text, 60)}: write at most {most}"
                )
    if sum(claim.headline for claim in claims) > MAX_HEADLINES:
        raise ValueError(f"got {sum(claim.headline for claim in claims)} headlines: write at most {MAX_HEADLINES}")
    return [claim._replace(holds=None if claim.holds is None else bool(claim.holds)) for claim in claims]


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
