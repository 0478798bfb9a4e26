"""The figure of `learning_dynamics`: one octahedron in three readings, the levels of many features."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import slt
from experiments.learning_dynamics.changes import MAIN, hessian_sum, places
from experiments.shared import plots

LOSS, LLC, GEOMETRY, GREY = "#1b6ca8", "#c8553d", "#2f3e46", "#8a8f94"
SETS = ("#2a7f62", "#b0762b")


def draw(results: xr.Dataset) -> Figure:
    """One run's loss, D_i and lambda-hat, and the levels of many features."""
    with plt.rc_context(plots.STYLE | {"axes.titlelocation": "left"}):
        figure, ((loss, llc), (geometry, many)) = plt.subplots(2, 2, figsize=(12, 7.2), layout="constrained")
        early = [int(np.isin(names, ["nothing", "two lines"]).sum()) for names in results.figure.values]
        run = int(np.argmax(early))  # the one whose first stages are longest
        _curves(loss, llc, results, run)
        _dimensionality(geometry, results, run)
        for axes in (loss, llc, geometry):
            for i in places(results.loss_jump)[run]:
                axes.axvline(results.step.values[i], color=LOSS, lw=0.9, ls=(0, (4, 3)), zorder=1)
            axes.set_xscale("symlog", linthresh=results.step.values[1])
            axes.set_xlim(0, results.step.values[-1])
        _levels(many, results)
        figure.suptitle("Six features in three dimensions reach the octahedron in steps; many jump between levels")
        plt.close(figure)
    return figure


def _curves(top: Axes, bottom: Axes, results: xr.Dataset, run: int) -> None:
    """Loss, beside that of the figures; lambda-hat with its change points and what the Hessian alone gives."""
    here, step = results.isel(run=run).sel(setting=MAIN), results.step.values
    slt.plots.curve(here, (top, bottom), phases=[])
    for name, level in zip(results.known.values, results.figure_loss.values, strict=True):
        top.axhline(level, color=GREY, lw=0.8, zorder=1)
        top.text(step[-1], 1.03 * level, name, ha="right", color="#555b60", fontsize=8.5)
    loss = here.loss_at_centre.values
    top.set(ylim=(0.8 * np.nanmin(loss), 1.2 * np.nanmax(loss)), yscale="log")
    top.set_title(f"loss, run {run}; dashed: its transitions")
    at = places(results.llc_jump)[run]
    bottom.plot(step, hessian_sum(results)[run], color=GREY, lw=1, label=r"$\frac{1}{2}\sum h/(h+\gamma/n\beta)$")
    bottom.plot(step[at], np.full(len(at), -0.5), "^", color=LLC, ms=7, label="its transitions")
    bottom.set(ylim=(-0.7, 3.2), xlabel="steps of SGD")
    bottom.set_title(rf"$\hat\lambda$, $n\beta$ = {float(here.nbeta):g}, $\gamma$ = {float(here.gamma):g}")
    bottom.legend(fontsize=8.5, loc="upper left")


def _dimensionality(axes: Axes, results: xr.Dataset, run: int) -> None:
    D, step = results.dimensionality.values[run], results.step.values
    for i, curve in enumerate(D.T):
        colour = SETS[2 * i // D.shape[1]]
        axes.plot(step, curve, color=colour, lw=1.2, alpha=0.85)
        at = np.isfinite(results.dimensionality_jump.values[run, :, i])
        axes.plot(step[at], curve[at], "o", color=colour, ms=4)
    axes.set(xlabel="steps of SGD", ylabel=r"dimensionality $D_i$", ylim=(-0.02, 1.02), yticks=[0, 1 / 3, 1 / 2, 1])
    axes.set_yticklabels(["0", "1/3", "1/2", "1"])
    axes.set_title(r"$D_i$ of the two sets' features; dots: jumps between levels")


def _levels(axes: Axes, results: xr.Dataset) -> None:
    """The run of many features with the latest drop of its loss."""
    found = places(results.level_loss_jump)
    run = int(np.argmax([max(drops, default=-1) for drops in found]))
    step, D = results.level_step.values, results.level_dimensionality.values[run]
    axes.plot(step, D, lw=0.6, alpha=0.6, color=GEOMETRY)
    moved = np.isfinite(results.level_dimensionality_jump.values[run]).any(axis=0)
    axes.plot(step, D[:, moved], lw=1.6, color=LLC)
    for i in found[run]:
        axes.axvline(step[i], color=LOSS, lw=0.9, ls=(0, (4, 3)), zorder=1)
    axes.set(ylabel=r"$D_i$", ylim=(-0.02, 0.85), xlim=(0, step[-1]), xlabel="steps of Adam")
    axes.set_title(f"{D.shape[1]} equal features in {results.attrs['hidden']} dimensions; late jumps red")
