"""The figure of `language`: what is learned when, and lambda-hat under every setting, with its boundaries."""

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.language.report import MAIN, bigram_minimum, boundaries
from experiments.shared import plots, tell

COLOURS = ("#1b6ca8", "#c8553d", "#4a7c3a", "#8a6fae")
HOTTER, GREY = "#b08d2f", "#8a8f94"
TITLE = "A two-layer attention-only model of the King James Bible (dotted: least bigram score; shaded: boundaries)"


def draw(results: xr.Dataset) -> Figure:
    """Above: the loss, bigrams, positions. Below: heads, and loose and localised curves with their boundaries."""
    with plt.rc_context(plots.STYLE | {"legend.fontsize": 8}):
        figure, axes = plt.subplots(2, 3, figsize=(13, 7.4), layout="constrained", sharex=True)
        for axis, (title, curves) in zip(axes.flat, readings(results).items(), strict=False):
            axis.set_title(title)
            for (label, values), colour in zip(curves.items(), COLOURS, strict=False):
                lines = axis.plot(_x(results), values.values.T, ".-", ms=4, color=colour, lw=1.1)
                lines[0].set_label(label)
        axes[0, 1].axhline(float(results.bigram_entropy), color=GREY, ls="--", label="bigram entropy: its bound")
        _shade(axes[0, 0], results, "loss", COLOURS[0])
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


def readings(results: xr.Dataset) -> dict[str, dict[str, xr.DataArray]]:
    """Of each panel its curves: title -> label -> (seed, step)."""
    return {
        "Loss, nats": {"held out": results.loss},
        "LM1: cross-entropy to the bigrams, nats": {"bigram score": results.bigram},
        "LM2: the use of positions": {"loss added without positions, nats": results.unplaced - results.loss},
        "LM3, LM4: heads, and context": {
            "previous token, best of layer 0": results.previous.isel(layer=0).max("head"),
            "prefix matching, best head": results.prefix.max(("layer", "head")),
            "in-context score, nats": results.context,
        },
    }


def _x(results: xr.Dataset) -> np.ndarray:
    return results.step.values + 1


def _curve(axis: Axes, results: xr.Dataset, name: str) -> None:
    settings = [setting for setting in results.setting.values if setting.startswith(name)]
    for setting, colour in zip(settings, (COLOURS[1], HOTTER), strict=False):
        here = results.sel(setting=setting)
        negative, label = tell.has(here, "negative"), rf"n$\beta$ = {float(here.nbeta):.3g}"
        for run, (value, stderr) in enumerate(zip(here.value.values, here.stderr.values, strict=True)):
            own = label if run == 0 else None
            axis.errorbar(_x(results), value, 2 * stderr, fmt=".-", color=colour, lw=1, ms=4, label=own)
            axis.plot(_x(results)[negative[run]], value[negative[run]], "o", mfc="none", color="black", ms=7)
    axis.axhline(0, color="black", lw=0.6)
    _shade(axis, results, name, COLOURS[1])
    axis.set(title=rf"$\hat\lambda$, {name} (rings: negative, says verdict)")


def _shade(axis: Axes, results: xr.Dataset, name: str, colour: str) -> None:
    """The boundaries of each run, with their intervals."""
    for change in (change for run in boundaries(results, name) for change in run):
        low, at, high = _x(results)[[change.low, change.index, change.high]]
        axis.axvspan(low / 1.05, high * 1.05, color=colour, alpha=0.1, lw=0)
        axis.axvline(at, color=colour, lw=0.8, alpha=0.7)
