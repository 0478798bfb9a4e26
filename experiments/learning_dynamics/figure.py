"""The figure of `learning_dynamics`: one octahedron in three readings, the levels of many features."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import slt
from experiments.learning_dynamics.report import MAIN, Places, hessian_sum, level_transitions, transitions
from experiments.shared import plots

LOSS, LLC, GEOMETRY, GREY = "#1b6ca8", "#c8553d", "#2f3e46", "#8a8f94"
SETS = ("#2a7f62", "#b0762b")


def draw(results: xr.Dataset) -> Figure:
    """One run's loss, D_i and lambda-hat, and the levels of many features."""
    at = transitions(results)
    with plt.rc_context(plots.STYLE | {"axes.titlelocation": "left"}):
        figure, ((loss, llc), (geometry, many)) = plt.subplots(2, 2, figsize=(12, 7.2), layout="constrained")
        early = [int(np.isin(names, ["nothing", "two lines"]).sum()) for names in results.figure.values]
        run = int(np.argmax(early))  # the one whose first stages are longest
        here, step = results.isel(run=run), results.step.values
        _curves(loss, llc, here.sel(setting=MAIN), hessian_sum(results)[run])
        rise = at["llc"][run]
        llc.plot(step[rise], np.full(len(rise), -0.5), "^", color=LLC, ms=7, label="its transitions")
        llc.legend(fontsize=8.5, loc="upper left")
        _dimensionality(geometry, here)
        for axes in (loss, llc, geometry):
            for i in at["loss"][run]:
                axes.axvline(step[i], color=LOSS, lw=0.9, ls=(0, (4, 3)), zorder=1)
            axes.set_xscale("symlog", linthresh=step[1])
            axes.set_xlim(0, step[-1])
        _levels(many, results, level_transitions(results)["loss"])
        figure.suptitle("Six features in three dimensions reach the octahedron in steps; many jump between levels")
        plt.close(figure)
    return figure


def _curves(top: Axes, bottom: Axes, here: xr.Dataset, gaussian: np.ndarray) -> None:
    """Loss, beside that of the figures; lambda-hat, and what the Hessian alone gives."""
    step, loss = here.step.values, here.loss_at_centre.values
    slt.plots.curve(here, (top, bottom), phases=[])
    for name, level in zip(here.known.values, here.figure_loss.values, strict=True):
        top.axhline(level, color=GREY, lw=0.8, zorder=1)
        top.text(step[-1], 1.03 * level, name, ha="right", color="#555b60", fontsize=8.5)
    top.set(ylim=(0.8 * np.nanmin(loss), 1.2 * np.nanmax(loss)), yscale="log")
    top.set_title(f"loss, run {int(here.run)}; dashed: its transitions")
    bottom.plot(step, gaussian, color=GREY, lw=1, label=r"$\frac{1}{2}\sum h/(h+\gamma/n\beta)$")
    bottom.set(ylim=(-0.7, 3.2), xlabel="steps of SGD")
    bottom.set_title(rf"$\hat\lambda$, $n\beta$ = {float(here.nbeta):g}, $\gamma$ = {float(here.gamma):g}")


def _dimensionality(axes: Axes, here: xr.Dataset) -> None:
    D, step = here.dimensionality.values, here.step.values
    for i, curve in enumerate(D.T):
        axes.plot(step, curve, color=SETS[2 * i // D.shape[1]], lw=1.2, alpha=0.85)
    axes.set(xlabel="steps of SGD", ylabel=r"dimensionality $D_i$", ylim=(-0.02, 1.02), yticks=[0, 1 / 3, 1 / 2, 1])
    axes.set_yticklabels(["0", "1/3", "1/2", "1"])
    axes.set_title("$D_i$ of the features of the two sets")


def _levels(axes: Axes, results: xr.Dataset, drops: Places) -> None:
    """The run of many features with the latest drop of its loss."""
    run = int(np.argmax([max(at, default=-1) for at in drops]))
    step, D = results.level_step.values, results.level_dimensionality.values[run]
    axes.plot(step, D, lw=0.6, alpha=0.6, color=GEOMETRY)
    for i in drops[run]:
        late = step[step >= results.attrs["settle"]]
        axes.axvline(late[i], color=LOSS, lw=0.9, ls=(0, (4, 3)), zorder=1)
    axes.set(ylabel=r"$D_i$", ylim=(-0.02, 0.85), xlim=(0, step[-1]), xlabel="steps of Adam")
    axes.set_title(f"{D.shape[1]} equal features in {results.attrs['hidden']} dimensions; dashed: drops of the loss")
