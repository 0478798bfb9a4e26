"""The figure of the `tms` experiment: opposing staircases."""

import itertools
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.figure import Figure

import slt.plots
import toymodels as tm
from experiments.shared import plots
from experiments.tms.report import places, sequences, usable

DASHED: Any = dict(color="#8a8f94", lw=1, ls=(0, (4, 3)))


def draw(results: xr.Dataset) -> Figure:
    """Columns: three runs. Rows: their polygons, their loss, and lambda-hat; dashed, what the polygons have."""
    each = results.stack(run=("bias_scale", "seed")).transpose("run", ...)
    named, changes = sequences(results), places(results, "kgon")
    with plt.rc_context(plots.STYLE):
        figure, panels = plt.subplots(3, 3, figsize=(12, 6.6), layout="constrained", height_ratios=[0.8, 1.5, 1.6])
        for column, run in enumerate(_chosen(named)):
            _staircase(panels[:, column], each.isel(run=run), named[run], changes[run])
        plt.close(figure)
    return figure


def _chosen(named: list[tuple[str, ...]], count: int = 3) -> list[int]:
    """The runs to show: one of each sequence of polygons, long sequences and many vertices first; then any others."""
    ranked = sorted(range(len(named)), key=lambda run: (-len(named[run]), named[run][-1][0] != "5", run))
    first = [run for i, run in enumerate(ranked) if named[run] not in [named[other] for other in ranked[:i]]]
    return (first + [run for run in ranked if run not in first])[:count]


def _staircase(panels: np.ndarray, one: xr.Dataset, names: tuple[str, ...], changes: list[int]) -> None:
    """One run: its polygons above the phases, its loss with the levels of the theory, and lambda-hat."""
    top, middle, bottom = panels
    edges = one.epoch.values[[0, *changes, -1]]
    shown = one.reset_coords(drop=True).assign_coords(epoch=("step", one.epoch.values)).swap_dims(step="epoch")
    negative = np.where(usable(one), "", "negative")
    shown = shown.assign(loss_at_centre=shown.loss, findings=("epoch", negative))
    phases = [(begin, end, "") for begin, end in itertools.pairwise(edges)]
    slt.plots.curve(shown, (middle, bottom), "epoch", phases=phases)
    bottom.set_xscale("linear")
    bottom.set_ylim(0, 13)
    middle.set_ylabel("population loss")
    middle.tick_params(labelbottom=False)
    top.set_title(f"{' → '.join(names)}   (seed {int(one.seed)})", fontweight="bold")
    top.axis("off")
    for (begin, end, _), name, place in zip(phases, names, [*changes, one.sizes["step"] - 1], strict=True):
        centre = np.clip((begin + end) / 2 / edges[-1], 0.12, 0.88)
        inset = top.inset_axes((centre - 0.17, -0.1, 0.34, 1.0))
        tm.plots.columns(one.W.values[max(place - 2, 0)], inset)
        inset.axis("off")
        inset.set_title(name, y=0.92)
        if name in one.theory:
            middle.plot([begin, end], [one.level_loss.sel(theory=name)] * 2, **DASHED)
            bottom.plot([begin, end], [one.level_llc.sel(theory=name)] * 2, **DASHED)
    found = one.epoch.values[np.isfinite(one.llc_jump.values)]
    bottom.plot(found, np.full(len(found), 0.6), "^", color=slt.plots.LLC, ms=7)  # change points of lambda-hat
    bottom.set_xlim(edges[0], edges[-1])
    middle.set_xlim(edges[0], edges[-1])
