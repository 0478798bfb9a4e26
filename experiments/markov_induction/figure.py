"""The figure of `markov_induction`: what is predicted, and lambda-hat about the transition and under other settings."""

import matplotlib.pyplot as plt
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.markov_induction.report import crossing, localised, study
from experiments.shared import plots, tell

KL = {"uniform": "#8a8f94", "unigram": "#b08d2f", "bigram": "#1b6ca8", "true": "#2f3e46"}
CURVES = {"localised": "#c8553d", "lower nbeta": "#f0a08c", "loose": "#b08d2f"}
LAYERS = {"localised": "#c8553d", "layer 0": "#4a7c3a", "layer 1": "#7b2d8b"}


def draw(results: xr.Dataset) -> Figure:
    """Columns: two and three symbols. Rows: KL, localised lambda-hat; last, other settings, and each layer alone."""
    with plt.rc_context(plots.STYLE):
        figure, axes = plt.subplots(3, 2, figsize=(11, 9.5), layout="constrained")
        for column, symbols in enumerate(int(k) for k in results.symbols.values):
            _kl(axes[0, column], results, symbols)
            _localised(axes[1, column], results, symbols)
        _settings(axes[2, 0], results, CURVES)
        _settings(axes[2, 1], results, LAYERS)
        plt.close(figure)
    return figure


def _kl(axis: Axes, results: xr.Dataset, symbols: int) -> None:
    """From each predictor to the model, every run."""
    here = results.sel(symbols=symbols)
    for name, color in KL.items():
        first, *_ = axis.plot(here.reading_step, here[f"kl_{name}"].values.T, color=color, lw=1)
        first.set_label(name)
    axis.set(title=f"{symbols} symbols: KL(predictor | model), every run", xlabel="step", ylabel="nats", ylim=(0, None))
    axis.legend(ncols=2)


def _localised(axis: Axes, results: xr.Dataset, symbols: int) -> None:
    """Every run about its own crossing."""
    here = results.sel(symbols=symbols)
    bad = tell.has(here, "negative")
    for run, c in enumerate(crossing(results, symbols)):
        if c is not None:
            x, y = here.estimate_step.values - here.reading_step.values[c], here.value.values[run]
            axis.plot(x, y, "o-", color=CURVES["localised"], lw=1, ms=3, alpha=0.6)
            axis.plot(x[bad[run]], y[bad[run]], "x", color="black", ms=5)
    axis.axvline(0, color="#8a8f94", ls="--", lw=1)
    axis.set_yscale("symlog", linthresh=100, linscale=4)
    axis.set(title=f"{symbols} symbols: localised chains, every run", ylabel=r"$\hat\lambda$")
    axis.set_xlabel("steps since KL(bigram) < KL(unigram);  x: negative, named by verdict")


def _settings(axis: Axes, results: xr.Dataset, colors: dict[str, str]) -> None:
    part, x = study(results), results.study_step.values
    own = localised(results, 2).isel(setting=0, seed=slice(part.sizes["seed"]))
    for name, color in colors.items():
        here = own if name == "localised" else part.sel(setting=name)
        axis.plot(x, here.value.values.T, color=color, lw=0.7, alpha=0.5)
        axis.plot(x, here.value.values.mean(axis=0), "o-", color=color, lw=2, ms=3.5, label=name)
    axis.set(title="2 symbols: the first runs, and their mean", xlabel="step", ylabel=r"$\hat\lambda$")
    axis.legend()
