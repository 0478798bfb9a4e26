"""The geometry of superposition, read off the weights: pure functions of W (hidden, features) and b (features,)."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Scalar

LIVE = 0.5  # a feature is a vertex if |W_i| exceeds this: half the radius of the smallest polygon of the theory


class Geometry(NamedTuple):
    """|W_i|, b_i, the angle of W_i in the plane (radians; NaN unless hidden = 2), D_i, interference, and D*."""

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


def leverage(W: Float[Array, "hidden features"]) -> Float[Array, " features"]:
    """t_i = W_i' (W W')^+ W_i: how far feature i is alone in its direction. D_i <= t_i <= 1, and sum_i t_i = rank W.

    D_i = t_i in tight frames. Singular values below 1e-5 of the largest count as zero.
    """
    _, size, V = jnp.linalg.svd(W, full_matrices=False)
    return jnp.sum(jnp.where(size[:, None] > 1e-5 * size[0], V, 0) ** 2, axis=0)


def canonical(W: Float[Array, "hidden features"]) -> Float[Array, "hidden features"]:
    """The W among all O W, O orthogonal, that is upper triangular with a diagonal that is not negative.

    W' W, all that the model computes with, stays. Unique where the first `hidden` columns are independent.
    """
    R = jnp.linalg.qr(W, mode="complete").R
    sign = jnp.where(jnp.diagonal(R) < 0, -1, 1)
    return sign[:, None] * R


def blocks(W: Float[Array | np.ndarray, "hidden features"], overlap: float = 0.1) -> list[Int[np.ndarray, " block"]]:
    """The live features in groups that share no direction, as indices: linked if |W^_i . W^_j| > overlap. On the host.

    The summands of a tegum product (Elhage et al. 2022): figures in orthogonal subspaces. Largest group first.
    """
    from scipy.sparse.csgraph import connected_components  # here: it takes a while to import

    W = np.asarray(W, float)
    live = np.flatnonzero(np.sum(W**2, axis=0) > LIVE**2)
    directions = W[:, live] / np.linalg.norm(W[:, live], axis=0)
    count, label = connected_components(np.abs(directions.T @ directions) > overlap, directed=False)
    return sorted((live[label == i] for i in range(count)), key=len, reverse=True)


POLYTOPES = {
    (1, 1): "dedicated",
    (2, 1): "digon",
    (3, 2): "triangle",
    (5, 2): "pentagon",
    (6, 2): "hexagon",
    (4, 3): "tetrahedron",
    (8, 3): "square antiprism",
    (5, 4): "4-simplex",
}
"""(features, dimensions) -> the tight frame of unit vectors with one orbit that is met in toy models."""


def polytope(W: Float[Array | np.ndarray, "hidden block"], tolerance: float = 0.05) -> str:
    """The name of one block's figure: that of `POLYTOPES` if its D_i are dimensions/features within `tolerance` of it.

    Else `features/dimensions`, such as 7/3: a figure that is stretched, or has no name. On the host.
    """
    W = np.asarray(W, float)
    size = np.linalg.svd(W, compute_uv=False)
    dimensions, features = int(np.sum(size > 0.1 * size[0])), W.shape[1]
    D = np.asarray(dimensionality(jnp.asarray(W, jnp.float32)))
    regular = np.all(np.abs(D - dimensions / features) < tolerance * dimensions / features)
    name = POLYTOPES.get((features, dimensions))
    return name if name is not None and regular else f"{features}/{dimensions}"


def _divide(numerator: Array, denominator: Array) -> Array:
    """numerator/denominator, and 0 where the denominator is 0; NaN stays NaN."""
    return jnp.where(denominator == 0, 0, numerator / jnp.where(denominator == 0, 1, denominator))


def kgon(W: Float[Array | np.ndarray, "2 features"], b: Float[Array | np.ndarray, " features"]) -> str:
    """The name of a two-dimensional model's polygon, from the weights alone: `5`, `5+`, `4++`, `4+-`, ...

    k vertices, features with |W_i| > 1/2; a `+` for each of the others with positive bias; a `-` for each vertex whose
    own output never fires, |W_i|^2 + b_i <= 0. Chen et al. 2023 (arXiv 2310.06301). `nan` if weights are not finite.
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
