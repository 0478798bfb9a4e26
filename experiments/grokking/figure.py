"""The figure of `grokking`: a run of each kind, and when each announcer sounds."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import slt
from experiments.grokking.announce import FIXED, THRESHOLDS, ahead, jumps, memorised, ratios, silent, sounded
from experiments.grokking.case import GROKKING, KINDS
from experiments.grokking.report import lead, of_kind
from experiments.shared import plots

TEST, WARM, GREY = "#c8553d", "#b08d2f", "#8a8f94"
WAYS = dict(zip(KINDS, (("o", "#1b6ca8"), ("s", WARM), ("D", "#3f8f5f")), strict=True))
STYLE: Any = plots.STYLE | {"axes.titlelocation": "left", "axes.titlesize": 9, "legend.fontsize": 8}


def draw(results: xr.Dataset) -> Figure:
    """Above, by columns: losses and lambda-hat of one run of each kind. Below: the leads of the announcers."""
    with plt.rc_context(STYLE):
        kinds = results.kind.values.tolist()
        shown = [kinds.index(kind) for kind in dict.fromkeys(kinds)]  # the first run of every kind
        figure = plt.figure(figsize=(13, 9), layout="constrained")
        rows = figure.add_gridspec(3, len(shown), height_ratios=[1, 1.1, 1.3])
        for column, run in enumerate(shown):
            pair = [figure.add_subplot(rows[row, column]) for row in (0, 1)]
            _run(pair, results.isel(run=[run]))
        _leads(figure.add_subplot(rows[2, :]), results)
        figure.suptitle("Grokking: what falls, and what announces it", fontweight="bold")
        plt.close(figure)
    return figure


def _run(pair: list[Axes], one: xr.Dataset) -> None:
    """Losses, and lambda-hat at both temperatures, with memorisation (dotted) and the jump (line)."""
    warm, cold = (one.sel(setting=setting) for setting in one.setting.values)
    losses, coefficients = slt.plots.curve(cold.drop_vars("findings"), pair, phases=[])
    losses.plot(one.step, one.test_loss.values[0], color=TEST, lw=1.5, label="test")
    for here, color in ((warm, WARM), (cold, slt.plots.LLC)):
        name = rf"n$\beta$ = {float(here.nbeta):g}"
        coefficients.plot(one.step, here.value.values[0], color=color, lw=1.5, label=name)
    losses.set(title=f"{one.kind.item()}, seed {one.seed.item()}", yscale="log", ylim=(1e-9, 100))
    coefficients.set_yscale("symlog", linthresh=1e-3, linscale=0.5)
    coefficients.autoscale(axis="y")
    first, jump = int(memorised(one)[0]), float(jumps(one)[0])
    for axes, place in zip(pair, ("lower left", "upper right"), strict=True):
        axes.set(xscale="linear", xlim=(0, one.step.values[-1]))
        axes.axvline(one.step.values[first] if first < one.sizes["step"] else np.nan, color=GREY, lw=1, ls=":")
        axes.axvline(jump, color=TEST, lw=1, alpha=0.5)
        axes.legend(loc=place)


def _leads(axes: Axes, results: xr.Dataset) -> None:
    """Median lead and interval: at the fixed threshold, and at those that are silent on each kind of control."""
    kind, step, jump = results.kind.values, results.step.values, jumps(of_kind(results, GROKKING))
    each, names = ratios(results), []
    far = -1.1 * step[-1]
    for row, (name, ratio) in enumerate(each.items()):
        fixed = THRESHOLDS.get(name, FIXED)
        names.append(f"{name} ({fixed:g})")
        for place, (way, (marker, color)) in enumerate(WAYS.items()):
            below = fixed if way == GROKKING else silent(ratio[kind == way])
            leads = ahead(sounded(ratio[kind == GROKKING], step, below), jump)[np.isfinite(jump)]
            if leads.size and (kind == way).any():
                y, found = row + 0.22 * (place - 1), lead(name, leads)
                axes.plot(np.maximum([found.low, found.high], far), [y, y], color=color, lw=1.5)
                axes.plot(max(found.value, far), y, marker, color=color, ms=5)
    for way, (marker, color) in WAYS.items():
        axes.plot([], [], marker, color=color, label="fixed threshold" if way == GROKKING else f"silent on: {way}")
    axes.axvline(0, color=TEST, lw=1)
    axes.set(xlim=(far * 1.05, -far * 0.95), xlabel="steps before the jump of the test loss")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_title("Lead over the jump (median over seeds, 95 %; left edge: never)")
    axes.legend(loc="lower right")
