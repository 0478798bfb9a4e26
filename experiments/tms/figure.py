"""The figure of the `tms` experiment: opposing staircases above, the comparison over all runs below."""

from collections import Counter
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import slt.plots
import toymodels as tm
from experiments.shared import plots
from experiments.tms.case import SETTLE
from experiments.tms.claims import LEVEL_WIDTH, forecast, places, r_squared, sequences, usable

LOSS, LLC, DARK, GREY = slt.plots.LOSS, slt.plots.LLC, "#2f3e46", "#8a8f94"
THEORY = {"5": 7.0, "5+": 8.5, "6": 8.5}  # lambda of the k-gons where it is known: Chen et al. 2023
SMALL: Any = dict(textcoords="offset points", ha="right", fontsize=8.5, color="#555b60")


def draw(results: xr.Dataset) -> Figure:
    """Columns: three runs (polygons, loss, lambda-hat). Last row: scatter, distances of transitions, forecast."""
    each = results.stack(run=("bias_scale", "seed")).transpose("run", ...)
    with plt.rc_context(plots.STYLE):
        figure = plt.figure(figsize=(12, 9.2), layout="constrained")
        rows = figure.add_gridspec(4, 3, height_ratios=[0.95, 1.5, 1.6, 1.7], hspace=0.06)
        for column, run in enumerate(_chosen(results)):
            panels = [figure.add_subplot(rows[i, column]) for i in range(3)]
            _staircase(panels, each.isel(run=run), sequences(results)[run], places(results, "kgon")[run])
        _scatter(figure.add_subplot(rows[3, 0]), results)
        _distances(figure.add_subplot(rows[3, 1]), results)
        _forecast(figure.add_subplot(rows[3, 2]), results)
        figure.suptitle(
            "Toy model of superposition, 6 features in 2 dimensions: polygons, loss and learning coefficient"
        )
        plt.close(figure)
    return figure


def _chosen(results: xr.Dataset, count: int = 3) -> list[int]:
    """The runs to show: one of each sequence of polygons, long sequences and many vertices first; then any others."""
    found = sequences(results)
    ranked = sorted(range(len(found)), key=lambda run: (-len(found[run]), found[run][-1][0] != "5", run))
    first = [run for i, run in enumerate(ranked) if found[run] not in [found[other] for other in ranked[:i]]]
    return (first + [run for run in ranked if run not in first])[:count]


def _staircase(panels: list[Axes], one: xr.Dataset, names: tuple[str, ...], changes: list[int]) -> None:
    """One run: its polygons above the phases, its loss with the levels of the theory, and lambda-hat."""
    top, middle, bottom = panels
    epoch, last = one.epoch.values, one.sizes["step"] - 1
    starts, ends = [0, *changes], [*changes, last]
    phases = [(epoch[a], epoch[b], name) for a, b, name in zip(starts, ends, names, strict=True)]
    findings = np.where(np.char.find(one.findings.values.astype(str), "negative") >= 0, "negative", "")
    shown = one.reset_coords(drop=True).assign_coords(epoch=("step", epoch)).swap_dims(step="epoch")
    shown = shown.assign(loss_at_centre=shown.loss, findings=("epoch", findings))
    slt.plots.curve(shown, (middle, bottom), "epoch", phases=phases)
    for axes in panels:
        axes.set_xlim(epoch[0], epoch[-1])
    top.axis("off")
    top.set_title(f"{' → '.join(names)}   ({_begun(one)})", fontweight="bold")
    for (begin, end, _), place in zip(phases, ends, strict=True):
        centre = np.clip((begin + end) / 2 / max(epoch[-1], 1), 0.1, 0.9)
        inset = top.inset_axes((centre - 0.17, -0.1, 0.34, 1.12))
        tm.plots.columns(one.W.values[max(place - 2, 0)], inset)
        inset.axis("off")
    _levels(middle, one)
    _marks(bottom, one, phases)


def _begun(one: xr.Dataset) -> str:
    biases = "zero" if float(one.bias_scale) == 0 else "normal"
    return f"{biases} biases, seed {int(one.seed)}"


def _levels(axes: Axes, one: xr.Dataset) -> None:
    """The theory's levels that the run comes near, and the range of the loss once it has settled."""
    late = one.isel(step=slice(SETTLE, None))
    near = Counter(late.level.values[late.level_distance.values < LEVEL_WIDTH].tolist())
    for name in [name for name, count in near.items() if count >= 3]:
        level = float(one.level_loss.sel(theory=name))
        axes.axhline(level, color=GREY, lw=0.8, ls=(0, (4, 3)), zorder=1)
        axes.annotate(name, (1, level), xycoords=("axes fraction", "data"), xytext=(-3, 2), **SMALL)
    settled = late.loss.values[np.isfinite(late.loss.values)]
    if settled.size:
        margin = 0.2 * np.ptp(settled) + 2e-3
        axes.set_ylim(settled.min() - margin, settled.max() + margin)
    axes.set_ylabel("population loss")
    axes.tick_params(labelbottom=False)


def _marks(axes: Axes, one: xr.Dataset, phases: list[tuple[Any, Any, str]]) -> None:
    """The theory's lambda where it is known, and the change points of lambda-hat with their intervals."""
    for begin, end, name in phases:
        if name in THEORY:
            axes.plot([begin, end], [THEORY[name]] * 2, color=GREY, lw=1, ls=(0, (4, 3)))
            axes.annotate(rf"$\lambda={THEORY[name]:g}$", (end, THEORY[name]), xytext=(-3, 3), **SMALL)
    epoch = one.epoch.values
    for i in np.flatnonzero(np.isfinite(one.llc_jump.values)):
        ends = [int(one.llc_jump_low[i]), int(one.llc_jump_high[i])]
        axes.plot(epoch[ends], [0.6, 0.6], color=LLC, lw=4, solid_capstyle="butt")
        axes.plot(epoch[i], 0.6, "^", color=LLC, ms=7, label="change point")
        axes.legend(fontsize="small", loc="lower right")
    axes.set_ylim(0, 13)


def _scatter(axes: Axes, results: xr.Dataset) -> None:
    """lambda-hat against the loss at every checkpoint: how much of it is the loss with its sign turned."""
    kept = usable(results)
    axes.plot(results.loss.values[kept], results.value.values[kept], ".", color=LLC, ms=2, alpha=0.35, rasterized=True)
    title = rf"all checkpoints: $R^2$ with the loss {r_squared(results):.2f}"
    axes.set(xlabel="population loss", ylabel=r"$\hat\lambda$", title=title)


def _distances(axes: Axes, results: xr.Dataset) -> None:
    """How far the nearest transition of a curve is from each change of polygon, in the same run and in the others."""
    found = {name: [np.array(row) for row in places(results, name)] for name in ("kgon", "llc", "loss")}
    edges = np.arange(-10.5, 11.5).tolist()
    changes = [(run, i) for run, row in enumerate(found["kgon"]) for i in row]
    for name, colour, label in (("loss", LOSS, "loss"), ("llc", LLC, r"$\hat\lambda$")):
        own = [_nearest(i, found[name][run]) for run, i in changes]
        axes.hist(np.clip(own, -10, 10), edges, histtype="step", color=colour, lw=2, label=f"{label}, same run")
    runs = range(len(found["llc"]))
    null = [_nearest(i, found["llc"][other]) for run, i in changes for other in runs if other != run]
    weights = np.full(len(null), 1 / max(len(runs) - 1, 1))
    label = r"$\hat\lambda$, other runs"
    axes.hist(np.clip(null, -10, 10), edges, weights=weights, color=GREY, alpha=0.35, label=label)
    axes.set(xlabel="checkpoints to the nearest transition (ends: 10 or more)", ylabel="changes of polygon")
    axes.set_title("where the transitions lie")
    axes.legend(fontsize=8.5, loc="upper left")


def _nearest(place: int, others: np.ndarray) -> float:
    return others[np.argmin(np.abs(others - place))] - place if len(others) else np.inf


def _forecast(axes: Axes, results: xr.Dataset) -> None:
    """AUC of each early reading for leaving the 4-gon, and what lambda-hat adds to the others."""
    leave, scores, gains = forecast(results)
    for y, ((name, score), colour) in enumerate(zip(scores.items(), [LLC, LOSS, DARK, "#5d8aa8"], strict=True)):
        axes.barh(-y, score.value, color=colour, height=0.62, alpha=0.85)
        axes.plot([score.low, score.high], [-y, -y], color="black", lw=1.4)
        axes.text(0.02, -y, name.replace("-lambda-hat", r"$-\hat\lambda$"), va="center", color="white")
        axes.text(1.01, -y, f"{score.value:.2f}", va="center", fontsize=9)
    lines = [
        rf"$\hat\lambda$ adds {gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] to {name}"
        for name, gain in gains.items()
    ]
    axes.text(0.01, -3.65, "\n".join(lines), fontsize=8.5, va="top")
    axes.axvline(0.5, ymin=0.3, color=GREY, lw=1, ls=(0, (4, 3)))
    axes.set(xlim=(0, 1.12), ylim=(-4.95, 0.5), yticks=[], xlabel="AUC (0.5 = chance)")
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
    axes.set_title(f"epoch {results.read}: who will leave the 4-gon ({leave.sum()} of {len(leave)})")
