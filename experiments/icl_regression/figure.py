"""The figure of `icl_regression`: what is learned, lambda-hat loose and localised, and where each puts the stages."""

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import slt
from experiments.icl_regression.report import READINGS, edges
from experiments.shared import plots

COLOURS = dict(zip(READINGS, ("#1b6ca8", "#b08d2f", "#c8553d", "#7a9a4e"), strict=True))
SIZE = "#7b2d8b"


def draw(results: xr.Dataset) -> Figure:
    """What is learned, and the boundaries; the curves and their losses under two settings."""
    with plt.rc_context(plots.STYLE | {"axes.titlelocation": "left", "legend.fontsize": 8.5}):
        figure, axes = plt.subplots(2, 2, figsize=(12, 7.4), layout="constrained")
        _learned(axes[0, 0], results)
        _boundaries(axes[0, 1], results)
        for place, name in zip(axes[1], ("loose", "localised"), strict=True):
            here = results.sel(setting=name)
            slt.plots.curve(here, place, phases=[])
            place.set_title(rf"{name}, n$\beta$ = {float(here.nbeta):g}, $\gamma$ = {float(here.gamma):g}")
        step = results.step.values
        for place in axes.flat:
            place.set_xscale("symlog", linthresh=step[1])
            place.set(xlim=(step[0], step[-1] * 1.05), xlabel="step of Adam")
            for zero, learned in edges(results):
                place.axvline(step[zero], color="0.5", lw=0.9, ls=":", zorder=0)
                place.axvline(step[learned], color="0.5", lw=0.9, ls="--", zorder=0)
        figure.suptitle(f"In-context linear regression, {results.sizes['seed']} runs", fontweight="bold")
        plt.close(figure)
    return figure


def _learned(axes: Axes, results: xr.Dataset) -> None:
    step = results.step.values
    for name, colour, label in (("loss", COLOURS["loss"], "MSE"), ("size", SIZE, r"$|\hat y|^2$")):
        lines = axes.plot(step, results[name].values.T, "o-", color=colour, ms=3, lw=1.2)
        lines[0].set_label(label)
    axes.axhline(results.attrs["chance"], color="black", lw=0.8, ls="--", label=r"zero predictor, $D+\sigma^2$")
    axes.axhline(float(results.ridge.mean()), color="black", lw=0.8, ls=":", label="ridge")
    axes.set(ylim=(0, 1.5 * results.attrs["chance"]), ylabel="mean square")
    axes.set_title("Zero first (LR1 ends, dotted), then regression (learned, dashed)")
    axes.legend(loc="upper right", ncols=2)


def _boundaries(axes: Axes, results: xr.Dataset) -> None:
    """The largest change of level of each run with its interval."""
    runs = results.sizes["seed"]
    for row, name in enumerate(READINGS):
        here = results.sel(reading=name)
        for run, (at, low, high) in enumerate(here.change.values):
            y = row + 0.5 * (run + 0.5) / runs - 0.25
            axes.plot([low, high], [y, y], color=COLOURS[name], lw=2.5, alpha=0.5)
            axes.plot(at, y, "o", color=COLOURS[name], ms=5)
    axes.set_yticks(range(len(READINGS)), labels=[name.replace(", ", ",\n") for name in READINGS])
    axes.invert_yaxis()
    axes.set_title("Largest change of level, with interval")
