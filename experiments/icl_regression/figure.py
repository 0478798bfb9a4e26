"""The figure of `icl_regression`: what is learned, lambda-hat loose and localised, and where each puts the stages."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import slt
from experiments.icl_regression.claims import largest, title
from experiments.icl_regression.stages import READINGS, edges
from experiments.shared import plots

COLOURS = {"loss": "#1b6ca8", "loose": "#b08d2f", "localised": "#c8553d", "second": "#7a9a4e"}
SIZE = "#7b2d8b"
STYLE: Any = plots.STYLE | {"axes.titlesize": 10.5, "axes.titlelocation": "left", "legend.fontsize": 8.5}


def draw(results: xr.Dataset) -> Figure:
    """What is learned, and the boundaries; the curves and their losses under two settings."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(12, 7.4), layout="constrained")
        _learned(axes[0, 0], results)
        _boundaries(axes[0, 1], results)
        for place, name in zip(axes[1], ("loose", "localised"), strict=True):
            slt.plots.curve(results.sel(setting=name), place, phases=[])
            saturation = float(results.saturation.sel(setting=name).median())
            place.set_title(f"{title(results, name)}: saturation {saturation:.2f}")
        for place in axes.flat:
            _time(place, results)
        runs, weights = results.sizes["seed"], results.attrs["parameters"]
        figure.suptitle(
            f"In-context linear regression, {runs} runs of a transformer of {weights} weights", fontweight="bold"
        )
        plt.close(figure)
    return figure


def _time(axes: Axes, results: xr.Dataset) -> None:
    """Time, and where LR1 and LR2 end in each run."""
    step = results.step.values
    axes.set_xscale("symlog", linthresh=step[1])
    axes.set_xlim(step[0], step[-1] * 1.05)
    axes.set_xlabel("step of Adam")
    for zero, learned in edges(results):
        axes.axvline(step[zero], color="0.5", lw=0.9, ls=(0, (1, 2)), zorder=0)
        axes.axvline(step[learned], color="0.5", lw=0.9, ls=(0, (5, 3)), zorder=0)


def _learned(axes: Axes, results: xr.Dataset) -> None:
    fresh, step = results.sel(prior="fresh", on="fresh").mean("position"), results.step.values
    for name, colour, label in (("mse", COLOURS["loss"], "MSE"), ("size", SIZE, r"$|\hat y|^2$")):
        lines = axes.plot(step, fresh[name].values.T, "o-", color=colour, ms=3, lw=1.2)
        lines[0].set_label(label)
    axes.axhline(results.attrs["chance"], color="black", lw=0.8, ls="--", label=r"zero predictor, $D+\sigma^2$")
    axes.axhline(float(fresh.ridge.mean()), color="black", lw=0.8, ls=":", label="ridge")
    axes.set_ylim(bottom=0, top=1.5 * results.attrs["chance"])
    axes.set_title("Zero first (LR1 ends, dotted), then regression (learned, dashed)")
    axes.set_ylabel("mean square")
    axes.legend(loc="upper right", ncols=2)


def _boundaries(axes: Axes, results: xr.Dataset) -> None:
    """The largest change of level of each run with its interval; milestones between certain stages as rings."""
    runs = results.sizes["seed"]
    milestones = results.milestone.sel(recipe="supported", interval="step")
    for row, name in enumerate(READINGS):
        for run, (at, low, high) in enumerate(largest(results, name)):
            y = row + 0.5 * (run + 0.5) / runs - 0.25
            axes.plot([low, high], [y, y], color=COLOURS[name], lw=2.5, alpha=0.5)
            axes.plot(at, y, "o", color=COLOURS[name], ms=5)
            found = milestones.sel(reading=name).values[run]
            axes.plot(found, np.full(len(found), y), "o", mfc="none", color=COLOURS[name], ms=7)
    axes.set_yticks(range(len(READINGS)), labels=[title(results, name).replace(" at", "\nat") for name in READINGS])
    axes.invert_yaxis()
    axes.set_title("Largest change of level, with interval (rings: milestones)")
