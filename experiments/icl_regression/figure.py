"""The figure of `icl_regression`: what is learned, lambda-hat loose and localised, and where each reading puts the stages."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.icl_regression.report import SETTINGS, largest, title
from experiments.icl_regression.stages import READINGS, edges
from slt.curves import regress
from slt.estimate import LLC

COLORS = {"loss": "#1b6ca8", "loose": "#b08d2f", "localised": "#c8553d", "second": "#7a9a4e"}
GREY, BAD = "#8a8f94", "#7b2d8b"
STYLE: Any = plots.STYLE | {"axes.titlesize": 10.5, "axes.titlelocation": "left", "legend.fontsize": 8.5}


def draw(results: xr.Dataset) -> Figure:
    """Left: what is learned, the loose curves, the localised ones. Right: boundaries, curve on loss, Bayes predictors."""
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(12, 9.6), layout="constrained")
        rows = figure.add_gridspec(3, 2, width_ratios=[1.35, 1])
        left = [figure.add_subplot(rows[i, 0]) for i in range(3)]
        for axes, part in zip(left, (_learned, _loose, _localised), strict=True):
            _time(axes, results)
            part(axes, results)
        right = [figure.add_subplot(rows[i, 1]) for i in range(3)]
        for axes in right[::2]:
            _time(axes, results)
        _boundaries(right[0], results)
        _against(right[1], results)
        _bayes(right[2], results)
        left[-1].set_xlabel("step of Adam (log; the start at the left end)")
        figure.suptitle(
            f"In-context linear regression, {results.sizes['run']} runs of a transformer of {results.attrs['parameters']} weights",
            fontweight="bold",
            fontsize=11,
        )
        plt.close(figure)
    return figure


def _x(results: xr.Dataset) -> np.ndarray:
    """Steps for a log axis: the start is put before the first checkpoint after it."""
    step = results.step.values.astype(float)
    return np.maximum(step, step[1] / 2)


def _time(axes: Axes, results: xr.Dataset) -> None:
    """Time, and where LR1 and LR2 end in each run."""
    x = _x(results)
    axes.set_xscale("log")
    axes.set_xlim(x[0] * 0.9, x[-1] * 1.1)
    for at in edges(results):
        for i, style in zip(at, ((0, (1, 2)), (0, (5, 3))), strict=True):
            axes.axvline(float(x[i]), color=GREY, lw=0.9, ls=style, zorder=0)


def _learned(axes: Axes, results: xr.Dataset) -> None:
    fresh, x = results.sel(prior="fresh", on="fresh").mean("position"), _x(results)
    for run in range(results.sizes["run"]):
        here, label = fresh.isel(run=run), run == 0
        axes.plot(x, here.mse, "o-", color=COLORS["loss"], ms=3, lw=1.2, label="MSE" if label else None)
        axes.plot(x, here["size"], "-", color=BAD, lw=1.2, label=r"$|\hat y|^2$" if label else None)
    axes.axhline(results.attrs["chance"], color="black", lw=0.8, ls="--", label=r"zero predictor, $D+\sigma^2$")
    axes.axhline(float(fresh.ridge.mean()), color="black", lw=0.8, ls=":", label="ridge")
    axes.set_ylim(bottom=0, top=1.5 * results.attrs["chance"])
    axes.set_title("Zero first (LR1 ends, dotted), then regression in context (learned, dashed)")
    axes.set_ylabel("mean square")
    axes.legend(loc="upper right", ncols=4)


def _loose(axes: Axes, results: xr.Dataset) -> None:
    here, x = results.sel(setting="loose"), _x(results)
    nbeta = float(here.nbeta)
    for run in range(results.sizes["run"]):
        value, loss = here.value.values[run], here.loss_at_centre.values[run]
        fit = _fit(value, loss)
        axes.plot(x, fit.intercept + fit.slope * loss, color=COLORS["loss"], lw=5, alpha=0.3, label="const - slope $L(w^*)$" if run == 0 else None)  # fmt: skip
        _points(axes, x, here.isel(run=run), COLORS["loose"], r"$\hat\lambda$" if run == 0 else None)
    axes.set_title(rf"Loose ($n\beta$ = {nbeta:g}, $\gamma$ = {float(here.gamma):g}): saturation {float(here.saturation.median()):.2f}")  # fmt: skip
    axes.set_ylabel(r"$\hat\lambda$, loose")
    axes.legend(loc="lower right")


def _fit(value: np.ndarray, loss: np.ndarray) -> Any:
    nothing = LLC(*[np.float32(np.nan)] * len(LLC._fields))  # type: ignore[arg-type]
    return regress(nothing._replace(value=value, loss_at_centre=loss))


def _points(axes: Axes, x: np.ndarray, here: xr.Dataset, color: str, label: str | None) -> None:
    """A curve with two standard errors, unclipped; crosses where it is flagged as negative."""
    value = here.value.values
    flagged = np.char.find(here.findings.values.astype(str), "negative") >= 0
    axes.errorbar(x, value, 2 * here.stderr.values, fmt="o-", color=color, ms=3, lw=0.9, alpha=0.8, label=label)
    axes.plot(x[flagged], value[flagged], "x", color=BAD, ms=8, zorder=5)


def _localised(axes: Axes, results: xr.Dataset) -> None:
    x = _x(results)
    for name in SETTINGS[1:]:
        here = results.sel(setting=name)
        for run in range(results.sizes["run"]):
            _points(axes, x, here.isel(run=run), COLORS[name], rf"$n\beta$ = {float(here.nbeta):g}" if run == 0 else None)  # fmt: skip
    values = results.value.sel(setting=list(SETTINGS[1:])).values
    if (values < 0).any():
        axes.plot([], [], "x", color=BAD, ms=8, label="flagged: negative")
    axes.axhline(0, color=GREY, lw=0.7)
    top = np.nanmax(values, initial=1.0)
    axes.set_yscale("symlog", linthresh=float(max(top, 1.0)), linscale=2)
    axes.set_title(rf"Localised ($\gamma$ = {float(results.gamma.sel(setting='localised')):g}), two standard errors; linear up to {top:.3g}, log below")  # fmt: skip
    axes.set_ylabel(r"$\hat\lambda$, localised")
    axes.legend(loc="lower right", ncols=3)


def _boundaries(axes: Axes, results: xr.Dataset) -> None:
    """The largest change of level of each run with its interval; milestones between certain stages as rings."""
    runs = results.sizes["run"]
    for row, name in enumerate(READINGS):
        for run, (at, low, high) in enumerate(largest(results, name)):
            y = row + 0.5 * (run + 0.5) / runs - 0.25
            axes.plot([low, high], [y, y], color=COLORS[name], lw=2.5, alpha=0.5)
            axes.plot(at, y, "o", color=COLORS[name], ms=5)
            found = results.milestone.sel(reading=name, recipe="supported", interval="step").values[run]
            axes.plot(found, np.full(len(found), y), "o", mfc="none", color=COLORS[name], ms=7)
    axes.set_yticks(range(len(READINGS)), labels=[title(results, name).replace(" at", "\nat") for name in READINGS])
    axes.invert_yaxis()
    axes.set_title("Largest change of level, with interval (rings: milestones)")


def _against(axes: Axes, results: xr.Dataset) -> None:
    for name in SETTINGS[1:]:
        here = results.sel(setting=name)
        for run in range(results.sizes["run"]):
            axes.plot(here.loss_at_centre.values[run], here.value.values[run], "o-", color=COLORS[name], ms=3, lw=0.7, label=rf"$n\beta$ = {float(here.nbeta):g}" if run == 0 else None)  # fmt: skip
    values = results.value.sel(setting=list(SETTINGS[1:])).values
    axes.set_yscale("symlog", linthresh=float(max(np.nanmax(values, initial=1.0), 1.0)), linscale=2)
    axes.axhline(0, color=GREY, lw=0.7)
    axes.set_title("Localised, against the loss: time runs to the left")
    axes.set_xlabel("$L(w^*)$")
    axes.set_ylabel(r"$\hat\lambda$, localised")
    axes.legend(loc="lower left")


def _bayes(axes: Axes, results: xr.Dataset) -> None:
    """Distances to both Bayes predictors, on the kind of task of the training: mean over runs."""
    x, mean = _x(results), results.mean(("position", "run"))
    for prior, style, text in (("fresh", "-", "fresh tasks"), ("few", "--", f"{results.attrs['pool']} tasks")):
        here = mean.sel(prior=prior, on=prior)
        for name, color in (("to_ridge", "black"), ("to_dmmse", BAD)):
            axes.plot(x, here[name], style, color=color, lw=1.5, label=f"{name[3:]}, {text}")
    axes.set_yscale("log")
    axes.set_title("Mean squared distance to the Bayes predictors")
    axes.set_xlabel("step of Adam")
    axes.legend(loc="lower left")
