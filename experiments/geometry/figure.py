"""The figure of `geometry`: D* and D_i over the density, and lambda-hat and the loss below them."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.geometry.report import LINES, final, regular, speaking

BLUE, ORANGE, GREY = "#1f6fb4", "#d9761a", "#9aa0a6"
STYLE: Any = plots.STYLE | {"legend.frameon": True}


def draw(results: xr.Dataset) -> Figure:
    """Above the geometry, below what the loss and lambda-hat make of it."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(11, 7), layout="constrained", sharex=True)
        _sticky(axes[0, 0], results)
        _scatter(axes[0, 1], results)
        _coefficient(axes[1, 0], results)
        _loss(axes[1, 1], results)
        for axis in axes[1]:
            axis.set_xlabel("1/(1 - S)")
        plt.close(figure)
    return figure


def _sparsity(results: xr.Dataset) -> np.ndarray:
    return 1 / results.density.values


def _sticky(axis: Axes, results: xr.Dataset) -> None:
    for at, name in ((1.0, "1"), (0.5, "1/2")):
        axis.axhline(at, color=GREY, lw=0.8, ls="--")
        axis.annotate(name, (1, at), xycoords=("axes fraction", "data"), xytext=(3, -3), textcoords="offset points")
    axis.plot(_sparsity(results), final(results), "o-", color=BLUE)
    axis.set(xscale="log", ylim=(0, None), title="Dimensions a feature, $D^* = m/\\|W\\|_F^2$")


def _scatter(axis: Axes, results: xr.Dataset) -> None:
    x, D = _sparsity(results), results.dimensionality.values
    gap = np.log(x[1] / x[0]) if len(x) > 1 else 0.1
    jitter = np.exp(0.35 * gap * np.random.default_rng(0).uniform(-1, 1, D.shape))
    for name, fraction in LINES.items():
        axis.axhline(float(fraction), color=GREY, lw=0.8, ls="--")
        shift = -8 if fraction < 0.39 else -3
        axis.annotate(f"{fraction} {name}", (1, float(fraction)), xycoords=("axes fraction", "data"), xytext=(3, shift), textcoords="offset points", fontsize=9)  # fmt: skip
    axis.scatter(x[:, None] * jitter, D, s=5, alpha=0.5, color=BLUE, linewidths=0)
    axis.set(xscale="log", title="Dimensionality $D_i$ of each feature")


def _coefficient(axis: Axes, results: xr.Dataset) -> None:
    x, (low, high) = _sparsity(results), regular(results)
    axis.errorbar(
        x, results.value.values, 2 * results.stderr.values, fmt="o-", color=ORANGE, label=r"$\hat\lambda$, chains"
    )
    axis.plot(x, (results.gaussian + results.slope).values, "x", color="black", label="second-order expansion")
    for at, name in ((low, "any subspace is as good"), (high, "only rotations free")):
        axis.axhline(at, color=GREY, lw=0.8, ls="--")
        axis.annotate(name, (0.99, at), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points", ha="right", fontsize=9)  # fmt: skip
    axis.plot(x, speaking(results), color=GREY, label="parameters with a gradient, halved")
    for place in x[results.value.values < 0]:
        axis.annotate(
            "below 0", (place, 0), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=8, color=ORANGE
        )
    axis.set(
        xscale="log",
        ylim=(0, 1.15 * high),
        title=rf"$\hat\lambda$ at $\gamma = {results.attrs['strength']:g}\, n\beta$",
    )
    axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, fontsize=8, columnspacing=1)


def _loss(axis: Axes, results: xr.Dataset) -> None:
    x = _sparsity(results)
    axis.plot(x, results.test_loss.values / results.chance.values, "s-", color="black")
    axis.set(xscale="log", title="Loss / that of the best constant")
