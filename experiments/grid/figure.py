"""The figure of the `grid` experiment: a map for each model and n*beta, and how far the verdict is to be trusted."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.grid.cases import DEFAULTS
from experiments.grid.report import NEAR, OFF, cells

LETTERS = {
    "diverged": "d", "negative": "n", "escaped": "o", "not stationary": "w", "too few effective draws": "f",
    "chains disagree": "r", "step size too large": "s", "noisy baseline": "b", "saturated": "x",
}  # fmt: skip
SILENT, PLATEAU, GREY = "#d1006c", "black", "#8a8f94"
STYLE: Any = {
    "font.size": 9, "axes.titlesize": 9.5, "legend.frameon": False, "svg.fonttype": "none", "svg.hashsalt": "grid",
    "savefig.dpi": 110,
}  # fmt: skip


def draw(results: xr.Dataset) -> Figure:
    """Columns: models. Rows: n*beta, and below the shares of cells the verdict and the trace alone find."""
    models, levels = results.model.values, results.nbeta.values
    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=(2.2 + 2.9 * len(models), 2.5 * len(levels) + 3.1), layout="constrained")
        grid = figure.add_gridspec(len(levels) + 1, len(models), height_ratios=[1] * len(levels) + [0.95])
        shown = None
        for i, level in enumerate(levels):
            for j, model in enumerate(models):
                axes = figure.add_subplot(grid[i, j])
                shown = _map(axes, results.sel(model=model).isel(nbeta=i))
                truth = float(results.truth.sel(model=model))
                top = f"{model}, λ = {truth:g}\n" if i == 0 else ""
                axes.set_title(f"{top}{_say_plateau(results.sel(model=model).isel(nbeta=i))}")
                axes.set_ylabel(f"nβ = {level:.3g}\nstep size" if j == 0 else "")
                axes.set_xlabel("localisation γ" if i == len(levels) - 1 else "")
        bar = figure.colorbar(shown, ax=figure.axes, shrink=0.5, aspect=40, ticks=[-1, -0.5, 0, 0.5, 1])
        bar.ax.set_yticklabels(["½ or less", "0.71", "exact", "1.41", "2 or more"])
        bar.set_label("λ̂ / what an exact sampler returns there (grey: not known; λ instead where hatched)")
        _shares(figure.add_subplot(grid[-1, :]), results)
        figure.suptitle(_legend(), fontsize=9)
        plt.close(figure)
    return figure


def _map(axes: Axes, r: xr.Dataset) -> Any:
    """log2 of lambda-hat over the exact value; a letter for what is found; frames for silent errors and the plateau."""
    ratio = r.value.values / r.exact.values[None]
    with np.errstate(all="ignore"):
        colour = np.clip(
            np.log2(np.where(ratio > 0, ratio, np.where(np.isnan(r.exact.values[None]), np.nan, 1e-9))), -1, 1
        )
    colour = np.where(np.isfinite(r.value.values), colour, np.where(np.isfinite(r.exact.values)[None], 1, np.nan))
    axes.set_facecolor("#d9dcdf")
    shown = axes.imshow(colour, cmap="RdBu_r", vmin=-1, vmax=1, origin="lower", aspect="auto")
    silent = _silent(r)
    for (i, j), findings in np.ndenumerate(r.findings.values):
        letters = "".join(LETTERS.get(kind, "?") for kind in str(findings).split(", ") if kind)
        strong = np.isfinite(colour[i, j]) and abs(colour[i, j]) > 0.6
        axes.text(j, i, letters[:3], ha="center", va="center", fontsize=6.5, color="white" if strong else "black")
        if silent[i, j]:
            axes.add_patch(Rectangle((j - 0.42, i - 0.42), 0.84, 0.84, fill=False, ec=SILENT, lw=1.6))
    _outline(axes, r.member.values.astype(bool))
    for mark, setting in zip("★◆▲●", DEFAULTS.values(), strict=True):
        nearest = np.abs(np.log(r.nbeta.values / setting["nbeta"]))
        if nearest < 0.1:
            at = np.interp(np.log(setting["step_size"]), np.log(r.step_size.values), np.arange(r.sizes["step_size"]))
            column = int(np.argmin(np.abs(r.gamma.values - setting["gamma"])))
            axes.text(column + 0.3, at + 0.22, mark, ha="center", va="center", fontsize=8, color="#0b7a3b")
    steps = range(0, r.sizes["step_size"], 2)
    axes.set_yticks(list(steps), [f"{r.step_size.values[i]:.0e}" for i in steps])
    axes.set_xticks(range(r.sizes["gamma"]), [f"{g:g}" for g in r.gamma.values])
    axes.tick_params(labelsize=7)
    return shown


def _silent(r: xr.Dataset) -> np.ndarray:
    """Cells that are off beyond their error and in which nothing was found."""
    apart = np.abs(r.value.values - r.exact.values[None])
    off = apart > OFF * r.exact.values[None] + 2 * np.hypot(r.stderr.values, r.exact_stderr.values[None])
    return off & (r.findings.values == "")


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
    marks = ", ".join(f"{mark} {name}" for mark, name in zip("★◆▲●", DEFAULTS, strict=True))
    return (
        f"What verdict finds: {letters}.   Black outline: plateau.   Magenta frame: off by more than {OFF:.0%} beyond "
        f"two standard errors, and nothing found.\nSettings of devinterp (γ = 0 is its default): {marks}"
    )


def _shares(axes: Axes, results: xr.Dataset) -> None:
    """For each model: flagged among the cells that are off, among those that are near, and off among those not flagged."""
    names = [*results.model.values, "all"]
    for place, name in enumerate(names):
        c = cells(results if name == "all" else results.sel(model=[name]))
        pairs = [
            ((c.flagged, c.suspicious), (c.off, c.off), f"off > {OFF:.0%}:\nfound"),
            ((c.flagged, c.suspicious), (c.near, c.near), f"within {NEAR:.0%}:\nfound"),
            ((c.off, c.off), (~c.flagged, ~c.suspicious), f"not found:\noff > {OFF:.0%}"),
        ]
        for k, (of, among, label) in enumerate(pairs):
            for which, colour in enumerate(("#2f6690", "#b7bcc1")):
                x, chosen = 4 * place + k + 0.36 * which, among[which]
                height = of[which][chosen].mean() if chosen.any() else np.nan
                axes.bar(x, height, 0.34, color=colour, label=("verdict", "trace alone")[which] if x < 1 else None)
                if np.isfinite(height):
                    axes.text(x, height + 0.02, f"{height:.0%}", ha="center", fontsize=7)
            axes.text(4 * place + k + 0.18, -0.03, label, ha="center", va="top", fontsize=6.5)
        axes.text(4 * place + 1.18, 1.12, name, ha="center", fontsize=9, fontweight="bold")
    axes.set(ylim=(0, 1.2), xticks=[], ylabel="share of cells", xlim=(-0.6, 4 * len(names) - 0.6))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper right", fontsize=8, ncols=1)
