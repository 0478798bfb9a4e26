"""Figures of weights and patterns, on axes of one's own or new ones. Matplotlib is imported when one is called."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float

Axes = Any  # of Matplotlib


def columns(
    W: Float[Array | np.ndarray, "_ features"], axes: Axes | None = None, names: Sequence[str] | None = None
) -> Axes:
    """The columns of W as arrows, with the polygon around those of the live features. `names` label the arrows."""
    W = np.asarray(W, float)
    if W.ndim != 2 or len(W) != 2:
        raise ValueError(f"got W of shape {W.shape}: write (2, features), such as the first two rows of canonical(W)")
    if names is not None and len(names) != W.shape[1]:
        raise ValueError(f"got {len(names)} names for {W.shape[1]} columns: write one for each")
    from matplotlib import colormaps
    from scipy.spatial import ConvexHull, QhullError

    ax = _axes(axes, (3.2, 3.2))
    size = np.linalg.norm(W, axis=0)
    colours = colormaps["viridis"](np.linspace(0, 0.85, W.shape[1]))
    try:
        hull = W[:, ConvexHull(W.T).vertices]
        ax.fill(*hull, facecolor="0.94", edgecolor="0.6", linewidth=1, zorder=0)
    except (QhullError, ValueError):  # fewer than three directions, or NaN: there is no polygon
        pass
    for i in np.flatnonzero(size > 0.08 * np.nanmax(size, initial=0)):
        style = dict(arrowstyle="-|>", color=colours[i], linewidth=1.8, shrinkA=0, shrinkB=0, mutation_scale=12)
        ax.annotate("", W[:, i], (0, 0), arrowprops=style)
        if names is not None:
            place = W[:, i] * (1 + 0.14 * np.nanmax(size) / max(size[i], 1e-9))
            ax.text(*place, names[int(i)], color=colours[i], ha="center", va="center")
    dead = size <= 0.08 * np.nanmax(size, initial=0)
    ax.scatter(*W[:, dead], color=colours[dead], s=12, zorder=3)
    reach = 1.3 * max(np.nanmax(size, initial=0), 1e-3)
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    ax.set(xlabel="first hidden dimension", ylabel="second hidden dimension")
    ax.locator_params(nbins=5)
    return ax


def attention(
    pattern: Float[Array | np.ndarray, "*heads _ _"], axes: Axes | None = None, tokens: Sequence[str] | None = None
) -> Any:
    """How much each position attends to each: one head on axes, or several side by side in a new figure."""
    pattern = np.asarray(pattern, float)
    if pattern.ndim not in (2, 3) or pattern.shape[-1] != pattern.shape[-2]:
        raise ValueError(f"got a pattern of shape {pattern.shape}: write (t, t) for one head, or (heads, t, t)")
    if tokens is not None and len(tokens) != pattern.shape[-1]:
        raise ValueError(f"got {len(tokens)} tokens for {pattern.shape[-1]} positions: write one for each")
    heads = pattern.reshape(-1, *pattern.shape[-2:])
    if axes is None and len(heads) > 1:
        from matplotlib.figure import Figure

        figure = Figure((2.4 * len(heads) + 0.9, 3.0), layout="constrained")
        places = np.ravel(figure.subplots(1, len(heads), sharey=True))
    else:
        figure, places = None, np.ravel(_axes(axes, (3.6, 3.2)))
    if len(places) != len(heads):
        raise ValueError(f"got {len(places)} axes for {len(heads)} heads: write as many, or none")
    for h, (place, head) in enumerate(zip(places, heads, strict=True)):
        image = _head(place, head, tokens)
        if len(heads) > 1:
            place.set_title(f"head {h}", fontsize="medium")
    places[0].set_ylabel("from position")
    places[0].figure.colorbar(image, ax=list(places), label="attention", fraction=0.05, pad=0.02)
    return places[0] if figure is None else figure


def _head(axes: Axes, head: Float[np.ndarray, "t t"], tokens: Sequence[str] | None) -> Any:
    image = axes.imshow(head, vmin=0, vmax=1, cmap="Blues", interpolation="nearest")
    axes.set_xlabel("to position")
    if tokens is not None:
        axes.set_xticks(range(len(tokens)), tokens, fontsize="small")
        axes.set_yticks(range(len(tokens)), tokens, fontsize="small")
    else:
        axes.locator_params(integer=True, nbins=6)
    return image


def _axes(axes: Axes | None, size: tuple[float, float]) -> Axes:
    """The given axes, or those of a new figure, which no window belongs to."""
    if axes is not None:
        return axes
    from matplotlib.figure import Figure

    return Figure(size, layout="constrained").subplots()
