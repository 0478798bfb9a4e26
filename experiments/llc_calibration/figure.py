"""The figure of `llc_calibration`: networks and samplers against the truth."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from experiments.llc_calibration.report import REQUIRED, known, relative, singular
from experiments.shared import plots

OURS, ODD, GREY, INK = "#1b6ca8", "#c8553d", "#8a8f94", "#2f3e46"
STYLE: Any = plots.STYLE | {"axes.titlesize": 10.5, "axes.titlelocation": "left"}


def draw(results: xr.Dataset) -> Figure:
    """Deep linear networks; the samplers on small models."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 2, figsize=(12, 5.4), layout="constrained", width_ratios=[1, 1.25])
        _networks(axes[0], results)
        _samplers(axes[1], results)
        plt.close(figure)
    return figure


def _networks(axes: Axes, results: xr.Dataset) -> None:
    """Estimate over truth of each network: lambda-hat at the larger data set, and the Gaussian."""
    there, odd, local = known(results), singular(results), results.local.values
    value, gaussian = results.value.values[-1], results.gaussian.values[-1]
    axes.plot(local[there], value[there] / local[there], "o", ms=5, color=OURS, label=r"$\hat\lambda$")
    label = r"$\hat\lambda$ where $\lambda \neq$ rank(H)/2"
    axes.plot(local[odd], value[odd] / local[odd], "D", ms=5, color=ODD, label=label)
    axes.plot(local[there], gaussian[there] / local[there], "x", ms=5, color=INK, label="the Gaussian at w*")
    axes.axhline(1, color=GREY, lw=1, zorder=0)
    axes.axhspan(1 - REQUIRED, 1 + REQUIRED, color=GREY, alpha=0.2, lw=0, zorder=0)
    axes.set(xscale="log", xlabel=r"exact local $\lambda$", ylabel=r"estimate / $\lambda$ (band: 5 %)", ylim=(0, None))
    axes.set_title(f"{there.sum()} deep linear networks, n = {results.samples.values[-1]:.0e}")
    axes.legend(loc="lower right")


def _samplers(axes: Axes, results: xr.Dataset) -> None:
    """A row for each sampler: the bias of each model, with two standard errors."""
    bias, error = relative(results)
    names, models = results.sampler.values.tolist(), results.model.values.tolist()
    place = -np.arange(len(names))
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, len(models)))
    for m, model in enumerate(models):
        y = place + 0.3 - 0.6 * m / max(1, len(models) - 1)
        axes.errorbar(bias[:, m], y, xerr=2 * error[:, m], fmt="o", ms=4, lw=1.2, color=colours[m], label=model)
    axes.axvline(0, color=GREY, lw=1, zorder=0)
    axes.set_yticks(place, names)
    axes.set_xlabel(r"bias of $\hat\lambda$ against the exact value at its $n\beta$ (bar: two standard errors)")
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title("small models, one budget of gradients for each sampler")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=4)
