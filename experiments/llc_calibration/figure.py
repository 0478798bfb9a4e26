"""The figure of `llc_calibration`: estimates against truth, errors beside simpler ones, samplers, the rescaled network."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

from experiments import plots
from experiments.llc_calibration.report import (
    REFERENCE,
    draws_per_gradient,
    errors,
    estimates,
    known,
    relative_bias,
    singular,
)

OURS, THEIRS, ODD, GREY, INK = "#1b6ca8", "#9dbfd9", "#c8553d", "#8a8f94", "#2f3e46"
STYLE: Any = plots.STYLE | {"axes.titlesize": 10.5, "axes.titlelocation": "left"}
LINES = {"lambda-hat": OURS, "the Gaussian at w*": ODD, "half the rank of the Hessian": INK, "d/2": GREY}
FLOOR = 1e-3  # errors below are drawn here


def draw(results: xr.Dataset) -> Figure:
    """Deep linear networks above; samplers on small models and the rescaled ReLU network below."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(12, 9.4), layout="constrained", width_ratios=[1, 1.15])
        _scatter(axes[0, 0], results)
        _errors(axes[0, 1], results)
        _samplers(axes[1, 1], results)
        _rescaling(axes[1, 0], results)
        plt.close(figure)
    return figure


def _scatter(axes: Axes, results: xr.Dataset) -> None:
    there, odd = known(results), singular(results)
    local, value = results.local.values, results.value.values
    small, large = (f"n = {n:.0e}".replace("e+0", "e") for n in results.samples.values)
    axes.plot(local[there], value[there, 0], "o", mfc="none", mec=THEIRS, ms=5, label=small)
    axes.plot(local[there & ~odd], value[there & ~odd, -1], "o", color=OURS, ms=5, label=f"{large}")
    axes.plot(local[odd], value[odd, -1], "D", color=ODD, ms=5, label=rf"{large}, $\lambda \neq$ rank(H)/2")
    ends = np.array([local[there].min() * 0.8, local[there].max() * 1.25]) if there.any() else np.array([1.0, 10])
    axes.plot(ends, ends, color=GREY, lw=1, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel=r"exact local $\lambda$", ylabel=r"$\hat\lambda$")
    axes.set_title(
        f"{there.sum()} deep linear networks of {results.layers.values.min()} to {results.layers.values.max()} layers"
    )
    axes.legend(loc="upper left")


def _errors(axes: Axes, results: xr.Dataset) -> None:
    """Share of networks whose relative error is below x: all of them, and the singular ones."""
    for where, style, weight in ((known(results), "-", 2.2), (singular(results), ":", 2.2)):
        for name, estimate in estimates(results).items():
            error = np.sort(np.maximum(errors(estimate, results, where), FLOOR))
            if error.size:
                label = name.replace("lambda-hat", r"$\hat\lambda$") if style == "-" else None
                share = np.arange(1, error.size + 1) / error.size
                axes.step(np.append(error, 30), np.append(share, 1), style, color=LINES[name], lw=weight, where="post", label=label)  # fmt: skip
    axes.axvline(REFERENCE, color=GREY, lw=1, ls=(0, (4, 3)))
    axes.text(REFERENCE * 0.94, 0.99, "trial: 4.4 %", rotation=90, ha="right", va="top", fontsize=8.5, color="#555b60")
    axes.set(
        xscale="log",
        xlim=(FLOOR, 30),
        ylim=(0, 1.02),
        xlabel=r"relative error to the local $\lambda$",
        ylabel="share of networks with less",
    )
    axes.set_xticks([1e-3, 1e-2, 1e-1, 1, 10], ["≤ 0.1 %", "1 %", "10 %", "100 %", "1000 %"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title(rf"solid: all; dotted: the {singular(results).sum()} with $\lambda \neq$ rank(H)/2", pad=24)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 0.995), fontsize=9, ncols=4, columnspacing=1.2, handlelength=1.4
    )


def _samplers(axes: Axes, results: xr.Dataset) -> None:
    """A row for each sampler: the bias of each model, with two standard errors; effective draws at the right."""
    bias, effective = relative_bias(results), draws_per_gradient(results)
    error = (
        2 * results.sampled_value.values.std(-1, ddof=1) / results.exact.values[None] / np.sqrt(results.sizes["repeat"])
    )
    names, models = results.sampler.values.tolist(), results.model.values.tolist()
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, len(models)))
    for m, model in enumerate(models):
        y = -np.arange(len(names)) + 0.3 - 0.6 * m / max(1, len(models) - 1)
        axes.errorbar(bias[:, m], y, xerr=error[:, m], fmt="o", ms=4, lw=1.2, color=colours[m], label=model)
    for i in range(len(names)):
        middle = np.median(effective[i])
        axes.text(1.02, -i, f"{middle:.1f}", transform=axes.get_yaxis_transform(), va="center")  # fmt: skip
        axes.axhline(-i - 0.5, color="#e3e6e8", lw=0.8, zorder=0)
    axes.text(1.02, 0.62, "effective\ndraws / 1000\ngradients", transform=axes.get_yaxis_transform(), fontsize=8.5, va="bottom")  # fmt: skip
    axes.axvline(0, color=GREY, lw=1, zorder=0)
    axes.set_yticks(-np.arange(len(names)), names)
    axes.set(
        ylim=(-len(names) + 0.4, 0.6),
        xlabel=r"bias of $\hat\lambda$ against the exact value at its $n\beta$ (bar: two standard errors)",
    )
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_title("small models, the same number of gradients for each sampler")
    axes.legend(fontsize=8, loc="lower left", ncols=1)


def _rescaling(axes: Axes, results: xr.Dataset) -> None:
    if "rescaled_value" not in results:
        axes.set_axis_off()
        return
    factor = results.factor.values
    for i, (colour, label) in enumerate(((ODD, "localised in the weights"), (OURS, "in relative weights"))):
        value, stderr = results.rescaled_value.values[i], results.rescaled_stderr.values[i]
        axes.errorbar(
            factor, value, 2 * stderr, fmt="o", color=colour, ms=5, capsize=3, label=rf"$\hat\lambda$, {label}"
        )
        axes.plot(factor, results.rescaled_gaussian.values[i], "-", color=colour, lw=1.2, alpha=0.6)
    axes.axhline(results.rescaled_limit.item(), color=GREY, lw=1, ls=(0, (4, 3)))
    axes.annotate(r"$\lambda$ = (parameters - units)/2", (1, results.rescaled_limit.item()), xytext=(0, 4), textcoords="offset points", ha="center", fontsize=9, color="#555b60")  # fmt: skip
    axes.set(xscale="log", xlabel="c", ylabel=r"$\hat\lambda$", ylim=(0, results.rescaled_limit.item() * 1.15))
    axes.set_title("a ReLU network and its copies $W_1 c$, $W_2/c$ (lines: a Gaussian)")
    axes.legend(loc="lower center")
