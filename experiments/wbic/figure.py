"""The figure of `wbic`: for each model the evidence, and the generalisation error, with their estimates."""

from typing import Any

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.shared import plots
from experiments.wbic.report import aic, asymptotic, bic, mean

EXACT, CHAINS, FORMULA, OBVIOUS, GREY = "black", "#c8553d", "#1b6ca8", "#b08d2f", "#8a8f94"
ABOUT = {"regular": r"$y = w\cdot x$, $\lambda = 3/2$", "singular": r"$y = abx$, truth 0, $\lambda = 1/2$, $m = 2$"}


def draw(results: xr.Dataset) -> Figure:
    """Rows: the models. Columns: F over n, and criteria less the Bayes error; below, the legend of each column."""
    with plt.rc_context(plots.STYLE):
        figure, axes = plt.subplots(len(results.model), 2, figsize=(10, 7.5), layout="constrained", squeeze=False)
        for row, model in zip(axes, results.model.values, strict=True):
            at = results.sel(model=model)
            for axis, panel in zip(row, (_evidence, _criteria), strict=True):
                panel(axis, at)
                axis.set(xscale="log", xlabel="examples n")
                axis.set_xticks(at.n.values, at.n.values.astype(str))
                axis.minorticks_off()
            row[0].set_title(f"{model}: {ABOUT[str(model)]}", fontweight="bold")
        for axis in axes[-1]:
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
        plt.close(figure)
    return figure


def _line(axes: Axes, at: xr.Dataset, values: xr.DataArray, **style: Any) -> None:
    """The mean over data sets at each n, with its standard error."""
    value, error = zip(*(mean(values.isel(n=i)) for i in range(at.sizes["n"])), strict=True)
    axes.errorbar(at.n, value, error, capsize=2, ms=4, **style)


def _evidence(axes: Axes, at: xr.Dataset) -> None:
    """F - n S_n, exact, by WBIC, by BIC, and the asymptotic formula through the exact value at the largest n."""
    _line(axes, at, at.exact_free_energy, color=EXACT, fmt="o-", label="exact $F$")
    _line(axes, at, at.wbic, color=CHAINS, fmt="s-", label="WBIC, chains")
    _line(axes, at, bic(at), color=OBVIOUS, fmt="^-", label="BIC")
    formula = asymptotic(at)
    shift = float(at.exact_free_energy.isel(n=-1).mean()) - float(formula[-1])
    axes.plot(at.n, formula + shift, color=FORMULA, ls="--", label=r"$\lambda\log n - (m-1)\log\log n$ + const")
    axes.set_ylabel(r"mean of $F - nS_n$")


def _criteria(axes: Axes, at: xr.Dataset) -> None:
    """Criteria less the true Bayes generalisation error, times n."""
    guesses = [
        ("WAIC", at.waic, CHAINS, "s-"),
        ("AIC", aic(at), OBVIOUS, "^-"),
        ("training loss", at.bayes_training, FORMULA, "d-"),
        ("n held-out examples", at.held_out, GREY, "o-"),
    ]
    for name, guess, color, style in guesses:
        _line(axes, at, at.n * (guess - at.exact_bayes), color=color, fmt=style, label=name)
    axes.axhline(0, color=EXACT, lw=0.9)
    axes.set(title="Less the exact Bayes error on new ones", ylabel=r"$n\,\times$ mean difference")
