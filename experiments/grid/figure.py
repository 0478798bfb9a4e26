"""The figure of the `grid` experiment: a map for each model and n*beta, and how far the verdict is to be trusted."""

import textwrap
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.grid.cases import DEFAULTS
from experiments.grid.claims import OFF, silent
from experiments.shared import plots

LETTERS = {
    "diverged": "d",
    "negative": "n",
    "escaped": "o",
    "not stationary": "w",
    "too few effective draws": "f",
    "chains disagree": "r",
    "step size too large": "s",
    "saturated": "x",
    "rounded": "q",
}
SILENT, PLATEAU, MARK = "#d1006c", "black", "#0b7a3b"
MARKS = {"with default_nbeta of a batch of 32": "◆", "its accuracy test": "▲", "its introduction": "●"}
STYLE: Any = plots.STYLE | {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "figure.dpi": 88,
    "axes.spines.top": True,
    "axes.spines.right": True,
}


def draw(results: xr.Dataset) -> Figure:
    """Columns: models. Rows: n*beta."""
    models, levels = results.model.values, results.nbeta.values
    size = 2.2 + 2.9 * len(models), 2.5 * len(levels) + 0.8
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(len(levels), len(models), figsize=size, layout="constrained", squeeze=False)
        shown: Any = None
        for (i, j), place in np.ndenumerate(axes):
            r = results.isel(model=j, nbeta=i)
            shown = _map(place, r)
            top = f"{models[j]}, λ = {float(r.truth):g}\n" if i == 0 else ""
            place.set_title(f"{top}{_say_plateau(r)}")
            place.set_ylabel(f"nβ = {levels[i]:.3g}\nstep size" if j == 0 else "")
            place.set_xlabel("localisation \N{GREEK SMALL LETTER GAMMA}" if i == len(levels) - 1 else "")
        bar = figure.colorbar(shown, ax=figure.axes, shrink=0.5, aspect=40, ticks=[-1, -0.5, 0, 0.5, 1])
        bar.ax.set_yticklabels(["½ or less", "0.71", "exact", "1.41", "2 or more"])
        bar.set_label("λ̂ / what an exact sampler returns (grey: diverged, or not known)")
        figure.suptitle(textwrap.fill(_legend(), int(12 * size[0])), fontsize=9)
        plt.close(figure)
    return figure


def _map(axes: Axes, r: xr.Dataset) -> Any:
    """log2 of lambda-hat over the exact value; a letter for what is found; frames for silent errors and the plateau."""
    with np.errstate(all="ignore"):
        ratio = np.where(r.value.values > 0, r.value.values, 1e-9) / r.exact.values[None]
        colour = np.where(np.isfinite(r.value.values), np.clip(np.log2(ratio), -1, 1), np.nan)
    axes.set_facecolor("#d9dcdf")
    shown = axes.imshow(colour, cmap="RdBu_r", vmin=-1, vmax=1, origin="lower", aspect="auto")
    unseen = silent(r)
    for (i, j), findings in np.ndenumerate(r.findings.values):
        letters = "".join(LETTERS.get(kind, "?") for kind in str(findings).split(", ") if kind)
        strong = np.isfinite(colour[i, j]) and abs(colour[i, j]) > 0.6
        axes.text(j, i, letters[:3], ha="center", va="center", fontsize=6.5, color="white" if strong else "black")
        if unseen[i, j]:
            axes.add_patch(Rectangle((j - 0.42, i - 0.42), 0.84, 0.84, fill=False, ec=SILENT, lw=1.6))
    _outline(axes, r.member.values.astype(bool))
    for name, mark in MARKS.items():
        setting = DEFAULTS[name]
        nearest = np.abs(np.log(r.nbeta.values / setting["nbeta"]))
        if nearest < 0.1:
            at = np.interp(np.log(setting["step_size"]), np.log(r.step_size.values), np.arange(r.sizes["step_size"]))
            column = int(np.argmin(np.abs(r.gamma.values - setting["gamma"])))
            axes.text(column + 0.3, at + 0.22, mark, ha="center", va="center", fontsize=8, color=MARK)
    steps = range(0, r.sizes["step_size"], 2)
    axes.set_yticks(list(steps), [f"{r.step_size.values[i]:.0e}" for i in steps])
    axes.set_xticks(range(r.sizes["gamma"]), [f"{g:g}" for g in r.gamma.values])
    axes.tick_params(labelsize=7)
    return shown


def _outline(axes: Axes, member: np.ndarray) -> None:
    """The border between the cells of the plateau and the others."""
    padded = np.pad(member, 1)
    for i, j in np.argwhere(padded[1:, :] != padded[:-1, :]):
        axes.plot([j - 1.5, j - 0.5], [i - 0.5, i - 0.5], color=PLATEAU, lw=1.6, clip_on=False)
    for i, j in np.argwhere(padded[:, 1:] != padded[:, :-1]):
        axes.plot([j - 0.5, j - 0.5], [i - 1.5, i - 0.5], color=PLATEAU, lw=1.6, clip_on=False)


def _say_plateau(r: xr.Dataset) -> str:
    if np.isnan(r.plateau):
        return "no plateau"
    return f"plateau {float(r.plateau):.3g} [{float(r.plateau_low):.3g}, {float(r.plateau_high):.3g}]"


def _legend() -> str:
    letters = ", ".join(f"{letter} {kind}" for kind, letter in LETTERS.items())
    marks = ", ".join(f"{mark} {name}" for name, mark in MARKS.items())
    return (
        f"SGLD over step size, nβ and \N{GREEK SMALL LETTER GAMMA}.   Letters, what verdict finds: {letters}.\n"
        f"Black: plateau.   Magenta: off by more than {OFF:.0%} beyond two standard errors, and nothing found.   "
        f"Green, settings of devinterp: {marks}"
    )
