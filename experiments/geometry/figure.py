"""The figure of `geometry`: D* and D_i over the density, and lambda-hat and the loss below them."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.geometry.report import LINES, final, regular
from experiments.shared import plots

BLUE, ORANGE, GREY = "#1f6fb4", "#d9761a", "#9aa0a6"


def draw(results: xr.Dataset) -> Figure:
    """Above the geometry, below what lambda-hat and the loss make of it."""
    with plt.rc_context(plots.STYLE):
        figure, axes = plt.subplots(3, 1, figsize=(8, 9.5), layout="constrained", sharex=True, height_ratios=(3, 2, 1))
        x = 1 / results.density.values
        _geometry(axes[0], results, x)
        _coefficient(axes[1], results, x)
        axes[2].plot(x, results.loss_at_centre / results.chance, "s-", color="black")
        axes[2].set(title="Loss / that of the best constant", xscale="log", xlabel="1/(1 - S)")
        plt.close(figure)
    return figure


def _level(axis: Axes, at: float, name: str, shift: float = -3.0) -> None:
    """A dashed line, and its name on the right."""
    axis.axhline(at, color=GREY, lw=0.8, ls="--")
    place: Any = dict(xycoords=("axes fraction", "data"), xytext=(3, shift), textcoords="offset points")
    axis.annotate(name, (1, at), fontsize=9, **place)


def _geometry(axis: Axes, results: xr.Dataset, x: np.ndarray) -> None:
    D = results.dimensionality.values
    jitter = (x[1] / x[0]) ** np.random.default_rng(0).uniform(-0.35, 0.35, D.shape)
    for name, fraction in LINES.items():
        _level(axis, float(fraction), f"{fraction} {name}", -8.0 if name == "square antiprism" else -3.0)
    axis.scatter(x[:, None] * jitter, D, s=5, alpha=0.5, color=BLUE, linewidths=0)
    axis.plot(x, final(results), "o-", color="black", ms=4)
    axis.set(title=r"Dimensionality $D_i$ of each feature; line: $D^* = m/\|W\|_F^2$")


def _coefficient(axis: Axes, results: xr.Dataset, x: np.ndarray) -> None:
    value, (low, high) = results.value.values, regular(results)
    axis.errorbar(x, value, 2 * results.stderr.values, fmt="o-", color=ORANGE, label=r"$\hat\lambda$, chains")
    axis.plot(x, (results.gaussian + results.slope).values, "x", color="black", label="Hessian and gradient")
    _level(axis, low, "kept subspace free", -8.0)
    _level(axis, high, "only rotations free")
    below = x[value < 0]
    axis.plot(below, np.zeros(len(below)), "v", color=ORANGE, ms=9, clip_on=False, label="below 0")
    axis.set(ylim=(0, 1.15 * high), title=rf"$\hat\lambda$ at $\gamma = {results.attrs['strength']:g}\, n\beta$")
    axis.legend(loc="upper right", bbox_to_anchor=(1, 0.9))
