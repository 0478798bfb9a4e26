"""The figure of the `saturation` experiment: one trajectory, and what each setting leaves of a transition."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.saturation.report import exact, learned_at, rank, shares, steps, trouble
from experiments.shared import plots

LOSS, LOOSE, LOCAL, GREY, BAD = "#1b6ca8", "#b08d2f", "#c8553d", "#8a8f94", "#7b2d8b"
COLOURS = {"the loss": LOSS, "loose": LOOSE, "localised": LOCAL, "tr of the Hessian": GREY, r"exact $\lambda$": "black"}
STYLE = plots.STYLE | {"axes.titlelocation": "left", "legend.fontsize": 8.5}


def draw(results: xr.Dataset) -> Figure:
    """Of one run the loss and the localised curve; of all runs, which share each learned value has of the readings."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(17, 5.6), layout="constrained", width_ratios=[1, 1.2, 1])
        at, step = rank(results), results.step.values  # a run with checkpoints on most plateaus, most on the last
        run = max(range(len(at)), key=lambda run: (len(set(at[run]) - {-1}), int((at[run] == at.max()).sum())))
        one = results.isel(seed=run, step=slice(1, None))
        _loss(axes[0], one)
        _localised(axes[1], one, exact(results), still=at[run, 1:] >= 0)
        for place in axes[:2]:
            for learned in learned_at(results)[run]:
                place.axvline(step[learned], color=GREY, lw=1, ls=(0, (2, 2)), zorder=0)
            place.set(xscale="log", xlabel=f"step of gradient descent (run of seed {int(one.seed)})")
        _shares(axes[2], results)
        plt.close(figure)
    return figure


def _loss(axes: Axes, one: xr.Dataset) -> None:
    axes.plot(one.step, one.loss, "o-", color=LOSS, ms=3.5, label="$L(w^*)$ of the checkpoint")
    axes.plot(one.step, one.mean_loss.sel(setting="loose"), color=LOOSE, lw=2, label="E[$L$] of the loose chains")
    axes.set_title("Loose chains have the same loss wherever they start")
    axes.set_ylabel("loss", color=LOSS)
    axes.legend(loc="center right")


def _localised(axes: Axes, one: xr.Dataset, levels: np.ndarray, *, still: np.ndarray) -> None:
    """The localised curve beside the Gaussian at w* and the exact values, -10^4 included."""
    part, step = one.sel(setting="localised"), one.step.values
    value, bad = part.value.values, trouble(part)
    label = r"exact $\lambda$ of the plateaus"
    axes.hlines(levels, step[0], step[-1], color="black", lw=0.7, ls=(0, (5, 3)), label=label)
    plateau = np.where(still, one.hessian_sum, np.nan)
    axes.plot(step, plateau, color=LOCAL, lw=4, alpha=0.3, label="the Gaussian at $w^*$, on plateaus")
    good = ~bad
    axes.errorbar(step[good], value[good], part.stderr[good], fmt="o", color=LOCAL, ms=4, label=r"$\hat\lambda$")
    axes.plot(step[bad], value[bad], "x", color=BAD, ms=6, label=r"$\hat\lambda$, flagged: chains below $L(w^*)$")
    setting = rf"$n\beta$ = {float(part.nbeta):g}, $\gamma$ = {float(one.attrs['strength']):g}$\,n\beta$"
    axes.set_title(rf"Localised ({setting}): a level for each rank")
    axes.set_ylabel(r"$\hat\lambda$, localised", color=LOCAL)
    axes.set_yscale("symlog", linthresh=20, linscale=3)
    axes.set_ylim(top=16)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)


def _shares(axes: Axes, results: xr.Dataset) -> None:
    """How a reading divides its whole change among the singular values learned."""
    found = shares(results) | {r"exact $\lambda$": steps(exact(results))}
    names = list(COLOURS)
    left = np.zeros(len(names))
    for i, shade in enumerate((0.9, 0.55, 0.3)):
        parts = np.nan_to_num([found[name][i] for name in names])
        bars = axes.barh(names, parts, left=left, color=COLOURS.values(), alpha=shade, edgecolor="white")
        texts = [f"{part:.0%}" if part > 0.03 else "" for part in parts]
        axes.bar_label(bars, texts, label_type="center", fontsize=8.5, color="white" if i == 0 else "black")
        left += parts
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xticks=[])
    axes.spines["bottom"].set_visible(False)
    axes.set_title("Share of the change by learning 4, 2 and 1")
