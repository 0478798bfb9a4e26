"""The figure of the `grid` experiment: a map for each model and n*beta, and how far the verdict is to be trusted."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.grid.report import OFF, silent
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
SILENT, PLATEAU = "#d1006c", "black"
FRAMES = f"Black: plateau.   Magenta: off by more than {OFF:.0%} beyond two standard errors, and nothing found"
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
            level = (
                f"plateau {r.plateau:.3g} [{r.plateau_low:.3g}, {r.plateau_high:.3g}]"
                if r.plateau > 0
                else "no plateau"
            )
            place.set_title(top + level)
            place.set_ylabel(f"nβ = {levels[i]:.3g}\nstep size" if j == 0 else "")
            place.set_xlabel("localisation \N{GREEK SMALL LETTER GAMMA}" if i == len(levels) - 1 else "")
        bar = figure.colorbar(shown, ax=figure.axes, shrink=0.5, aspect=40, ticks=[-1, -0.5, 0, 0.5, 1])
        bar.ax.set_yticklabels(["½ or less", "0.71", "exact", "1.41", "2 or more"])
        bar.set_label("λ̂ / what an exact sampler returns (grey: diverged, or not known)")
        letters = ", ".join(f"{letter} {kind}" for kind, letter in LETTERS.items())
        figure.suptitle(f"Letters, what verdict finds: {letters}.\n{FRAMES}", fontsize=9, wrap=True)
        plt.close(figure)
    return figure


def _map(axes: Axes, r: xr.Dataset) -> Any:
    """log2 of lambda-hat over the exact value; a letter for what is found; frames for silent errors and the plateau."""
    with np.errstate(all="ignore"):
        ratio = np.where(r.value.values > 0, r.value.values, 1e-9) / r.exact.values[None]
        colour = np.where(np.isfinite(r.value.values), np.clip(np.log2(ratio), -1, 1), np.nan)
    axes.set_facecolor("#d9dcdf")
    shown = axes.imshow(colour, cmap="RdBu_r", vmin=-1, vmax=1, origin="lower", aspect="auto")
    for (i, j), findings in np.ndenumerate(r.findings.values):
        letters = "".join(LETTERS.get(kind, "?") for kind in str(findings).split(", ") if kind)
        strong = np.isfinite(colour[i, j]) and abs(colour[i, j]) > 0.6
        axes.text(j, i, letters[:3], ha="center", va="center", fontsize=6.5, color="white" if strong else "black")
    for cells, frame in ((r.member, PLATEAU), (silent(r), SILENT)):
        for i, j in np.argwhere(cells.values):
            axes.add_patch(Rectangle((j - 0.42, i - 0.42), 0.84, 0.84, fill=False, ec=frame, lw=1.6))
    steps = range(0, r.sizes["step_size"], 2)
    axes.set_yticks(list(steps), [f"{r.step_size.values[i]:.0e}" for i in steps])
    axes.set_xticks(range(r.sizes["gamma"]), [f"{g:g}" for g in r.gamma.values])
    axes.tick_params(labelsize=7)
    return shown
