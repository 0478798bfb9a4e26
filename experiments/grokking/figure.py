"""The figure of the `grokking` experiment: a run of each kind, and when each announcer sounds."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments import plots
from experiments.grokking.announce import SMALL, Lead, jumps, memorised, negative, sounded, threshold
from experiments.grokking.announce import ratios as all_ratios
from experiments.grokking.cases import KINDS
from experiments.grokking.report import CONTROLS, leads, stages

TRAIN, TEST, RESTRICTED, EXCLUDED, GREY = "#1b6ca8", "#c8553d", "#3f8f5f", "#b08d2f", "#8a8f94"
WARM, COLD, BAD = "#3d3d8f", "#9a7fd1", "#d0021b"
STYLE: Any = plots.STYLE | {"font.size": 9.5, "axes.titlelocation": "left", "legend.fontsize": 8}


def draw(results: xr.Dataset) -> Figure:
    """Above, by columns: losses, lambda-hat, norm and Gini of one run of each kind. Below: the leads of the announcers."""
    with plt.rc_context(STYLE):
        shown = _chosen(results)
        figure = plt.figure(figsize=(12.5, 12), layout="constrained")
        rows = figure.add_gridspec(4, 2 * len(shown), hspace=0.03, height_ratios=[1, 1.15, 0.8, 1.9])
        for column, run in enumerate(shown):
            for row, part in enumerate((_losses, _coefficients, _structure)):
                axes = figure.add_subplot(rows[row, 2 * column : 2 * column + 2])
                _time(axes, results, run)
                part(axes, results, run, column == 0)
                if row == 0:
                    axes.set_title(_name(results, run))
        _leads(figure.add_subplot(rows[3, : len(shown)]), results)
        _fall(figure.add_subplot(rows[3, len(shown) :]), results)
        figure.suptitle("Grokking: what falls, and what announces it", fontweight="bold", fontsize=11)
        plt.close(figure)
    return figure


def _chosen(results: xr.Dataset) -> list[int]:
    """The MLP whose jump is the middle one, a transformer, and a control of each kind, as far as there are."""
    found = []
    for model, kind in [("mlp", KINDS[0]), ("transformer", KINDS[0]), *(("mlp", control) for control in CONTROLS)]:
        of = np.flatnonzero((results.model.values == model) & (results.kind.values == kind))
        if len(of):
            order = np.argsort(np.nan_to_num(jumps(results.isel(run=of)), nan=np.inf))
            found.append(int(of[order[(len(of) - 1) // 2]]))
    return found


def _name(results: xr.Dataset, run: int) -> str:
    titles: dict[str, str] = dict(zip(KINDS, ("", ", no decay", ", 1/3 of data"), strict=True))
    return f"{results.model.values[run]}{titles[str(results.kind.values[run])]} (seed {int(results.seed[run])})"


def _time(axes: Axes, results: xr.Dataset, run: int) -> None:
    """Steps, with memorisation (dotted) and the jump (line)."""
    step = results.step.values
    axes.set_xlim(0, step[-1])
    one = results.isel(run=[run])
    first, jump = int(memorised(one)[0]), float(jumps(one)[0])
    if first < len(step):
        axes.axvline(step[first], color=GREY, lw=1, ls=":")
    if np.isfinite(jump):
        axes.axvline(jump, color=TEST, lw=1, alpha=0.5)


def _losses(axes: Axes, results: xr.Dataset, run: int, label: bool) -> None:
    here = results.isel(run=run)
    for name, color, text in (
        ("loss", TRAIN, "train"), ("test_loss", TEST, "test"), ("restricted", RESTRICTED, "restricted (test)"),
        ("excluded", EXCLUDED, "excluded (train)"),
    ):  # fmt: skip
        axes.plot(here.step, here[name], color=color, lw=1.5, label=text)
    axes.set_yscale("log")
    axes.set_ylim(1e-9, 100)
    if label:
        axes.set_ylabel("loss, nats")
        axes.legend(loc="lower left", ncols=2)


def _coefficients(axes: Axes, results: xr.Dataset, run: int, label: bool) -> None:
    """lambda-hat at both temperatures; ticks: boundaries of stages with their intervals; open red: negative."""
    step = results.step.values
    for i, (setting, color) in enumerate(zip(results.setting.values, (WARM, COLD), strict=True)):
        here = results.sel(setting=setting).isel(run=run)
        value, error = here.value.values, 2 * here.stderr.values
        axes.fill_between(step, value - error, value + error, color=color, alpha=0.25, lw=0)
        axes.plot(step, value, "o-", ms=2.5, lw=1.2, color=color, label=f"$\\hat\\lambda$, n$\\beta$ = {float(here.nbeta):g}")  # fmt: skip
        below = negative(here)
        axes.plot(step[below], value[below], "o", ms=5, mfc="none", mec=BAD)
        for t, low, high in stages(results, str(setting))[run]:
            height = 0.97 - 0.045 * i
            at: Any = axes.get_xaxis_transform()
            axes.plot([step[low], step[high]], [height] * 2, color=color, lw=2.5, transform=at, alpha=0.6)
            axes.plot(step[t], height, "|", ms=8, color=color, transform=at)
    axes.set_yscale("symlog", linthresh=SMALL, linscale=0.5)
    axes.axhline(0, color=GREY, lw=0.6)
    bottom, top = axes.get_ylim()
    axes.set_ylim(min(bottom, -SMALL / 2), max(top, 1) * 60)
    axes.set_yticks([-10, -0.1, 0, 0.1, 10] if bottom < -0.1 else [0, 1e-3, 0.1, 10])
    if label:
        axes.set_ylabel("$\\hat\\lambda$")
        axes.legend(loc="upper right", bbox_to_anchor=(1, 0.88))


def _structure(axes: Axes, results: xr.Dataset, run: int, label: bool) -> None:
    here = results.isel(run=run)
    axes.plot(here.step, here.norm / here.norm.max(), color=GREY, lw=1.5, label="$\\Sigma w^2$ / its maximum")
    axes.plot(here.step, here.gini, color=RESTRICTED, lw=1.5, label="Gini of $W_E$")
    axes.plot(here.step, here.test_accuracy, color=TEST, lw=1, label="test accuracy")
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("step")
    if label:
        axes.legend(loc="center right")


def _leads(axes: Axes, results: xr.Dataset) -> None:
    """Median lead and interval: at the fixed threshold, and at those that are silent on each kind of control."""
    part = results.isel(run=results.model.values == "mlp")
    table = leads(part)
    ways = [("fixed", "fixed threshold", "o", TRAIN)]
    ways += [(c, f"silent on: {c}", m, color) for c, m, color in zip(CONTROLS, "sD", (EXCLUDED, RESTRICTED), strict=True)]  # fmt: skip
    far = -1.1 * float(results.step[-1])
    for row, name in enumerate(table):
        for i, (way, text, marker, color) in enumerate(ways):
            lead: Lead = table[name][way]
            y = row + 0.22 * (i - 1)
            if not lead.runs:
                continue
            place = lambda x: max(x, far)
            axes.plot([place(lead.low), place(lead.high)], [y, y], color=color, lw=1.5)
            axes.plot(place(lead.value), y, marker, color=color, ms=5, label=text if row == 0 else None)
    axes.axvline(0, color=TEST, lw=1)
    axes.set_xlim(far * 1.05, -far * 0.95)
    axes.set_yticks(range(len(table)), [f"{name} ({threshold(name):g})" for name in table])
    axes.invert_yaxis()
    axes.set_title("Lead over the jump (MLP, median over seeds, 95 %; left edge: never)")
    axes.set_xlabel("steps before the jump of the test loss")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.1), ncols=3)


def _fall(axes: Axes, results: xr.Dataset) -> None:
    """Thresholds from 1 down: in which share of the runs of each kind an announcer sounds at all."""
    part = results.isel(run=results.model.values == "mlp")
    below, each = np.geomspace(1, 1e-7, 60), all_ratios(part)
    warm = next(name for name in each if name.startswith("lambda-hat"))
    colors = {warm: WARM, "train loss": TRAIN, "restricted loss": RESTRICTED, "test loss": TEST}
    for name, color in colors.items():
        for kind, style in zip(KINDS, ("-", "--", ":"), strict=True):
            ratio = each[name][part.kind.values == kind]
            if len(ratio):
                share = [np.mean(np.isfinite(sounded(ratio, part.step.values, b))) for b in below]
                axes.plot(below, share, style, color=color, lw=1.6)
    handles = [Line2D([], [], color=color, label=name) for name, color in colors.items()]
    handles += [Line2D([], [], color="k", ls=style, label=kind) for kind, style in zip(KINDS, ("-", "--", ":"), strict=True)]  # fmt: skip
    axes.set_xscale("log")
    axes.invert_xaxis()
    axes.set_ylim(-0.03, 1.03)
    axes.set_yticks([0, 0.5, 1])
    axes.set_title("Share of runs that an announcer sounds in, by its threshold")
    axes.set_xlabel("threshold, of the largest value since memorisation")
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.1), ncols=3)
