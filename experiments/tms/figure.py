"""The figure of the `tms` experiment: opposing staircases above, the comparison over all runs below."""

from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments import plots
from experiments.tms.report import LEVEL_WIDTH, SETTLE, forecast, negative, polygons, r_squared

LOSS, LLC, POLYGON, GREY = "#1b6ca8", "#c8553d", "#2f3e46", "#8a8f94"
SHADES = {"4": "#e8edf2", "5": "#fbe9d0", "6": "#e3f0dc"}


def draw(results: xr.Dataset) -> Figure:
    """Columns: three runs (polygons, loss, lambda-hat). Last row: scatter, distances of transitions, forecast."""
    with plt.rc_context(plots.STYLE):
        figure = plt.figure(figsize=(12, 9.2), layout="constrained")
        rows = figure.add_gridspec(4, 3, height_ratios=[0.95, 1.5, 1.6, 1.7], hspace=0.06)
        for column, run in enumerate(_choose(results)):
            _staircase(figure, [rows[i, column] for i in range(3)], results, run, first=column == 0)
        _scatter(figure.add_subplot(rows[3, 0]), results)
        _distances(figure.add_subplot(rows[3, 1]), results)
        _forecast(figure.add_subplot(rows[3, 2]), results)
        figure.suptitle(
            "Toy model of superposition, 6 features in 2 dimensions: the loss falls and the learning coefficient rises where the polygon changes"
        )
        plt.close(figure)
    return figure


def _choose(results: xr.Dataset, count: int = 3) -> list[int]:
    """The runs to show: one of each sequence of polygons, long sequences and many vertices first; then any others."""
    sequences = [tuple(polygons(results, run)) for run in range(results.sizes["run"])]
    ranked = sorted(range(len(sequences)), key=lambda run: (-len(sequences[run]), sequences[run][-1][0] != "5", run))
    first = [run for i, run in enumerate(ranked) if sequences[run] not in [sequences[other] for other in ranked[:i]]]
    return (first + [run for run in ranked if run not in first])[:count]


def _phases(results: xr.Dataset, run: int) -> list[tuple[int, int, str]]:
    """(first checkpoint, last, name) of each phase of a run."""
    names, last = results.kgon.values[run], results.sizes["epoch"] - 1
    starts = [0, *np.flatnonzero(np.isfinite(results.kgon_jump.values[run]))]
    settled = min(SETTLE, last)
    return [(int(a), int(b), str(names[max(a, settled)])) for a, b in zip(starts, [*starts[1:], last], strict=True)]


def _staircase(figure: Figure, cells: list, results: xr.Dataset, run: int, *, first: bool) -> None:
    top, middle, bottom = (figure.add_subplot(cell) for cell in cells)
    epoch, phases = results.epoch.values, _phases(results, run)
    for axes in (middle, bottom):
        for a, b, name in phases:
            axes.axvspan(epoch[a], epoch[b], color=SHADES.get(name[0], "#eeeeee"), lw=0, zorder=0)
            axes.axvline(epoch[a], color="white", lw=2, zorder=1)
        axes.set_xlim(epoch[0], epoch[-1])
    _polygons(top, results, run, phases)
    top.set_title(
        f"{' → '.join(polygons(results, run))}   ({results.init.values[run]} biases, seed {results.seed.values[run]})",
        fontweight="bold",
    )
    _loss(middle, results, run)
    _llc(bottom, results, run, phases, first=first)
    if first:
        middle.set_ylabel("population loss", color=LOSS)
        bottom.set_ylabel(r"learning coefficient $\hat\lambda$", color=LLC)
    bottom.set_xlabel("epoch")
    middle.tick_params(labelbottom=False)


def _polygons(axes: Axes, results: xr.Dataset, run: int, phases: list[tuple[int, int, str]]) -> None:
    """The columns of W at the end of each phase, above the phase."""
    epoch = results.epoch.values
    axes.set_xlim(epoch[0], epoch[-1])
    axes.axis("off")
    for a, b, name in phases:
        middle, settled = (epoch[a] + epoch[b]) / 2 / max(epoch[-1], 1), max(a, b - 2)
        inset = axes.inset_axes((min(max(middle, 0.1), 0.9) - 0.17, -0.1, 0.34, 1.12))
        W = results.W.values[run, settled]
        vertex = np.linalg.norm(W, axis=0) > 0.5
        order = np.flatnonzero(vertex)[np.argsort(np.arctan2(W[1, vertex], W[0, vertex]))]
        closed = np.append(order, order[:1])
        inset.fill(*W[:, order], color=SHADES.get(name[0], "#eeeeee"), zorder=0)
        inset.plot(*W[:, closed], color=POLYGON, lw=1)
        for w in W.T:
            inset.plot([0, w[0]], [0, w[1]], color=POLYGON, lw=0.6, alpha=0.5)
        inset.plot(*W[:, vertex], "o", color=POLYGON, ms=3.5)
        inset.plot(*W[:, ~vertex], "o", mfc="white", mec=POLYGON, ms=3.5)
        inset.set(xlim=(-1.45, 1.45), ylim=(-1.45, 1.45), aspect="equal")
        inset.axis("off")
        inset.text(1.0, 0.95, name, transform=inset.transAxes, ha="right", va="top", fontsize=11, color=POLYGON)


def _loss(axes: Axes, results: xr.Dataset, run: int) -> None:
    """The loss with the theory's levels that the run comes near."""
    loss = results.loss.values[run]
    axes.plot(results.epoch, loss, color=LOSS, lw=1.8)
    near = results.level.values[run, SETTLE:][results.level_distance.values[run, SETTLE:] < LEVEL_WIDTH]
    for name in [name for name, count in Counter(map(str, near)).items() if count >= 3]:
        axes.axhline(_level(results, name), color=GREY, lw=0.8, ls=(0, (4, 3)), zorder=1)
        axes.annotate(
            name, (1, _level(results, name)), xycoords=("axes fraction", "data"), xytext=(-3, 2),
            textcoords="offset points", ha="right", fontsize=8.5, color="#555b60",
        )  # fmt: skip
    settled = loss[SETTLE:][np.isfinite(loss[SETTLE:])]
    if settled.size:
        margin = 0.2 * np.ptp(settled) + 2e-3
        axes.set_ylim(settled.min() - margin, settled.max() + margin)


def _level(results: xr.Dataset, name: str) -> float:
    return float(results.level_loss.sel(theory=name))


THEORY = {"5": 7.0, "5+": 8.5, "6": 8.5}  # lambda of the k-gons where it is known: Chen et al. 2023


def _llc(axes: Axes, results: xr.Dataset, run: int, phases: list[tuple[int, int, str]], *, first: bool) -> None:
    """lambda-hat with two standard errors, its change points and their intervals, the theory where it is known."""
    epoch, value, stderr = results.epoch.values, results.value.values[run], results.stderr.values[run]
    axes.fill_between(epoch, value - 2 * stderr, value + 2 * stderr, color=LLC, alpha=0.22, lw=0)
    axes.plot(epoch, value, color=LLC, lw=1.5)
    for a, b, name in phases:
        if name in THEORY:
            axes.plot([epoch[a], epoch[b]], [THEORY[name]] * 2, color=GREY, lw=1, ls=(0, (4, 3)))
            axes.annotate(
                rf"$\lambda={THEORY[name]:g}$", (epoch[b], THEORY[name]), xytext=(-3, 3), textcoords="offset points", ha="right", fontsize=8.5, color="#555b60",
            )  # fmt: skip
    for i in np.flatnonzero(np.isfinite(results.llc_jump.values[run])):
        if first:
            axes.annotate(
                "change point", (epoch[i], 0.6), xytext=(8, -3), textcoords="offset points", fontsize=8.5, color=LLC
            )
        low, high = results.llc_jump_low.values[run, i], results.llc_jump_high.values[run, i]
        axes.plot(epoch[[int(low), int(high)]], [0.6, 0.6], color=LLC, lw=4, solid_capstyle="butt")
        axes.plot(epoch[i], 0.6, "^", color=LLC, ms=7)
    axes.set_ylim(0, 13)


def _scatter(axes: Axes, results: xr.Dataset) -> None:
    """lambda-hat against the loss at every checkpoint: how much of it is the loss with its sign turned."""
    usable = ~negative(results)
    x, y = results.loss.values[usable], results.value.values[usable]
    axes.plot(x, y, ".", color=LLC, ms=2, alpha=0.35, rasterized=True)
    axes.set(
        xlabel="population loss",
        ylabel=r"$\hat\lambda$",
        title=rf"all checkpoints: $R^2$ with the loss {r_squared(results):.2f}",
    )


def _distances(axes: Axes, results: xr.Dataset) -> None:
    """How far the nearest transition of a curve is from each change of polygon, in the same run and in the others."""
    places = {
        name: [np.flatnonzero(np.isfinite(row)) for row in results[f"{name}_jump"].values]
        for name in ("kgon", "llc", "loss")
    }
    edges = np.arange(-10.5, 11.5).tolist()
    nearest = lambda i, others: others[np.argmin(np.abs(others - i))] - i if len(others) else np.inf
    for name, colour, label in (("loss", LOSS, "loss"), ("llc", LLC, r"$\hat\lambda$")):
        own = [nearest(i, places[name][run]) for run, found in enumerate(places["kgon"]) for i in found]
        axes.hist(np.clip(own, -10, 10), edges, histtype="step", color=colour, lw=2, label=f"{label}, same run")
    runs = range(len(places["kgon"]))
    pairs = [(i, other) for run in runs for i in places["kgon"][run] for other in runs if other != run]
    null = [nearest(i, places["llc"][other]) for i, other in pairs]
    if null:
        weight = np.full(len(null), 1 / max(len(runs) - 1, 1))
        axes.hist(
            np.clip(null, -10, 10), edges, weights=weight, color=GREY, alpha=0.35, label=r"$\hat\lambda$, other runs"
        )
    axes.set(
        xlabel="checkpoints to the nearest transition (ends: 10 or more)",
        ylabel="changes of polygon",
        title="where the transitions lie",
    )
    axes.legend(fontsize=8.5, loc="upper left")


def _forecast(axes: Axes, results: xr.Dataset) -> None:
    """AUC of each early reading for leaving the 4-gon, and what lambda-hat adds to the others."""
    leave, scores, gains = forecast(results)
    for y, ((name, score), colour) in enumerate(zip(scores.items(), [LLC, LOSS, POLYGON, "#5d8aa8"], strict=True)):
        axes.barh(-y, score.value, color=colour, height=0.62, alpha=0.85)
        axes.plot([score.low, score.high], [-y, -y], color="black", lw=1.4)
        axes.text(0.02, -y, name.replace("-lambda-hat", r"$-\hat\lambda$"), va="center", color="white", fontsize=10)
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
