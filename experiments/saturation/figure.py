"""The figure of the `saturation` experiment: one trajectory under both settings, and what each leaves of a transition."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.saturation.report import (
    curves,
    exact,
    held,
    learned_at,
    levels,
    localised,
    loose,
    rank,
    regressions,
    share,
    shares,
    trouble,
)

LOSS, LOOSE, LOCAL, GREY, BAD = "#1b6ca8", "#b08d2f", "#c8553d", "#8a8f94", "#7b2d8b"
STYLE: Any = plots.STYLE | {"axes.titlesize": 10.5, "axes.titlelocation": "left", "legend.fontsize": 8.5}


def draw(results: xr.Dataset) -> Figure:
    """Left: loss, loose curve, localised curve of one run. Right: lambda-hat on the loss, twice, and the shares."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(12, 9.4), layout="constrained")
        rows = figure.add_gridspec(3, 2, width_ratios=[1.5, 1], height_ratios=[1, 1, 1.25])
        run = _choose(results)
        left = [figure.add_subplot(rows[i, 0]) for i in range(3)]
        for axes, part in zip(left, (_loss, _loose, _localised), strict=True):
            _learned(axes, results, run)
            part(axes, results, run)
        left[-1].set_xlabel(f"step of gradient descent (run of seed {int(results.seed[run])})")
        _against_the_loss(figure.add_subplot(rows[0, 1]), results, "loose", LOOSE)
        _against_the_loss(figure.add_subplot(rows[1, 1]), results, "localised", LOCAL)
        _shares(figure.add_subplot(rows[2, 1]), results)
        figure.suptitle(
            "Loose chains give back the loss with its sign turned; localised ones weigh what was learned by its dimensions, as the Hessian does",
            fontweight="bold",
            fontsize=11,
        )
        plt.close(figure)
    return figure


def _choose(results: xr.Dataset) -> int:
    """The run with checkpoints on most plateaus, and most of them on the last."""
    at = rank(results)
    return max(range(len(at)), key=lambda run: (len(set(at[run]) - {-1}), int((at[run] == at.max()).sum())))


def _learned(axes: Axes, results: xr.Dataset, run: int) -> None:
    """Time, and a line where each singular value counts as learned."""
    step = results.step.values
    axes.set_xscale("log")
    axes.set_xlim(step[1] * 0.93, step[-1] * 1.07)
    for at in learned_at(results)[run]:
        axes.axvline(step[at], color=GREY, lw=1, ls=(0, (2, 2)), zorder=0)


def _name_learned(axes: Axes, results: xr.Dataset, run: int) -> None:
    values = sorted(results.target.values[results.target.values > 0])[::-1]
    for value, at in zip(values, learned_at(results)[run], strict=False):
        axes.annotate(
            f"{value:g} learned", (results.step.values[at], 1), xycoords=("data", "axes fraction"), xytext=(3, 2),
            textcoords="offset points", ha="left", va="top", fontsize=8.5, color=GREY,
        )  # fmt: skip


def _loss(axes: Axes, results: xr.Dataset, run: int) -> None:
    part = loose(results).isel(run=run)
    step = results.step.values
    axes.plot(step[1:], part.loss.values[1:], "o-", color=LOSS, ms=3.5, label="$L(w^*)$ of the checkpoint")
    axes.plot(step[1:], part.mean_loss.values[1:], color=LOOSE, lw=2, label="E[$L$] of the loose chains")
    axes.plot(step[1:], localised(results).isel(run=run).mean_loss.values[1:], ":", color=LOCAL, lw=2, label="E[$L$] of the localised chains")  # fmt: skip
    axes.set_title("The loose chains' loss is the same wherever they start: they forget the checkpoint")
    axes.set_ylabel("loss", color=LOSS)
    axes.set_ylim(bottom=-0.4)
    axes.legend(loc="center right")
    _name_learned(axes, results, run)


def _loose(axes: Axes, results: xr.Dataset, run: int) -> None:
    part, step = loose(results).isel(run=run), results.step.values[1:]
    fit, nbeta = regressions(loose(results))[run], float(part.nbeta)
    axes.plot(step, fit.intercept + fit.slope * part.loss.values[1:], color=LOSS, lw=5, alpha=0.3, label=f"{fit.intercept:.1f} {fit.slope:+.3f} $L(w^*)$")  # fmt: skip
    axes.errorbar(step, part.value.values[1:], part.stderr.values[1:], fmt="o", color=LOOSE, ms=3.5, lw=1, label=r"$\hat\lambda$")  # fmt: skip
    axes.axhline(0, color=GREY, lw=0.6)
    axes.set_title(rf"Loose ($n\beta$ = {nbeta:g}, $\gamma$ = {float(part.gamma):.2g}): $\hat\lambda$ is $n\beta$ (const $-\,L$)")  # fmt: skip
    axes.set_ylabel(r"$\hat\lambda$, loose", color=LOOSE)
    axes.legend(loc="center right")


def _localised(axes: Axes, results: xr.Dataset, run: int) -> None:
    """The localised curve beside the second-order expansion and the exact values, on a scale that shows -10^4 as well."""
    part, step = localised(results).isel(run=run), results.step.values[1:]
    value, bad = part.value.values[1:], trouble(localised(results))[run, 1:]
    axes.set_yscale("symlog", linthresh=20, linscale=3)
    for r, level in enumerate(exact(results)):
        axes.axhline(level, color="black", lw=0.7, ls=(0, (5, 3)), label=r"exact $\lambda$ of the plateaus, 0 to 13.5" if r == 0 else None)  # fmt: skip
    axes.plot(step, part.quadratic.values[1:], color=LOCAL, lw=4, alpha=0.3, label="second-order expansion, slope and Hessian")  # fmt: skip
    shown = lambda where: np.where(where, value, np.nan)
    axes.errorbar(step, shown(~bad), part.stderr.values[1:], fmt="o", color=LOCAL, ms=4, lw=1, label=r"$\hat\lambda$")
    axes.plot(step, shown(bad), "x", color=BAD, ms=6, label=r"$\hat\lambda$, flagged: chains below $L(w^*)$")
    weak = held(results).isel(run=run)
    fine = ~trouble(held(results))[run, 1:] & (rank(results)[run, 1:] > 0)
    axes.plot(step, np.where(fine, weak.value.values[1:], np.nan), "o", mfc="none", color=LOCAL, ms=5, label=rf"the same at $\gamma$ = {float(weak.strength):g}$\,n\beta$, where it holds the chains")  # fmt: skip
    ratio = float(results.attrs["strength"])
    axes.set_title(rf"Localised ($n\beta$ = {float(part.nbeta):g}, $\gamma$ = {ratio:g}$\,n\beta$): a level for each rank, less than $\lambda$ by what $\gamma$ holds")  # fmt: skip
    axes.set_ylabel(r"$\hat\lambda$, localised", color=LOCAL)
    axes.set_ylim(top=16)
    ticks = [t for t in (-1e5, -1e4, -1e3, -1e2) if t >= axes.get_ylim()[0]]
    axes.set_yticks([*ticks, -10, 0, 5, 10], labels=[f"$-10^{{{np.log10(-t):.0f}}}$" for t in ticks] + ["-10", "0", "5", "10"])  # fmt: skip
    axes.minorticks_off()
    axes.legend(loc="lower right")


def _against_the_loss(axes: Axes, results: xr.Dataset, name: str, color: str) -> None:
    """lambda-hat on the loss, all runs; what is below the axis is at its edge and counted."""
    part = {"loose": loose, "localised": localised}[name](results)
    loss, value, at = part.loss.values, part.value.values, rank(results)
    flat = at >= 0
    axes.plot(loss[flat], value[flat], "o", color=color, ms=4, alpha=0.6, label="on a plateau")
    low = np.nanmin(value[flat], initial=0) - 0.1 * np.ptp(value[flat & np.isfinite(value)]) if flat.any() else -1.0
    inside = ~flat & (value > low)
    axes.plot(loss[inside], value[inside], "o", mfc="none", color=color, ms=4, label="between plateaus")
    below = ~flat & (value <= low)
    if below.any():
        axes.plot(loss[below], np.full(below.sum(), low), "v", color=BAD, ms=6, label=f"{below.sum()} lower, to {value[below].min():.2g}")  # fmt: skip
    axes.set_title(_shape(results, part, name))
    if name == "localised":
        middle = [np.nanmedian(level) if np.isfinite(level).any() else np.nan for level in levels(results, value).T]
        at_loss = [np.nanmedian(level) if np.isfinite(level).any() else np.nan for level in levels(results, loss).T]
        axes.plot(at_loss, middle, color=color, lw=1.2, alpha=0.6, zorder=0)
    axes.set_xlabel("$L(w^*)$", color=LOSS)
    axes.set_ylabel(r"$\hat\lambda$", color=color)
    axes.legend(loc="best")


def _shape(results: xr.Dataset, part: xr.Dataset, name: str) -> str:
    """How straight the cloud is: R^2 in each run, or the ratio of its last slope to its first."""
    if name == "loose":
        median = np.floor(1e4 * np.median([fit.r_squared for fit in regressions(part)])) / 1e4
        return rf"Loose: in each run a line of slope $-n\beta$ ($R^2$ = {median:.4g})"
    slopes = shares(results, part.value.values) / shares(results, part.loss.values)
    return f"Localised: bent, its last slope is {slopes[-1] / slopes[0]:.1f} times the first"


def _shares(axes: Axes, results: xr.Dataset) -> None:
    """How a reading divides its whole change among the singular values learned."""
    found = curves(results)
    bars = [
        ("loss $L(w^*)$", shares(results, found["loss"]), LOSS),
        (r"$\hat\lambda$, loose", shares(results, found["loose"]), LOOSE),
        (r"$\hat\lambda$, localised", shares(results, found["localised"]), LOCAL),
        ("tr of the Hessian", shares(results, found["trace"]), GREY),
        (r"exact $\lambda$", share(exact(results)), "black"),
    ]
    for place, (_, parts, color) in enumerate(bars):
        start = 0.0
        for i, (part, shade) in enumerate(zip(np.nan_to_num(parts), (0.9, 0.55, 0.3), strict=True)):
            axes.barh(place, part, left=start, color=color, alpha=shade, edgecolor="white")
            if part > 0.03:
                axes.text(start + part / 2, place, f"{part:.0%}", ha="center", va="center", fontsize=9 if part > 0.08 else 7, color="white" if i == 0 else "black")  # fmt: skip
            start += part
    axes.set_yticks(range(len(bars)), labels=[name for name, _, _ in bars])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title("Share of the change by learning 4, 2 and 1")
