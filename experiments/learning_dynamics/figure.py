"""The figure of `learning_dynamics`: one octahedron in three readings, the levels of many features."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import slt
from experiments.learning_dynamics.changes import MAIN, hessian_sum, places
from experiments.learning_dynamics.claims import figures_of, steps_of
from experiments.shared import plots

LOSS, LLC, GEOMETRY, GREY = "#1b6ca8", "#c8553d", "#2f3e46", "#8a8f94"
SETS = ("#2a7f62", "#b0762b")
NAMED = ("nothing", "two lines", "octahedron")
STYLE: Any = plots.STYLE | {"axes.titlelocation": "left"}


def draw(results: xr.Dataset) -> Figure:
    """Left: one run's loss, D_i and lambda-hat. Right: levels of many features; lambda-hat by transition."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(12, 8.6), layout="constrained")
        grid = figure.add_gridspec(6, 2, width_ratios=[1.15, 1])
        left = [figure.add_subplot(grid[2 * i : 2 * i + 2, 0]) for i in range(3)]
        run = _typical(results)
        _curves(left[0], left[2], results, run)
        _dimensionality(left[1], results, run)
        for axes in left:
            for i in places(results.loss_jump)[run]:
                axes.axvline(results.step.values[i], color=LOSS, lw=0.9, ls=(0, (4, 3)), zorder=1)
            axes.set_xscale("symlog", linthresh=results.step.values[1])
            axes.set_xlim(0, results.step.values[-1])
        _levels(figure.add_subplot(grid[:3, 1]), results)
        _steps(figure.add_subplot(grid[3:, 1]), results)
        figure.suptitle("Six features in three dimensions reach the octahedron in steps; many jump between levels")
        plt.close(figure)
    return figure


def _typical(results: xr.Dataset) -> int:
    """The run that lasts longest in nothing and two lines, of those whose loss has the most frequent count of steps."""
    found = [len(run) for run in places(results.loss_jump)]
    usual = max(set(found), key=found.count)
    early = [int(np.isin(names, ["nothing", "two lines"]).sum()) for names in results.figure.values]
    return max(range(len(found)), key=lambda run: (found[run] == usual, early[run]))


def _curves(top: Axes, bottom: Axes, results: xr.Dataset, run: int) -> None:
    """Loss; lambda-hat with its change points and what the Hessian alone gives; the run's figures as phases."""
    here, step = results.isel(run=run).sel(setting=MAIN), results.step.values
    begins = figures_of(results, run)
    ends = [i for i, _ in begins[1:]] + [len(step) - 1]
    phases = [(step[i], step[end], name) for (i, name), end in zip(begins, ends, strict=True) if name in NAMED]
    slt.plots.curve(here, (top, bottom), phases=phases)
    for name, level in zip(results.known.values, results.figure_loss.values, strict=True):
        _level(top, float(level), str(name))
    loss = here.loss_at_centre.values
    top.set(ylim=(0.8 * np.nanmin(loss), 1.2 * np.nanmax(loss)), yscale="log")
    top.set_title(f"loss, run {run}; dashed: its transitions", pad=16)
    at = places(results.llc_jump)[run]
    bottom.plot(step, hessian_sum(results)[run], color=GREY, lw=1, label=r"$\frac{1}{2}\sum h/(h+\gamma/n\beta)$")
    bottom.plot(step[at], np.full(len(at), -0.5), "^", color=LLC, ms=7, label="its transitions")
    bottom.set(ylim=(-0.7, 3.2), xlabel="steps of SGD")
    bottom.set_title(rf"$\hat\lambda$, $n\beta$ = {float(here.nbeta):g}, $\gamma$ = {float(here.gamma):g}")
    bottom.legend(fontsize=8.5, loc="upper left")


def _level(axes: Axes, level: float, name: str) -> None:
    axes.axhline(level, color=GREY, lw=0.8, zorder=1)
    style: Any = dict(xycoords=("axes fraction", "data"), textcoords="offset points", ha="right", fontsize=8.5)
    axes.annotate(name, (1, level), xytext=(-3, 2), color="#555b60", **style)


def _dimensionality(axes: Axes, results: xr.Dataset, run: int) -> None:
    D, step = results.dimensionality.values[run], results.step.values
    for i, curve in enumerate(D.T):
        colour = SETS[2 * i // D.shape[1]]
        axes.plot(step, curve, color=colour, lw=1.2, alpha=0.85)
        at = np.flatnonzero(np.isfinite(results.dimensionality_jump.values[run, :, i]))
        axes.plot(step[at], curve[at], "o", color=colour, ms=4)
    _level(axes, 1 / 3, "1/3")
    _level(axes, 1 / 2, "1/2")
    axes.set(ylabel=r"dimensionality $D_i$", ylim=(-0.02, 1.02))
    axes.set_title(r"$D_i$ of the two sets' features; dots: jumps between levels", color=GEOMETRY)


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
    sizes = f"{D.shape[1]} equal features in {results.attrs['hidden']} dimensions"
    axes.set_title(f"{sizes}; late jumps red")


def _steps(axes: Axes, results: xr.Dataset) -> None:
    """The change of lambda-hat at each transition of the loss, a dot for each run."""
    steps = steps_of(results)
    for i, changes in enumerate(steps):
        axes.plot(i + 1 + np.linspace(-0.12, 0.12, len(changes)), changes, "o", color=LLC, ms=5, alpha=0.7)
    axes.axhline(0, color=GREY, lw=0.9)
    axes.set(xlabel="transition of the loss, in order", ylabel=r"change of $\hat\lambda$")
    axes.set(xticks=range(1, len(steps) + 1), xlim=(0.5, max(len(steps), 1) + 0.5))
    axes.set_title(r"the loss falls at each; $\hat\lambda$ (all runs, medians between transitions)")
