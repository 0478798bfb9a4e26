"""The figure of the `wbic` experiment: for each model the evidence, and the generalisation error, with their estimates."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.shared import plots
from experiments.wbic.claims import aic, asymptotic, bic, mean, off

EXACT, CHAINS, FORMULA, OBVIOUS, GREY = "black", "#c8553d", "#1b6ca8", "#b08d2f", "#8a8f94"
STYLE: Any = plots.STYLE | {"axes.titlesize": 10.5, "axes.titlelocation": "left", "legend.fontsize": 8.5}
ABOUT = {"regular": r"$y = w\cdot x$, $\lambda = 3/2$", "singular": r"$y = abx$, truth 0, $\lambda = 1/2$, $m = 2$"}


def draw(results: xr.Dataset) -> Figure:
    """Rows: the models. Columns: F over n, how far off it, generalisation and training errors, criteria."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(len(results.model), 4, figsize=(15, 7.4), layout="constrained", squeeze=False)
        for row, model in zip(axes, results.model.values, strict=True):
            at = results.sel(model=model)
            for axis, panel in zip(row, (_evidence, _off, _errors, _criteria), strict=True):
                panel(axis, at)
            row[0].set_title(f"{model}: {ABOUT[str(model)]}", fontweight="bold")
        figure.suptitle(
            "WBIC against the exact evidence, WAIC against the true generalisation error; everything in excess of the truth's loss",
            fontweight="bold",
            fontsize=11,
        )
        plt.close(figure)
    return figure


def _line(axes: Axes, at: xr.Dataset, values: xr.DataArray, **style: Any) -> None:
    """The mean over data sets at each n, with its standard error."""
    each = [mean(values.isel(n=i)) for i in range(at.sizes["n"])]
    axes.errorbar(at.n, [m.value for m in each], [m.stderr for m in each], capsize=2, ms=4, **style)


def _over_n(axes: Axes, at: xr.Dataset, label: str) -> None:
    axes.set(xscale="log", xlabel="examples n", ylabel=label)
    axes.set_xticks(at.n.values, [str(int(n)) for n in at.n.values])
    axes.minorticks_off()


def _evidence(axes: Axes, at: xr.Dataset) -> None:
    """F - n S_n, exact, by WBIC, by BIC, and the asymptotic formula through the exact value at the largest n."""
    _line(axes, at, at.exact_free_energy, color=EXACT, fmt="o-", label="exact $F$")
    _line(axes, at, at.wbic, color=CHAINS, fmt="s-", label="WBIC, chains")
    _line(axes, at, bic(at), color=OBVIOUS, fmt="^-", label="BIC")
    formula = asymptotic(at)
    shift = float(at.exact_free_energy.isel(n=-1).mean()) - float(formula[-1])
    axes.plot(at.n, formula + shift, color=FORMULA, ls="--", label=r"$\lambda\log n - (m-1)\log\log n$ + const")
    _over_n(axes, at, r"mean of $F - nS_n$")
    axes.legend(loc="upper left")
    axes.margins(y=0.3)


def _off(axes: Axes, at: xr.Dataset) -> None:
    """How far WBIC, BIC and the formula are from F, over log n."""
    guesses = [
        ("WBIC, chains", at.wbic, CHAINS, "s-"),
        ("WBIC, exact", at.exact_wbic, EXACT, "o:"),
        ("BIC", bic(at), OBVIOUS, "^-"),
        ("formula, fitted loss", asymptotic(at) + at.exact_fitted, FORMULA, "d--"),
    ]
    for name, guess, color, style in guesses:
        axes.plot(at.n, off(at, guess) / np.log(at.n), style, color=color, ms=4, label=name)
    axes.set_ylim(bottom=0)
    axes.set_title(r"Error as a value of $F$, over $\log n$")
    _over_n(axes, at, r"root mean square / $\log n$")
    axes.legend(loc="best")


def _errors(axes: Axes, at: xr.Dataset) -> None:
    """n times generalisation and training errors, and what lambda and nu make of them."""
    lam, nu = float(at["lambda"]), mean(at.fluctuation.isel(n=-1)).value
    lines = [
        ("Gibbs, new", at.exact_gibbs, lam + nu, CHAINS, r"$\lambda+\nu$"),
        ("Bayes, new", at.exact_bayes, lam, EXACT, r"$\lambda$"),
        ("Gibbs, training", at.gibbs_training, lam - nu, OBVIOUS, r"$\lambda-\nu$"),
        ("Bayes, training", at.bayes_training, lam - 2 * nu, FORMULA, r"$\lambda-2\nu$"),
    ]
    for name, values, expected, color, symbol in lines:
        _line(axes, at, at.n * values, color=color, fmt="o-", label=name)
        axes.axhline(expected, color=color, lw=0.9, ls=(0, (4, 3)))
        axes.annotate(
            symbol,
            (1, expected),
            xycoords=("axes fraction", "data"),
            xytext=(2, -3),
            textcoords="offset points",
            color=color,
            fontsize=8.5,
        )
    axes.set_title("Losses on new and on training examples")
    _over_n(axes, at, r"$n\,\times$ mean excess loss")
    axes.margins(y=0.25)
    axes.legend(loc="upper left", ncols=2)


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
    axes.set_title("Less the exact Bayes error on new ones")
    _over_n(axes, at, r"$n\,\times$ mean difference")
    axes.margins(y=0.35)
    axes.legend(loc="upper left", ncols=2)
