"""The figure of `language`: what is learned when, and lambda-hat under every setting, with its boundaries."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.language.claims import MAIN, bigram_minimum, boundaries
from experiments.shared import plots, tell

COLOURS = ("#1b6ca8", "#c8553d", "#4a7c3a", "#8a6fae", "#b08d2f")
GREY = "#8a8f94"
TITLE = "A two-layer attention-only model of the King James Bible (dotted: least bigram score; shaded: boundaries)"


def draw(results: xr.Dataset) -> Figure:
    """Above: the loss, bigrams, n-grams. Below: heads, and loose and localised curves with their boundaries."""
    with plt.rc_context(plots.STYLE | {"legend.fontsize": 8}):
        figure, axes = plt.subplots(2, 3, figsize=(13, 7.4), layout="constrained", sharex=True)
        for axis, panel in zip(axes.flat, (_loss, _bigrams, _ngrams, _heads), strict=False):
            panel(axis, results)
        for axis, name in zip(axes[1, 1:], MAIN, strict=True):
            _curve(axis, results, name)
        for axis in axes.flat:
            axis.set_xscale("log")
            axis.legend()
            for at in bigram_minimum(results):
                axis.axvline(_x(results)[at], color=GREY, lw=0.8, ls=":")
        for axis in axes[1]:
            axis.set_xlabel("step + 1")
        figure.suptitle(TITLE, fontsize=11)
        plt.close(figure)
    return figure


def _x(results: xr.Dataset) -> np.ndarray:
    return results.step.values + 1


def _lines(axis: Axes, results: xr.Dataset, values: xr.DataArray, label: str, colour: str, ls: str = "-") -> None:
    """A line for every run, the first with the label."""
    lines = axis.plot(_x(results), values.values.T, ls, marker=".", ms=4, color=colour, lw=1.1)
    lines[0].set_label(label)


def _loss(axis: Axes, results: xr.Dataset) -> None:
    _lines(axis, results, results.loss, "held out", COLOURS[0])
    for name, style in (("uniform", ":"), ("unigram", "--"), ("bigram", "-.")):
        axis.axhline(float(results[f"{name}_loss"]), color=GREY, lw=0.9, ls=style, label=f"{name} predictor")
    _shade(axis, results, "loss", COLOURS[0])
    axis.set(title="Loss, nats")


def _bigrams(axis: Axes, results: xr.Dataset) -> None:
    _lines(axis, results, results.bigram, "bigram score", COLOURS[0])
    axis.axhline(float(results.bigram_entropy), color=GREY, ls="--", label="bigram entropy: its bound")
    axis.set(title="LM1: cross-entropy to the bigrams, nats")


def _ngrams(axis: Axes, results: xr.Dataset) -> None:
    for n, colour in zip(results.n.values, COLOURS, strict=False):
        _lines(axis, results, results.ngram.sel(n=n), f"mean loss / loss at ends of {n}-grams", colour)
    _lines(axis, results, results.unplaced - results.loss, "loss added without positions, nats", GREY, "--")
    axis.set(title="LM2: n-grams, and the use of positions")


def _heads(axis: Axes, results: xr.Dataset) -> None:
    _lines(axis, results, results.previous.isel(layer=0).max("head"), "previous token, best of layer 0", COLOURS[0])
    _lines(axis, results, results.prefix.max(("layer", "head")), "prefix matching, best head", COLOURS[1])
    _lines(axis, results, results.context, "in-context score, nats", COLOURS[2], "-.")
    for name, colour in (("even_previous", COLOURS[0]), ("even_prefix", COLOURS[1])):
        axis.axhline(float(results[name]), color=colour, lw=0.9, ls="--")
    axis.set(title="LM3, LM4: heads (dashed: even attention), and context")


def _curve(axis: Axes, results: xr.Dataset, name: str) -> None:
    for setting, colour in ((name, COLOURS[1]), (f"{name}, hotter", COLOURS[4])):
        here = results.sel(setting=setting)
        label = rf"n$\beta$ = {float(here.nbeta):.3g}, $\gamma$ = {float(here.gamma):g}"
        for value, stderr, negative in zip(
            here.value.values, here.stderr.values, tell.has(here, "negative"), strict=True
        ):
            axis.errorbar(
                _x(results), value, 2 * stderr, fmt=".-", color=colour, lw=1, ms=4, elinewidth=0.8, label=label
            )
            axis.plot(_x(results)[negative], value[negative], "o", mfc="none", color="black", ms=7)
            label = None
    axis.plot([], [], "o", mfc="none", color="black", ms=7, label="negative, named by verdict")
    axis.axhline(0, color="black", lw=0.6)
    _shade(axis, results, name, COLOURS[1])
    axis.set(title=rf"$\hat\lambda$, {name}")


def _shade(axis: Axes, results: xr.Dataset, name: str, colour: str) -> None:
    """The boundaries of each run, with their intervals."""
    for change in (change for run in boundaries(results, name) for change in run):
        low, at, high = _x(results)[[change.low, change.index, change.high]]
        axis.axvspan(low / 1.05, high * 1.05, color=colour, alpha=0.1, lw=0)
        axis.axvline(at, color=colour, lw=0.8, alpha=0.7)
