"""The figure of the `learning_dynamics` experiment: one octahedron in three readings, the levels, the alignment."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.learning_dynamics.changes import MAIN, hessian_sum, places, settled, usable
from experiments.learning_dynamics.report import aligned, figures_of, steps_of

LOSS, LLC, GEOMETRY, GREY = "#1b6ca8", "#c8553d", "#2f3e46", "#8a8f94"
SETS = ("#2a7f62", "#b0762b")
SHADES = {"nothing": "#f1f1f1", "two lines": "#fbe9d0", "octahedron": "#e3f0dc"}


def draw(results: xr.Dataset) -> Figure:
    """Left: one run's loss, D_i and lambda-hat on one axis of time. Right: the levels; alignment; lambda-hat by transition."""
    with plt.rc_context(plots.STYLE):
        figure = plt.figure(figsize=(12, 8.6), layout="constrained")
        grid = figure.add_gridspec(6, 2, width_ratios=[1.15, 1])
        run = _typical(results)
        top, middle, bottom = (figure.add_subplot(grid[2 * i : 2 * i + 2, 0]) for i in range(3))
        _loss(top, results, run)
        _dimensionality(middle, results, run)
        _llc(bottom, results, run)
        for axes in (top, middle, bottom):
            _background(axes, results, run)
        _levels(figure.add_subplot(grid[0:2, 1]), figure.add_subplot(grid[2, 1]), results)
        _alignment(figure.add_subplot(grid[3, 1]), results)
        _steps(figure.add_subplot(grid[4:6, 1]), results)
        figure.suptitle(
            "Six features in three dimensions reach the octahedron in steps; many features jump between levels"
        )
        plt.close(figure)
    return figure


def _typical(results: xr.Dataset) -> int:
    """The run that lasts longest in nothing and two lines, among those whose loss has the most frequent count of steps."""
    found = [len(run) for run in places(results.loss_jump)]
    usual = max(set(found), key=found.count)
    early = [int(np.isin(names, ["nothing", "two lines"]).sum()) for names in results.figure.values]
    return max(range(len(found)), key=lambda run: (found[run] == usual, early[run]))


def _background(axes: Axes, results: xr.Dataset, run: int) -> None:
    """The named figures as shades, and the transitions of the loss as lines, on a logarithmic axis of time."""
    step, begins = np.maximum(results.step.values, 7), figures_of(results, run)
    ends = [i for i, _ in begins[1:]] + [len(step) - 1]
    for (begin, name), end in zip(begins, ends, strict=True):
        if name in SHADES:
            axes.axvspan(step[begin], step[end], color=SHADES[name], lw=0, zorder=0)
            if axes.get_title(loc="left").startswith("loss"):
                axes.text((step[begin] * step[end]) ** 0.5, 1.0, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=9)  # fmt: skip
    for i in places(results.loss_jump)[run]:
        axes.axvline(step[i], color=LOSS, lw=0.9, ls=(0, (4, 3)), zorder=1)
    axes.set(xscale="log", xlim=(step[0], step[-1]))


def _intervals(axes: Axes, results: xr.Dataset, name: str, run: int, height: float, colour: str) -> None:
    """Transitions as triangles with their intervals as bars, at a height in units of the axes."""
    step, last = np.maximum(results.step.values, 7), results.sizes["time"] - 1
    for i in places(results[f"{name}_jump"])[run]:
        low, high = (int(results[f"{name}_{end}"].values[run, i]) for end in ("low", "high"))
        kwargs: Any = dict(color=colour, transform=axes.get_xaxis_transform(), clip_on=False)
        axes.plot(step[[low, min(high, last)]], [height] * 2, lw=4, solid_capstyle="butt", alpha=0.5, **kwargs)
        axes.plot(step[i], height, "^", ms=7, **kwargs)


def _loss(axes: Axes, results: xr.Dataset, run: int) -> None:
    axes.plot(np.maximum(results.step, 7), results.loss.values[run], color=LOSS, lw=1.8)
    for name, level in zip(results.known.values, results.figure_loss.values, strict=True):
        axes.axhline(level, color=GREY, lw=0.8, zorder=1)
        axes.annotate(str(name), (1, level), xycoords=("axes fraction", "data"), xytext=(-3, 2), textcoords="offset points", ha="right", fontsize=8.5, color="#555b60")  # fmt: skip
    _intervals(axes, results, "loss", run, 0.04, LOSS)
    axes.set(yscale="log", ylabel="population loss")
    axes.set_title(f"loss, run {run}", loc="left", color=LOSS, pad=15)
    axes.tick_params(labelbottom=False)


def _dimensionality(axes: Axes, results: xr.Dataset, run: int) -> None:
    D, step = results.dimensionality.values[run], np.maximum(results.step.values, 7)
    for i, curve in enumerate(D.T):
        colour = SETS[2 * i // D.shape[1]]
        axes.plot(step, curve, color=colour, lw=1.2, alpha=0.85)
        at = np.flatnonzero(np.isfinite(results.dimensionality_jump.values[run, :, i]))
        axes.plot(step[at], curve[at], "o", color=colour, ms=4)
    for level, name in ((1 / 3, "1/3"), (1 / 2, "1/2")):
        axes.axhline(level, color=GREY, lw=0.8, zorder=1)
        axes.annotate(name, (0, level), xycoords=("axes fraction", "data"), xytext=(3, 2), textcoords="offset points", fontsize=8.5, color="#555b60")  # fmt: skip
    axes.set(ylabel=r"dimensionality $D_i$", ylim=(-0.02, 1.02))
    axes.set_title(r"$D_i$ of the two sets' features; dots: jumps between levels", loc="left", color=GEOMETRY)
    axes.tick_params(labelbottom=False)


def _llc(axes: Axes, results: xr.Dataset, run: int) -> None:
    """lambda-hat where w* may be a minimum; the change points with their intervals; what the Hessian alone gives."""
    step = np.maximum(results.step.values, 7)
    value, stderr = (curve[run] for curve in usable(results))
    axes.fill_between(step, value - 2 * stderr, value + 2 * stderr, color=LLC, alpha=0.22, lw=0)
    axes.plot(step, value, ".-", color=LLC, lw=1.4, ms=4, label=r"$\hat\lambda$ $\pm$ 2 stderr (none: negative)")
    axes.plot(step, hessian_sum(results)[run], color=GREY, lw=1, label=r"$\frac{1}{2}\sum h/(h+\gamma/n\beta)$")
    _intervals(axes, results, "llc", run, 0.04, LLC)
    axes.set(ylabel=r"learning coefficient $\hat\lambda$", xlabel="steps of SGD", ylim=(-0.6, 3.2))
    here = results.sel(setting=MAIN)
    axes.set_title(rf"$\hat\lambda$, $n\beta$ = {float(here.nbeta):g}, $\gamma$ = {float(here.gamma):g}; blue: the loss's transitions", loc="left", color=LLC)  # fmt: skip
    axes.legend(fontsize=8.5, loc="upper left")


def _levels(upper: Axes, lower: Axes, results: xr.Dataset) -> None:
    """The run of many features with the latest drop of its loss."""
    drops = [max(run, default=-1) for run in places(results.level_loss_jump)]
    run, first = int(np.argmax(drops)), max(settled(results), 0)
    step = results.level_step.values
    D = results.level_dimensionality.values[run]
    upper.plot(step, D, lw=0.6, alpha=0.6, color=GEOMETRY)
    moved = np.isfinite(results.level_dimensionality_jump.values[run]).any(axis=0)
    if moved.any():
        upper.plot(step, D[:, moved], lw=1.6, color=LLC)
    upper.set(ylabel=r"$D_i$", ylim=(-0.02, 0.85), xlim=(0, step[-1]))
    upper.tick_params(labelbottom=False)
    upper.set_title(
        f"{D.shape[1]} equal features in {results.attrs['hidden']} dimensions, run {run}; red: those that jump later"
    )
    loss = results.level_loss.values[run]
    lower.plot(step, loss, color=LOSS, lw=1.6)
    for i in places(results.level_loss_jump)[run]:
        for axes in (upper, lower):
            axes.axvline(step[i], color=LOSS, lw=0.9, ls=(0, (4, 3)), zorder=1)
    late = loss[first:][np.isfinite(loss[first:])]
    if late.size:
        lower.set_ylim(late.min() - 0.3 * np.ptp(late) - 1e-3, late.max() + 0.3 * np.ptp(late) + 1e-3)
    lower.set(xlim=(0, step[-1]), ylabel="loss")
    lower.text(0.5, 0.93, "steps of Adam", transform=lower.transAxes, ha="center", va="top", fontsize=9)


PAIRS = (
    ("dimensionality", "loss", r"$D_i$ with loss"),
    ("dimensionality", "llc", r"$D_i$ with $\hat\lambda$"),
    ("llc", "loss", r"$\hat\lambda$ with loss"),
    ("loss", "llc", r"loss with $\hat\lambda$"),
)


def _alignment(axes: Axes, results: xr.Dataset) -> None:
    """The share of transitions that coincide, beside the two nulls."""
    for y, (one, other, _label) in enumerate(PAIRS):
        at = [places(results[f"{name}_jump"]) for name in (one, other)]
        shuffled, shifted = aligned(at[0], at[1], results.sizes["time"])
        axes.barh(-y, shuffled.share, color=LOSS if "loss" in (one, other) else LLC, height=0.6, alpha=0.75)
        axes.plot([shuffled.null] * 2, [-y - 0.35, -y + 0.35], color="black", lw=1.6)
        axes.plot([shifted.null] * 2, [-y - 0.35, -y + 0.35], color="black", lw=1.2, ls=":")
        axes.text(1.02, -y, f"p {shuffled.p_value:.3f}, {shifted.p_value:.3f}", va="center", fontsize=8.5)
    axes.set(xlim=(0, 1), yticks=range(0, -len(PAIRS), -1))
    axes.set_yticklabels([label for *_, label in PAIRS], fontsize=9)
    axes.set_title("share that coincide (line: other runs; dotted: shifted in time)")


def _steps(axes: Axes, results: xr.Dataset) -> None:
    """The change of lambda-hat at each transition of the loss, a dot for each run."""
    steps = steps_of(results)
    for i, changes in enumerate(steps):
        spread = np.linspace(-0.12, 0.12, max(len(changes), 1))[: len(changes)]
        axes.plot(i + 1 + spread, changes, "o", color=LLC, ms=5, alpha=0.7)
    axes.axhline(0, color=GREY, lw=0.9)
    axes.set(
        xticks=range(1, len(steps) + 1), xlabel="transition of the loss, in order", ylabel=r"change of $\hat\lambda$"
    )
    axes.set_xlim(0.5, max(len(steps), 1) + 0.5)
    axes.set_title(r"the loss falls at each; $\hat\lambda$ (all runs, medians between transitions)")
