"""The geometry of superposition, read off the weights: pure functions of W (hidden, features) and b (features,)."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

LIVE = 0.5  # a feature is a vertex if |W_i| exceeds this: half the radius of the smallest polygon of the theory


class Geometry(NamedTuple):
    """What one reads off one model's weights.

    norm: |W_i|.  bias: b_i.  angle: of W_i in the plane, radians in (-pi, pi] (NaN unless hidden = 2).
    dimensionality: D_i.  interference: sum_{j != i} (W^_i . W_j)^2, how much of the other features is read on W_i's
    direction. dimensions_per_feature: D* = m/|W|_F^2.
    """

    norm: Float[Array, " features"]
    bias: Float[Array, " features"]
    angle: Float[Array, " features"]
    dimensionality: Float[Array, " features"]
    interference: Float[Array, " features"]
    dimensions_per_feature: Scalar


def geometry(W: Float[Array, "hidden features"], b: Float[Array, " features"]) -> Geometry:
    """Norms, angles, dimensionality and interference of one model."""
    norm = jnp.linalg.norm(W, axis=0)
    angle = jnp.arctan2(W[1], W[0]) if W.shape[0] == 2 else jnp.full_like(norm, jnp.nan)
    return Geometry(norm, b, angle, dimensionality(W), interference(W), dimensions_per_feature(W))


def dimensionality(W: Float[Array, "hidden features"]) -> Float[Array, " features"]:
    """D_i = |W_i|^2 / sum_j (W^_i . W_j)^2: the share of a dimension that feature i has for itself. 0 for W_i = 0.

    Elhage et al. 2022, "The geometry of superposition"; sum_i D_i <= rank W. The capacity of Scherlis et al. 2022.
    """
    a = W.T @ W
    return _divide(jnp.diagonal(a) ** 2, jnp.sum(a**2, axis=1))


def interference(W: Float[Array, "hidden features"]) -> Float[Array, " features"]:
    """sum_{j != i} (W^_i . W_j)^2: below 1/2, feature i is read cleanly. Elhage et al. 2022, "phase change"."""
    a = W.T @ W
    norm2 = jnp.diagonal(a)
    return _divide(jnp.sum(a**2, axis=1) - norm2**2, norm2)


def dimensions_per_feature(W: Float[Array, "hidden features"]) -> Scalar:
    """D* = m/|W|_F^2, with m hidden dimensions. Elhage et al. 2022, "uniform superposition"."""
    return W.shape[0] / jnp.sum(W**2)


def _divide(numerator: Array, denominator: Array) -> Array:
    """numerator/denominator, and 0 where the denominator is 0."""
    return jnp.where(denominator > 0, numerator / jnp.where(denominator > 0, denominator, 1), 0)


def kgon(W: Float[Array | np.ndarray, "2 features"], b: Float[Array | np.ndarray, " features"]) -> str:
    """The name of a two-dimensional model's polygon, from the weights alone: `5`, `5+`, `4++`, `4+-`, ...

    k vertices, features with |W_i| > 1/2; a `+` for each of the others with positive bias; a `-` for each vertex
    whose own output never fires, |W_i|^2 + b_i <= 0. Chen et al. 2023 (arXiv 2310.06301). `nan` if the
    weights are not finite.
    """
    W, b = np.asarray(W), np.asarray(b)
    if not (np.all(np.isfinite(W)) and np.all(np.isfinite(b))):
        return "nan"
    norm2 = np.sum(W**2, axis=0)
    vertex = norm2 > LIVE**2
    silent = vertex & (norm2 + b <= 0)
    return f"{vertex.sum()}" + "+" * int(np.sum(~vertex & (b > 0))) + "-" * int(silent.sum())


def transitions(names: Sequence[str], hold: int = 3) -> list[int]:
    """Where a sequence of names changes for good: the indices where a new name begins that lasts `hold` places.

    Shorter stretches, of a model between two polygons, belong to the phase before them.
    """
    starts = [0, *(i for i in range(1, len(names)) if names[i] != names[i - 1])]
    lasting = [i for i, end in zip(starts, [*starts[1:], len(names)], strict=True) if end - i >= hold]
    return [i for before, i in itertools.pairwise(lasting) if names[i] != names[before]]
