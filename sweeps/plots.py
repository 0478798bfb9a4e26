"""Figures of sweeps: functions of a labelled data set. Matplotlib is imported when one is called."""

from typing import Any

import numpy as np


def phase_diagram(data: Any, *, x: str, y: str, value: str, axes: Any = None, boundary: Any = None) -> Any:
    """The variable `value` of an xarray.Dataset over its axes `x` and `y`, the median over all others, as a Figure.

    axes: Matplotlib's, to draw into (by default a new figure's).  boundary: a line over it, a number (the contour of
    that value) or a function of the values of `x`. Axes and the colour bar are labelled by `long_name` and `units`.
    """
    from matplotlib.figure import Figure

    if missing := [name for name in (x, y) if name not in data[value].dims]:
        raise ValueError(f"got {missing[0]!r} for an axis: {value} has the axes {', '.join(data[value].dims)}")
    if axes is None:
        axes = Figure(figsize=(5, 4), layout="constrained").subplots()
    plane = data[value].median([name for name in data[value].dims if name not in (x, y)]).transpose(y, x)
    across, up, height = np.asarray(data[x], float), np.asarray(data[y], float), np.asarray(plane, float)
    mesh = axes.pcolormesh(_edges(across), _edges(up), height, cmap="cividis", rasterized=True)
    for values, name, axis in ((across, x, axes.xaxis), (up, y, axes.yaxis)):
        axis.axes.set(**{f"{axis.axis_name}scale": "log" if _is_geometric(values) else "linear"})
        axis.set_label_text(_name(data[name]))
    axes.figure.colorbar(mesh, ax=axes, label=_name(data[value]))
    if callable(boundary):
        fine = np.geomspace(across[0], across[-1], 200) if _is_geometric(across) else np.linspace(across[0], across[-1])
        axes.plot(fine, boundary(fine), "--", color="white")
        axes.set_ylim(*sorted(_edges(up)[[0, -1]]))
    elif boundary is not None and min(height.shape) > 1:
        axes.contour(across, up, height, levels=[boundary], colors="white", linestyles="--")
    return axes.figure


def _name(variable: Any) -> str:
    """What a variable is called, with its unit."""
    units = variable.attrs.get("units", "")
    return f"{variable.attrs.get('long_name', variable.name)}{f' ({units})' if units else ''}"


def _is_geometric(values: np.ndarray) -> bool:
    """Whether an axis goes up by a constant factor, and not also by a constant step."""
    if len(values) < 3 or values.min() <= 0:
        return False
    is_even = lambda values: np.allclose(np.diff(values), np.diff(values).mean(), rtol=1e-2)
    return is_even(np.log(values)) and not is_even(values)


def _edges(values: np.ndarray) -> np.ndarray:
    """The borders of cells around values, halfway between them on the axis that is drawn."""
    on = np.log(values) if _is_geometric(values) else values
    steps = np.diff(on) / 2 if len(on) > 1 else np.array([0.5])
    edges = np.concatenate([on[:1] - steps[:1], on[1:] - steps if len(on) > 1 else [], on[-1:] + steps[-1:]])
    return np.exp(edges) if _is_geometric(values) else edges
