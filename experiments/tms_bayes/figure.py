"""The figure of the `tms_bayes` experiment: predicted against sampled occupancy, and all phases."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.shared import plots
from experiments.tms_bayes.prediction import A_PRIORI, LOSS, WITH_CONSTANT, occupancy
from experiments.tms_bayes.report import named, sampled

LINES = {LOSS: ("#9aa0a6", ":"), A_PRIORI: ("#c8442b", "-"), WITH_CONSTANT: ("#2f6690", "--")}
COLOURS = ["#f4c88b", "#eba553", "#d9822b", "#8fc0a9", "#4f9173", "#5b7db1", "#e4e6e8", "#222222"]  # of the phases


def draw(results: xr.Dataset) -> Figure:
    """The share of 4-, 5- and 6-gons over n, predicted and sampled, and all phases as sampled."""
    with plt.rc_context(plots.STYLE):
        figure = plt.figure(figsize=(11, 8), layout="constrained")
        *panels, last = figure.subplots(2, 2).flat
        for k, panel in zip("456", panels, strict=True):
            _occupancy(panel, results, k)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
        shares = sampled(results).mean(axis=1).T
        last.stackplot(results.n.values, shares, colors=COLOURS, labels=results.phase.values.tolist())
        last.legend(loc="lower right", framealpha=0.8, frameon=True, ncols=2)
        last.set(title="what was sampled, all phases", ylabel="share of all samples")
        for panel in (*panels, last):
            panel.set(xscale="log", xlabel="data set size n", ylim=(-0.03, 1.03))
        plt.close(figure)
    return figure


def _occupancy(axes: Axes, results: xr.Dataset, k: str) -> None:
    """The share of the k-gons among the named phases: three predictions and what was sampled."""
    of_k = [str(name).startswith(k) for name in results.kgon.values]
    at, n = results.n.values, np.geomspace(results.n.values[0], results.n.values[-1], 300)
    for name, (colour, line) in LINES.items():
        share = occupancy(results.free_energy.sel(predictor=name).values, n)[:, of_k].sum(axis=1)
        axes.plot(n, share, color=colour, ls=line, lw=2, label=f"predicted: {name}")
    each = named(results)[..., of_k].sum(axis=-1)
    axes.plot(at, each, ".", color="black", alpha=0.3, ms=7, mew=0)
    axes.plot(at, each.mean(axis=1), "o", color="black", ms=6, label="sampled: mean of data sets, dots: each")
    axes.set(title=f"{k}-gons", ylabel="share of the named phases")
