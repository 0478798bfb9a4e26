"""The figure of `language`: what is learned when, and lambda-hat under every setting, with its boundaries."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.language.report import bigram_minimum, boundaries

STYLE: Any = plots.STYLE | {"font.size": 9, "axes.titlesize": 9.5}
COLOURS = ("#1b6ca8", "#c8553d", "#4a7c3a", "#8a6fae")
GREY = "#8a8f94"


def draw(results: xr.Dataset) -> Figure:
    """Above: the loss, bigrams, n-grams, heads. Below: each setting, and its boundaries beside the loss's."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 4, figsize=(13, 6.6), layout="constrained", sharex=True)
        for axis, panel in zip(axes[0], (_loss, _bigrams, _ngrams, _heads), strict=True):
            panel(axis, results)
        names = [str(name) for name in results.setting.values]
        for axis, name in zip(axes[1], names, strict=True):
            _curve(axis, results, name)
        for axis in axes.ravel():
            axis.set_xscale("log")
            for at in bigram_minimum(results):
                axis.axvline(_x(results)[at], color=GREY, lw=0.8, ls=":")
        for axis in axes[1]:
            axis.set_xlabel("step + 1")
        figure.suptitle(
            "A two-layer attention-only model of the King James Bible (dotted: least bigram score). Below: lambda-hat, "
            "shaded: 95 % intervals of its boundaries; red: negative, flagged",
            fontsize=10,
        )
        plt.close(figure)
    return figure


def _x(results: xr.Dataset) -> np.ndarray:
    return results.step.values + 1


def _level(axis: Axes, value: xr.DataArray, label: str, *, ls: str = "--", colour: str = GREY) -> None:
    axis.axhline(float(value), lw=0.9, label=label, color=colour, ls=ls)


def _loss(axis: Axes, results: xr.Dataset) -> None:
    for run, colour in zip(results.loss.values, np.resize(COLOURS, results.sizes["run"]), strict=True):
        axis.plot(_x(results), run, ".-", color=colour, lw=1, ms=4)
    for name, style in (("uniform", ":"), ("unigram", "--"), ("bigram", "-.")):
        _level(axis, results[f"{name}_loss"], f"{name}s alone" if name != "uniform" else "ln V", ls=style)
    _shade(axis, results, "loss")
    axis.set(title="held-out loss, and its boundaries")
    axis.legend(fontsize=8, loc="upper right")


def _bigrams(axis: Axes, results: xr.Dataset) -> None:
    axis.plot(_x(results), results.bigram.values.T, ".-", color=COLOURS[0], lw=1, ms=4)
    _level(axis, results.bigram_entropy, "bigram entropy: its bound")
    axis.set(title="LM1: bigram score, nats")
    axis.legend(fontsize=8)


def _ngrams(axis: Axes, results: xr.Dataset) -> None:
    for n, colour in zip(results.n.values, COLOURS, strict=False):
        curves = axis.plot(_x(results), results.ngram.sel(n=n).values.T, ".-", color=colour, lw=1, ms=4)
        curves[0].set_label(f"n = {n}")
    axis.set(title="LM2: mean loss / loss at ends of n-grams")
    axis.legend(fontsize=8, loc="upper left")
    other = axis.twinx()
    other.plot(_x(results), (results.unplaced - results.loss).values.T, color=GREY, lw=1, ls="--")
    other.set_ylabel("loss added without positions (dashed)", color=GREY)
    other.spines["right"].set_visible(True)


def _heads(axis: Axes, results: xr.Dataset) -> None:
    previous = results.previous.isel(layer=0)
    for h in range(results.sizes["head"]):
        curves = axis.plot(_x(results), previous.isel(head=h).values.T, color=COLOURS[0], lw=0.9)
        curves[0].set_label("previous token, layer 0" if h == 0 else "_")
    best = results.prefix.max(("layer", "head")).values.T
    axis.plot(_x(results), best, color=COLOURS[1], lw=1.4)[0].set_label("prefix matching, best head")
    _level(axis, results.even_previous, "even attention", colour=COLOURS[0])
    _level(axis, results.even_prefix, "_", colour=COLOURS[1])
    axis.plot(_x(results), results.context.values.T, color=COLOURS[2], lw=1, ls="-.")[0].set_label("in-context score")
    axis.set(title="LM3, LM4: heads, and the use of context")
    axis.legend(fontsize=8)


def _curve(axis: Axes, results: xr.Dataset, name: str) -> None:
    here = results.sel(setting=name)
    for run, colour in zip(range(here.sizes["run"]), np.resize(COLOURS, here.sizes["run"]), strict=True):
        value, stderr = here.value.values[run], here.stderr.values[run]
        axis.errorbar(_x(results), value, 2 * stderr, fmt=".-", color=colour, lw=1, ms=4, elinewidth=0.8)
        flagged = np.array(["negative" in str(text) or "diverged" in str(text) for text in here.findings.values[run]])
        axis.plot(_x(results)[flagged], value[flagged], "o", mfc="none", color="red", ms=7)
    axis.axhline(0, color="black", lw=0.6)
    _shade(axis, results, name)
    axis.set(title=f"{name}: nbeta {float(here.nbeta):.3g}, gamma {float(here.gamma):g}")


def _shade(axis: Axes, results: xr.Dataset, name: str) -> None:
    """The boundaries of each run, with their intervals."""
    found = boundaries(results, name)
    for run, colour in zip(found, np.resize(COLOURS, len(found)), strict=True):
        for change in run:
            low, at, high = _x(results)[[change.low, change.index, change.high]]
            axis.axvspan(low / 1.05, high * 1.05, color=colour, alpha=0.12, lw=0)
            axis.axvline(at, color=colour, lw=0.8, alpha=0.7)
