"""The figure of `speed`: ratios beside their targets, agreement of what is computed, and the machine's load."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.benchmarks.speed.measure import CROWDED, busy, ratios
from experiments.plots import STYLE

MET, MISSED, TARGET, QUIET = "#1b6ca8", "#c8553d", "#2f3e46", "#8a8f94"


def draw(results: xr.Dataset) -> Figure:
    """One row for each comparison."""
    names = results.comparison.values.tolist()
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, 3, figsize=(14, 2 + 0.32 * len(names)), layout="constrained", sharey=True, width_ratios=[2, 1, 1]
        )
        for panel, ax in zip((_ratios, _agreement, _load), axes, strict=True):
            panel(ax, results)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.4, -0.6)
    plt.close(figure)
    return figure


def _ratios(axes: Axes, results: xr.Dataset) -> None:
    found = ratios(results)
    for y, (low, middle, high) in enumerate(found):
        least, most = results.least.values[y], results.most.values[y]
        axes.barh(y, middle, color=MET if least <= middle <= most else MISSED, height=0.62)
        axes.plot([low, high], [y, y], color="black", lw=1.4)
        for target in (least, most):
            axes.plot([target, target], [y - 0.42, y + 0.42], color=TARGET, lw=2.5)
        axes.text(max(high, least) * 1.15, y, f"{middle:.3g}", va="center")
    axes.set(xscale="log", xlabel="our steps a second to theirs (line: least to greatest of a round)")
    axes.set_xlim(min(0.5, found.min() / 2), max(found.max(), results.least.values.max()) * 4)
    axes.set_title("bar across: target; blue: met, red: missed", loc="left")


def _agreement(axes: Axes, results: xr.Dataset) -> None:
    apart = results.disagreement.values
    axes.scatter(apart, np.arange(len(apart)), color=np.where(apart <= 1, MET, MISSED))
    axes.axvline(1, color=TARGET, lw=2.5)
    axes.set(xlabel="difference of the results, of what is allowed", xlim=(0, max(1.2, 1.1 * np.nanmax([1, *apart]))))
    axes.set_title("same result", loc="left")


def _load(axes: Axes, results: xr.Dataset) -> None:
    disturbed, cores = busy(results), results.attrs["cores"]
    for y in range(results.sizes["comparison"]):
        load = results.load_average[y].values.ravel()
        axes.scatter(load, np.full(load.size, y), s=16, c=np.where(disturbed[y].values.ravel(), MISSED, QUIET))
    axes.axvline(CROWDED * cores, color=TARGET, lw=2.5)
    axes.set(xlabel=f"load average before a measurement ({cores} cores)", xlim=(0, None))
    axes.set_title(f"red: disturbed by other work ({float(disturbed.mean()):.0%})", loc="left")
