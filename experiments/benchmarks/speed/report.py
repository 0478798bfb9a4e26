"""The claims of `speed`: each ratio with its spread, each agreement, and whether the machine was busy."""

import numpy as np
import xarray as xr

from experiments.benchmarks.speed.measure import RELATIVE, STANDARD_ERRORS, busy, ratios
from experiments.shared.claims import Claim

TARGET = "target of this project"
LATE = 1.5  # times the seconds expected


def claims(results: xr.Dataset) -> list[Claim]:
    """Every ratio beside its target, every agreement beside its limit, and what the load did."""
    names = results.comparison.values.tolist()
    found = [_ratio(results, i, name) for i, name in enumerate(names)]
    apart = zip(names, results.disagreement.values.tolist(), strict=True)
    found += [_agreement(name, value) for name, value in apart if np.isfinite(value)]
    return [*found, *_circumstances(results)]


def _ratio(results: xr.Dataset, i: int, name: str) -> Claim:
    low, value, high = ratios(results)[i].tolist()
    least, most = results.least.values[i], results.most.values[i]
    expected = f">= {least:g}" if np.isinf(most) else f"{least:.2f} to {most:.2f}"
    disturbed = int(busy(results)[i].any("side").sum())
    rounds = results.sizes["round"]
    return Claim(
        text=f"steps a second, ours to theirs: {name}"[:80],
        source=f"{TARGET}; machine busy in {disturbed} of {rounds} rounds" if disturbed else TARGET,
        expected=expected,
        value=value,
        low=low,
        high=high,
        count=rounds,
        unit="times",
        holds=bool(least <= value <= most),
        headline=bool(results.headline.values[i]),
    )


def _agreement(name: str, value: float) -> Claim:
    return Claim(
        text=f"same result: {name}"[:80],
        source=f"within {STANDARD_ERRORS:g} standard errors (the same function: {RELATIVE:g})",
        expected="<= 1",
        value=value,
        unit="of what is allowed",
        holds=value <= 1,
    )


def _circumstances(results: xr.Dataset) -> list[Claim]:
    """How much of the run other work disturbed, how long it took, and which peers are missing."""
    disturbed, late = busy(results), results.attrs["took_seconds"] / results.attrs["expected_seconds"]
    share, load = 100 * float(disturbed.mean()), results.load_average.values
    missing = [name for name in results.attrs["missing"].split(", ") if name]
    found = [
        Claim(
            text="measurements while the machine was busy with other work",
            source=f"load average {load.min():.1f} to {load.max():.1f} on {results.attrs['cores']} cores",
            expected="0",
            value=share,
            count=disturbed.size,
            unit="%",
            holds=share == 0,
            headline=True,
        ),
        Claim(
            text="how long the rounds took, to what was said before",
            source=f"a trial, which said {results.attrs['expected_seconds']:.0f} s",
            expected=f"<= {LATE:g}",
            value=late,
            unit="times",
            holds=late <= LATE,
        ),
    ]
    if missing:
        text, source = "kinds of peers that were left out", f"`make peers`: {', '.join(missing)}"
        found.append(Claim(text, source, "0", len(missing), unit="", holds=None))
    return found
