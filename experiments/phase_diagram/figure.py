"""The figure of `phase_diagram`: theory, training and lambda-hat over the plane, for both sizes."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from experiments.phase_diagram.report import HALF, competitors, winners
from experiments.phase_diagram.theory import NAMES, boundary
from experiments.shared import plots

FATES = ListedColormap(["#e8edf2", "#f2b56b", "#7fb0d6", "#8a8f94"])


def draw(results: xr.Dataset) -> Figure:
    """Rows: two features in one dimension, three in two. Columns: prototypes, trained, lambda-hat of both fates."""
    with plt.rc_context(plots.STYLE):
        figure, axes = plt.subplots(2, 4, figsize=(12, 6.2), layout="constrained", sharex=True, sharey=True)
        for row, n in zip(axes, results.features.values, strict=True):
            plane, half = results.sel(features=n), HALF[int(n)]
            _fates(row[0], plane, plane.predicted, "the least prototype")
            _fates(row[1], plane, plane.winner, "best of the trained models")
            scale: Any = dict(cmap="RdBu_r", vmin=0.5 * half, vmax=1.5 * half)
            _heat(row[2], plane, winners(plane, "value"), r"$\hat\lambda$ of the winner", **scale)
            shown = _heat(row[3], plane, competitors(plane, "value"), "and of its best competitor", **scale)
            row[3].set_facecolor("#d9d9d9")  # no competitor
            figure.colorbar(shown, ax=row[3], ticks=[0.5 * half, half, 1.5 * half])
            row[0].set_ylabel(f"n = {n}, m = {n - 1}\ndensity 1 - S of the features")
        for axis in axes[-1]:
            axis.set_xlabel("importance of the last")
        handles = [Patch(facecolor=FATES(i), edgecolor="black", label=f"last {name}") for i, name in enumerate(NAMES)]
        title = "dashed: end of superposition, closed form"
        figure.legend(handles=handles, title=title, loc="outside lower center", ncols=4)
        plt.close(figure)
    return figure


def _fates(axis: Axes, plane: xr.Dataset, fates: xr.DataArray, title: str) -> Any:
    return _heat(axis, plane, fates, title, cmap=FATES, norm=BoundaryNorm(np.arange(5) - 0.5, 4))


def _heat(axis: Axes, plane: xr.Dataset, values: xr.DataArray, title: str, **colours: Any) -> Any:
    r, s = plane.importance.values, plane.density.values
    mesh = axis.pcolormesh(r, s, values.values, shading="nearest", rasterized=True, **colours)
    line = np.geomspace(r[0], r[-1] if plane.features == 2 else 1, 200)
    axis.plot(line, boundary(line), color="black", lw=1, ls="--")
    axis.set(xscale="log", yscale="log", title=title)
    return mesh
