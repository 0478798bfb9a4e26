"""The figure of `speed`: ratios beside their targets, agreement of what is computed, growth of our own cost."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.speed.report import CURVE_RATIO, ratio

MET, MISSED, PLAIN, TARGET = "#1b6ca8", "#c8553d", "#8a8f94", "#2f3e46"


def draw(results: xr.Dataset) -> Figure:
    """One panel for each part that was measured."""
    panels = [("ours", _ratios, 2.2), ("loss_ours", _losses, 1), ("llc", _llc, 1), ("exponent", _growth, 1)]
    panels = [(panel, width) for name, panel, width in panels if name in results]
    size = (3 + 4.2 * sum(width for _, width in panels), 4.6)
    with plt.rc_context(
        {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "speed"}
    ):
        figure, axes = plt.subplots(
            1, max(1, len(panels)), figsize=size, layout="constrained", squeeze=False,
            width_ratios=[width for _, width in panels] or None,
        )  # fmt: skip
        for (panel, _), ax in zip(panels, axes[0], strict=False):
            panel(ax, results)
    plt.close(figure)
    return figure


def _ratios(axes: Axes, results: xr.Dataset) -> None:
    rows = [
        (name, *ratio(results, i), float(results.target[i]))
        for i, name in enumerate(results.comparison.values.tolist())
    ]
    if "cold_curve" in results:
        curve = results.peer_curve.item() / results.cold_curve.item()
        rows.append(("a curve from a cold start: devinterp 1.3.2", curve, curve, curve, CURVE_RATIO))
    rows = [row for row in rows if np.isfinite(row[1])][::-1]
    for y, (_, middle, low, high, target) in enumerate(rows):
        colour = PLAIN if np.isnan(target) else MET if middle >= target else MISSED
        axes.barh(y, middle, color=colour, height=0.62)
        axes.plot([low, high], [y, y], color="black", lw=1.4)
        axes.text(max(high, target if np.isfinite(target) else 0) * 1.12, y, f"{middle:.3g}", va="center")
        if np.isfinite(target):
            axes.plot([target, target], [y - 0.42, y + 0.42], color=TARGET, lw=2.5)
    axes.set_yticks(range(len(rows)), [row[0] for row in rows])
    axes.set(xscale="log", xlabel="our steps a second to theirs (line: least to greatest; bar across: target)")
    axes.set_xlim(1, max([row[3] for row in rows] or [1]) * 4)
    axes.set_title("blue: target met, red: missed, grey: none set", fontsize=10, loc="left")


def _losses(axes: Axes, results: xr.Dataset) -> None:
    for i, step in enumerate(results.curve_step.values.tolist()):
        axes.plot(results.loss_ours[i], results.loss_theirs[i], "o", ms=4, alpha=0.7, label=f"step {step}")
    ends = [float(results.loss_ours.min()), float(results.loss_ours.max())]
    axes.plot(ends, ends, color=PLAIN, lw=1, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="loss of an instance, ours", ylabel="the notebook's")
    axes.set_title("same training, other random numbers", fontsize=10, loc="left")
    axes.legend(frameon=False)


def _llc(axes: Axes, results: xr.Dataset) -> None:
    names = [name.split(",")[0].replace(" ", "\n", 1) for name in results.side.values.tolist()]
    axes.errorbar(names, results.llc, 2 * results.llc_error, fmt="o", color=MET, capsize=4)
    axes.axhspan(
        *(results.llc[0].item() + s * 2 * results.llc_error[0].item() for s in (-1, 1)), color=MET, alpha=0.12, lw=0
    )
    axes.tick_params(axis="x", labelrotation=60)
    axes.set_ylabel(r"$\hat\lambda$ after 500 draws, ± 2 standard errors")
    axes.set_title("same estimate", fontsize=10, loc="left")


def _growth(axes: Axes, results: xr.Dataset) -> None:
    for i, name in enumerate(results.axis.values.tolist()):
        label = f"{name}: exponent {results.exponent[i].item():.2f}"
        axes.plot(results.multiple, results.growth[i] / results.growth[i, 0], "o-", ms=4, label=label)
    axes.plot(results.multiple, results.multiple, color=PLAIN, lw=1, zorder=0)
    axes.set(xscale="log", yscale="log", xlabel="times as many", ylabel="times as long")
    axes.set_xticks(results.multiple.values, [str(m) for m in results.multiple.values])
    axes.set_yticks(results.multiple.values, [str(m) for m in results.multiple.values])
    axes.minorticks_off()
    axes.set_title("our cost grows linearly", fontsize=10, loc="left")
    axes.legend(frameon=False, fontsize=9)
