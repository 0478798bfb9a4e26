"""The figure of `stages`: one planted curve of each shape, recall against precision, false alarms."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

from experiments.shared import plots
from experiments.stages.methods import SHAPES, TRUTH, curves

STYLE: Any = plots.STYLE | {"font.size": 9}
COLOURS = ("#8a8f94", "#9cc4e4", "#1b6ca8", "#f0b8a8", "#c8553d", "#b9d8a8", "#4a7c3a")
MARKERS = ("o", "s", "D")


def draw(results: xr.Dataset) -> Figure:
    """Columns: the shapes. Above: a curve. Below: recall and precision in white noise; last, alarms in noise alone."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 4, figsize=(13, 6.4), layout="constrained", height_ratios=[1, 2])
        for column, shape in enumerate(SHAPES):
            _example(axes[0, column], results, shape)
            (_alarms if shape == "noise" else _recall)(axes[1, column], results, shape)
        handles, labels = axes[1, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=7, fontsize=8)
        figure.suptitle("Planted stages: what each method finds, and what it invents")
        plt.close(figure)
    return figure


def _example(axis: Any, results: xr.Dataset, shape: str) -> None:
    axis.plot(curves(shape, 1, float(results["size"][1]), 0.0)[0], ".-", color="#2f3e46", lw=0.6, ms=3)
    for low, high in TRUTH[shape]:
        axis.axvspan(low, high, color="#c8553d", alpha=0.2, lw=0)
    size = f", {float(results['size'][1]):g} standard errors" if shape != "noise" else " alone"
    axis.set(title=shape + size, xlabel="checkpoint")


def _recall(axis: Any, results: xr.Dataset, shape: str) -> None:
    here = results.sel(shape=shape, noise="white")
    for method, colour in zip(results.detector.values, COLOURS, strict=True):
        precision, recall = (here[name].sel(detector=method).values for name in ("precision", "recall"))
        axis.plot(recall, precision, color=colour, lw=1, label=str(method))
        for marker, x, y in zip(MARKERS, recall, precision, strict=True):
            axis.plot(x, y, marker, color=colour, ms=5)
    sizes = ", ".join(f"{size:g}" for size in results["size"].values)
    axis.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), xlabel=f"recall\n(circle, square, diamond: sizes {sizes})")
    axis.set_ylabel("precision")


def _alarms(axis: Any, results: xr.Dataset, shape: str) -> None:
    here = 100 * results.alarms.sel(shape=shape).isel(size=0)
    place = np.arange(len(results.detector))
    for offset, noise, alpha in ((-0.2, "white", 1.0), (0.2, "correlated", 0.5)):
        axis.barh(place + offset, here.sel(noise=noise).values, height=0.38, color=COLOURS, alpha=alpha)
    axis.set_yticks(place, [str(name) for name in results.detector.values], fontsize=8)
    axis.axvline(5, color="black", lw=0.8, ls=":")
    axis.invert_yaxis()
    axis.set(xlabel="curves with a false alarm, %\n(dark: white noise, light: correlated)", xlim=(0, 100))
