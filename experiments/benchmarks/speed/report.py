"""The claims and the figure of `speed`: ratios, agreement of what is computed, and what the machine's load did."""

from typing import Any

import numpy as np
import xarray as xr

from experiments.benchmarks.speed.measure import CROWDED, RELATIVE, STANDARD_ERRORS, busy, ratios
from experiments.shared.claims import Claim
from experiments.shared.plots import STYLE

TARGET = "target of this project"
LATE = 1.5  # times the seconds expected
MET, MISSED, LIMIT, QUIET = "#1b6ca8", "#c8553d", "#2f3e46", "#8a8f94"


def claims(results: xr.Dataset) -> list[Claim]:
    """Every ratio beside its target, whether the same was computed, and what the load did."""
    found = [_ratio(results, i, name) for i, name in enumerate(results.comparison.values.tolist())]
    missing = [name for name in results.attrs["missing"].split(", ") if name]
    if missing:
        found.append(Claim("kinds of peers left out", f"`make peers`: {', '.join(missing)}", "0", float(len(missing))))
    return [*found, *_agreement(results), _load(results), _duration(results)]


def _ratio(results: xr.Dataset, i: int, name: str) -> Claim:
    low, value, high = ratios(results)[i].tolist()
    least, most = results.least.values[i], results.most.values[i]
    disturbed, rounds = int(busy(results)[i].any("side").sum()), results.sizes["round"]
    return Claim(
        text=f"ratio of speeds, {name}"[:80],
        source=f"{TARGET}; machine busy in {disturbed} of {rounds} rounds" if disturbed else TARGET,
        expected=f">= {least:g}" if np.isinf(most) else f"{least:.2f} to {most:.2f}",
        value=value,
        low=low,
        high=high,
        count=rounds,
        unit="times",
        holds=bool(least <= value <= most),
        headline=bool(results.headline.values[i]),
    )


def _agreement(results: xr.Dataset) -> list[Claim]:
    apart = results.disagreement.dropna("comparison").values
    if not apart.size:
        return []
    return [
        Claim(
            text="greatest difference of the results, of what is allowed",
            source=f"{STANDARD_ERRORS:g} standard errors; {RELATIVE:g} for the same function",
            expected="<= 1",
            value=float(apart.max()),
            count=apart.size,
            unit="times",
            holds=bool(apart.max() <= 1),
        )
    ]


def _load(results: xr.Dataset) -> Claim:
    disturbed, load = busy(results), results.load_average.values
    return Claim(
        text="measurements disturbed by other work on the machine",
        source=f"load average {load.min():.1f} to {load.max():.1f} on {results.attrs['cores']} cores",
        expected="0",
        value=100 * float(disturbed.mean()),
        count=disturbed.size,
        unit="%",
        holds=not disturbed.any(),
        headline=True,
    )


def _duration(results: xr.Dataset) -> Claim:
    took, expected = results.attrs["took_seconds"], results.attrs["expected_seconds"]
    return Claim(
        text="how long the rounds took, to what was said before",
        source=f"a trial of each side, which said {expected:.0f} s",
        expected=f"<= {LATE:g}",
        value=took / expected,
        unit="times",
        holds=bool(took <= LATE * expected),
    )


def plot(results: xr.Dataset) -> Any:
    """One row for each comparison: ratios with what was expected, difference of the results, load of the machine."""
    import matplotlib.pyplot as plt

    names = results.comparison.values.tolist()
    with plt.rc_context(STYLE):
        size = (14, 1.5 + 0.32 * len(names))
        figure, axes = plt.subplots(1, 3, figsize=size, layout="constrained", sharey=True, width_ratios=[2, 1, 1])
        for panel, ax in zip((_draw_ratios, _draw_agreement, _draw_load), axes, strict=True):
            panel(ax, results)
        axes[0].set_yticks(range(len(names)), names)
        axes[0].set_ylim(len(names) - 0.4, -0.6)
    plt.close(figure)
    return figure


def _draw_ratios(axes: Any, results: xr.Dataset) -> None:
    found = ratios(results)
    for y, (low, middle, high) in enumerate(found):
        least, most = results.least.values[y], results.most.values[y]
        axes.barh(y, middle, color=MET if least <= middle <= most else MISSED, height=0.62)
        axes.plot([low, high], [y, y], color="black", lw=1.4)
        limits = [limit for limit in (least, most) if np.isfinite(limit)]
        axes.vlines(limits, y - 0.42, y + 0.42, color=LIMIT, lw=2.5)
        axes.text(max(high, *limits) * 1.15, y, f"{middle:.3g}", va="center")
    axes.set(xscale="log", xlabel="our steps a second to theirs, within a round: least, median, greatest")
    axes.set_xlim(min(0.3, found.min() / 2), 4 * max(found.max(), results.least.values.max()))
    axes.set_title("upright line: target; blue: met, red: missed", loc="left")


def _draw_agreement(axes: Any, results: xr.Dataset) -> None:
    apart = results.disagreement.values
    axes.scatter(apart, np.arange(len(apart)), color=np.where(apart <= 1, MET, MISSED))
    axes.axvline(1, color=LIMIT, lw=2.5)
    axes.set(xlabel="difference / what is allowed", xlim=(0, 1.1 * np.nanmax([1.1, *apart])))
    axes.set_title("the same result?", loc="left")


def _draw_load(axes: Any, results: xr.Dataset) -> None:
    disturbed, cores = busy(results), results.attrs["cores"]
    for y in range(results.sizes["comparison"]):
        load, marked = results.load_average[y].values.ravel(), disturbed[y].values.ravel()
        axes.scatter(load, np.full(load.size, y), s=16, c=np.where(marked, MISSED, QUIET))
    axes.axvline(CROWDED * cores, color=LIMIT, lw=2.5)
    axes.set(xlabel=f"load average, {cores} cores", xlim=(0, None))
    axes.set_title(f"red: disturbed, {float(disturbed.mean()):.0%}", loc="left")
