"""The figure of `markov_induction`: what is predicted and attended to, and lambda-hat about the transition."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.markov_induction.claims import SETTLE, crossing, localised, study
from experiments.shared import plots, tell

COLOURS = {"uniform": "#8a8f94", "unigram": "#b08d2f", "bigram": "#1b6ca8", "true": "#2f3e46"}
LLC, FIRST, SECOND, BAD, LOOSE = "#c8553d", "#4a7c3a", "#7b2d8b", "black", "#b08d2f"
STYLE: Any = plots.STYLE | {"axes.titlesize": 10.5, "axes.titlelocation": "left", "legend.fontsize": 8.5}


def draw(results: xr.Dataset) -> Figure:
    """Columns: two and three symbols. Rows: KL, attention, localised lambda-hat; last, other settings, and each layer."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            4, 2, figsize=(11, 11.5), dpi=79, layout="constrained", height_ratios=[1, 0.8, 1.1, 1.1]
        )
        for column, symbols in enumerate(int(k) for k in results.symbols.values):
            run = _middle(results, symbols)
            _kl(axes[0, column], results, symbols, run)
            _attention(axes[1, column], results, symbols, run)
            _localised(axes[2, column], results, symbols)
        _settings(axes[3, 0], results, ("localised", "lower nbeta", "loose"), (LLC, "#f0a08c", LOOSE))
        _settings(axes[3, 1], results, ("localised", "layer 0", "layer 1"), (LLC, FIRST, SECOND))
        axes[3, 0].set_title("Other settings, two symbols, the first runs (mean)")
        axes[3, 1].set_title("Each layer alone, two symbols, the first runs (mean)")
        figure.suptitle(
            "In-context Markov chains: from counts of tokens to counts of pairs, and the learning coefficient",
            fontweight="bold",
            fontsize=11,
        )
        plt.close(figure)
    return figure


def _middle(results: xr.Dataset, symbols: int) -> int:
    """The run whose transition is the median one."""
    found = [(c, run) for run, c in enumerate(crossing(results, symbols)) if c is not None]
    return sorted(found)[len(found) // 2][1] if found else 0


def _kl(axis: Axes, results: xr.Dataset, symbols: int, run: int) -> None:
    here = results.sel(symbols=symbols)
    step = here.reading_step.values
    for name, color in COLOURS.items():
        axis.plot(
            step,
            here[f"kl_{name}"].values[run],
            color=color,
            lw=2,
            label=f"KL({'truth' if name == 'true' else name} | model)",
        )
    axis.plot(step, here.kl_bigram.values.T, color=COLOURS["bigram"], lw=0.6, alpha=0.5)
    axis.set(title=f"{symbols} symbols: one run, and the KL from the bigram of all", xlabel="step", ylabel="nats")
    axis.set_ylim(bottom=0)
    axis.legend(ncols=2)


def _attention(axis: Axes, results: xr.Dataset, symbols: int, run: int) -> None:
    here = results.sel(symbols=symbols)
    step = here.reading_step.values
    named = {
        "previous": (FIRST, "first layer, to the previous token"),
        "induction": (SECOND, "second layer, to what followed the present token"),
    }
    for name, (color, label) in named.items():
        axis.plot(step, here[name].values[run], color=color, lw=2, label=label)
    axis.plot(step, here.previous.values.T, color=FIRST, lw=0.6)
    axis.axhline(
        float(here.induction_uniform[run, 0]), color=SECOND, ls=":", lw=1, label="the same, attending uniformly"
    )
    axis.set(title="Attention: the same run; previous token: all", xlabel="step", ylabel="share", ylim=(0, 1.02))
    axis.legend(loc="lower right", bbox_to_anchor=(1, 0.08), fontsize=7.5)


def _localised(axis: Axes, results: xr.Dataset, symbols: int) -> None:
    """Every run about its own crossing, and the mean of the runs with two standard errors over them."""
    here = results.sel(symbols=symbols)
    bad = tell.has(here, "negative")
    lines, grid = [], None
    for run, c in enumerate(crossing(results, symbols)):
        if c is None:
            continue
        x, y = here.estimate_step.values - here.reading_step.values[c], here.value.values[run]
        axis.plot(x, y, color=LLC, lw=0.7, alpha=0.6, label="one run" if not lines else None)
        axis.plot(x[bad[run]], y[bad[run]], "x", color=BAD, ms=5)
        lines.append((x[SETTLE:], y[SETTLE:]))
    axis.plot([], [], "x", color=BAD, ms=5, label="negative, named by verdict")
    if lines:
        grid = np.linspace(
            max(min(x[0] for x, _ in lines), -here.estimate_step.values[-1]), max(x[-1] for x, _ in lines), 60
        )
        mean, error = _mean(lines, grid)
        axis.fill_between(grid, mean - 2 * error, mean + 2 * error, color=LLC, alpha=0.2, lw=0)
        axis.plot(grid, mean, color=LLC, lw=3, label="mean of the runs that are there, two standard errors")
    axis.axvline(0, color="#8a8f94", ls="--", lw=1)
    axis.axhline(0, color="#8a8f94", lw=0.6)
    axis.set_yscale("symlog", linthresh=100, linscale=4)
    axis.set_title(
        rf"Localised $\hat\lambda$ ($n\beta$ = {results.attrs['nbeta']:g}, $\gamma$ = {results.attrs['gamma']:g}), about the crossing"
    )
    axis.set(xlabel="steps since KL(bigram) < KL(unigram)", ylabel=r"$\hat\lambda$")
    axis.legend(loc="lower right")


def _mean(lines: list[tuple[np.ndarray, np.ndarray]], grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean of curves on a grid, each where it has values, and its standard error over them: NaN where none has any."""
    each = np.array([np.interp(grid, x, y, left=np.nan, right=np.nan) for x, y in lines])
    count = np.isfinite(each).sum(axis=0)
    mean = np.where(count > 0, np.nansum(each, axis=0) / np.maximum(count, 1), np.nan)
    variance = np.nansum((each - mean[None]) ** 2, axis=0) / np.maximum(count - 1, 1)
    return mean, np.where(count > 1, np.sqrt(variance / np.maximum(count, 1)), np.nan)


def _settings(axis: Axes, results: xr.Dataset, names: tuple[str, ...], colors: tuple[str, ...]) -> None:
    part, two = study(results), results.sel(symbols=2)
    own = localised(results, 2).isel(setting=0, seed=slice(part.sizes["seed"]))
    x = two.estimate_step.values[SETTLE:]
    for name, color in zip(names, colors, strict=True):
        here = own if name == "localised" else part.sel(setting=name)
        label = rf"{name}: $n\beta$ = {float(here.nbeta):g}"
        axis.plot(x, here.value.values.T, color=color, lw=0.7, alpha=0.5)
        axis.plot(x, here.value.values.mean(axis=0), "o-", color=color, lw=2, ms=3.5, label=label)
    for c in crossing(results, 2)[: part.sizes["seed"]]:
        if c is not None:
            axis.axvline(two.reading_step.values[c], color="#8a8f94", ls="--", lw=1)
    axis.axhline(0, color="#8a8f94", lw=0.6)
    axis.set(xlabel="step (dashed: the crossings of these runs)", ylabel=r"$\hat\lambda$")
    axis.legend()
