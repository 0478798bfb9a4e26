"""The figure that everybody draws of a learning-coefficient curve. Matplotlib is imported when it is called."""

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any, SupportsFloat

import numpy as np

Axes = Any  # of Matplotlib
Dataset = Any  # of xarray
Phase = tuple[SupportsFloat, SupportsFloat, str]

LOSS, LLC, FINDING = "0.25", "#0072B2", "#D55E00"  # told apart without colour vision too
DECADES = 100  # from this ratio on an axis is logarithmic


def curve(data: Dataset, axes: Any = None, x: str = "step", *, phases: Sequence[Phase] | None = None) -> Any:
    """The loss L(w*) and lambda-hat with its standard error over `x`, of a data set with the fields of an `LLC`.

    Further dimensions are runs: a thin line each, and their median thick. A checkpoint with something in `findings` is
    marked. Shaded are `phases`, (begin, end, name), or what lies between the steps of a variable `boundary`. axes: two,
    or one with the loss at the right; without any, the result is a new Figure.
    """
    missing = [name for name in ("value", "stderr", "loss_at_centre") if name not in data]
    if missing or x not in data["value"].dims:
        raise ValueError(f"got a data set without {missing or x}: give the estimates of checkpoints along {x!r}")
    figure, loss_axes, llc_axes = _axes(axes)
    steps = np.asarray(data[x].values, float)
    loss, value, stderr = (_runs(data, name, x) for name in ("loss_at_centre", "value", "stderr"))
    _lines(loss_axes, steps, loss, LOSS)
    _lines(llc_axes, steps, value, LLC)
    for row, error in zip(value, stderr, strict=True):
        llc_axes.fill_between(steps, row - error, row + error, color=LLC, alpha=0.25 / np.sqrt(len(value)), linewidth=0)
    loss_axes.set_ylabel(_label(data, "loss_at_centre", r"loss $L(w^*)$"))
    llc_axes.set_ylabel(_label(data, "value", r"learning coefficient $\hat\lambda$"), color=LLC)
    llc_axes.set_xlabel(_label(data, x, x))
    if "findings" in data:
        _mark(llc_axes, steps, value, _runs(data, "findings", x).astype(str))
    _shade(loss_axes, llc_axes, _phases(data, steps) if phases is None else phases)
    _limits(loss_axes, loss, logarithmic=True)
    _limits(llc_axes, value)
    if steps.max() >= DECADES * max(steps[steps > 0].min(initial=np.inf), 1e-300):
        llc_axes.set_xscale("symlog", linthresh=steps[steps > 0].min())
        llc_axes.set_xlim(steps.min(), steps.max())
    return axes if figure is None else figure


def _axes(axes: Any) -> tuple[Any, Axes, Axes]:
    """The new figure if there is one, and the axes of the loss and of lambda-hat."""
    if axes is None:
        from matplotlib.figure import Figure

        figure = Figure((6.0, 4.5), layout="constrained")
        return figure, *figure.subplots(2, 1, sharex=True, height_ratios=(2, 3))
    several = np.ravel(np.asarray(axes, object))
    if len(several) > 2:
        raise ValueError(f"got {len(several)} axes: write one, or two for loss and lambda-hat")
    return None, several[0] if len(several) == 2 else several[0].twinx(), several[-1]


def _runs(data: Dataset, name: str, x: str) -> np.ndarray:
    """A variable as (run, place along x)."""
    values = data[name].transpose(..., x).values
    return values.reshape(-1, values.shape[-1])


def _lines(axes: Axes, steps: np.ndarray, values: np.ndarray, colour: str) -> None:
    if len(values) > 1:
        axes.plot(steps, values.T, color=colour, linewidth=0.6, alpha=0.4)
    seen = np.isfinite(values).any(axis=0)
    median = np.full(len(steps), np.nan)
    median[seen] = np.nanmedian(values[:, seen], axis=0)
    axes.plot(steps, median, color=colour, linewidth=2)


def _label(data: Dataset, name: str, otherwise: str) -> str:
    units = data[name].attrs.get("units", "")
    return f"{otherwise} [{units}]" if units not in ("", "1") else otherwise


def _mark(axes: Axes, steps: np.ndarray, value: np.ndarray, findings: np.ndarray) -> None:
    """A ring about each estimate of which something was found, and the commonest kinds in the legend."""
    run, place = np.nonzero(findings != "")
    if len(run) == 0:
        return
    kinds = Counter(kind for text in findings[run, place] for kind in text.replace(", ", ",").split(","))
    lines = [f"{kind}: {count} of {findings.size}" for kind, count in kinds.most_common(3)]
    style = dict(facecolors="none", edgecolors=FINDING, s=24, linewidths=1.2, zorder=3)
    axes.scatter(steps[place], value[run, place], label="\n".join(lines), **style)
    axes.legend(fontsize="small", loc="best", framealpha=0.8)


def _phases(data: Dataset, steps: np.ndarray) -> list[Phase]:
    """What lies between the boundaries of a data set, without names."""
    if "boundary" not in data:
        return []
    inner = np.ravel(data["boundary"].values).astype(float)
    edges = [steps.min(), *np.sort(inner[np.isfinite(inner)]), steps.max()]
    return [(begin, end, "") for begin, end in itertools.pairwise(edges)]


def _shade(top: Axes, bottom: Axes, phases: Sequence[Phase]) -> None:
    """Every other phase is grey, and all names stand above."""
    twins = top.bbox.bounds == bottom.bbox.bounds
    for axes in (bottom,) if twins else (top, bottom):
        for begin, end, _ in phases[::2]:
            axes.axvspan(begin, end, color="0.5", alpha=0.12, linewidth=0, zorder=0)
    style = dict(xycoords=("data", "axes fraction"), textcoords="offset points", fontsize="small")
    for begin, _, name in phases:
        top.annotate(name, (begin, 1), (2, 3), **style)


def _limits(axes: Axes, values: np.ndarray, *, logarithmic: bool = False) -> None:
    """A range that holds all values but single ones far off: about that of the medians of three neighbours."""
    values = np.where(np.isfinite(values), values, np.nan)
    values = values[:, np.isfinite(values).any(axis=0)]
    if values.size == 0:
        return
    low, high = np.nanmin(values), np.nanmax(values)
    if logarithmic and low > 0 and high > DECADES * low:
        axes.set_yscale("log")
        return
    if values.shape[1] > 2:
        neighbours = np.stack([np.roll(values, shift, axis=1)[:, 1:-1] for shift in (-1, 0, 1)])
        middle = np.median(neighbours, axis=0)
        middle = middle[np.isfinite(middle)]
        if middle.size:
            reach = 0.5 * np.ptp(middle)
            low, high = max(low, middle.min() - reach), min(high, middle.max() + reach)
    margin = 0.06 * max(high - low, 1e-3 * max(abs(low), abs(high), 1e-9))
    axes.set_ylim(low - margin, high + margin)
