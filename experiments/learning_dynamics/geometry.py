"""The geometry of a model: the D_i of the features that count, and the name of its figure."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import toymodels as tm

ALIVE = 0.3  # norm from which a feature counts: half the smallest of a figure, 1/sqrt(3) in the two lines
OVERLAP = 0.3  # |cos| from which two features are of one figure: training leaves .1 between orthogonal ones
NAMED = {
    "": "nothing",
    "6/1": "one line",
    "3/1 + 3/1": "two lines",
    "digon + digon + digon": "octahedron",
}


def counted(W: Float[Array, "hidden features"]) -> Float[Array, " features"]:
    """D_i of the features that count, 0 of the others: D_i does not feel scale, so tiny weights have one too."""
    return jnp.where(jnp.linalg.norm(W, axis=0) <= ALIVE, 0, tm.dimensionality(W))


def figure_name(W: Float[np.ndarray, "hidden features"]) -> str:
    """The figures in orthogonal subspaces, largest first; `two lines` is each set merged on its own line."""
    if not np.isfinite(W).all():
        return "nan"
    name = " + ".join(tm.polytope(W[:, block]) for block in tm.blocks(W, OVERLAP))
    return NAMED.get(name, name)
