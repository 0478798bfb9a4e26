"""What is read off one checkpoint of six features: loss, Hessian, dimensionality, and the name of its figure."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

import toymodels as tm
from experiments.learning_dynamics.cases import weighted_loss

ALIVE = 0.3  # norm from which a feature counts: half the smallest of a figure, 1/sqrt(3) in the two lines
OVERLAP = 0.3  # |cos| from which two features are of one figure: training leaves .1 between orthogonal ones
NAMED = {
    "": "nothing",
    "6/1": "one line",
    "3/1 + 3/1": "two lines",
    "hexagon": "hexagon",
    "digon + digon + digon": "octahedron",
}


def octahedron_reading(params: tm.Params, population: tm.Batch) -> dict[str, Array]:
    """Population loss, the norm of its gradient, its Hessian, and D_i."""
    flat, unravel = ravel_pytree(params)
    mean = lambda w: jnp.mean(weighted_loss(unravel(w), population))
    slope = jnp.linalg.norm(jax.grad(mean)(flat))
    counted_D = counted(params["W"])
    return {"dimensionality": counted_D, "loss": mean(flat), "hessian": jax.hessian(mean)(flat), "slope": slope}


def counted(W: Float[Array, "hidden features"]) -> Float[Array, " features"]:
    """D_i of the features that count, 0 of the others: D_i does not feel scale, so tiny weights have one too."""
    return jnp.where(jnp.linalg.norm(W, axis=0) <= ALIVE, 0, tm.dimensionality(W))


def summands(W: Float[np.ndarray, "hidden features"]) -> list[str]:
    """The names of the figures in orthogonal subspaces, largest first."""
    return [tm.polytope(W[:, block]) for block in tm.blocks(W, OVERLAP)]


def figure_name(W: Float[np.ndarray, "hidden features"]) -> str:
    """The figure of one model; `two lines` is each set merged on its own line."""
    if not np.isfinite(W).all():
        return "nan"
    name = " + ".join(summands(W))
    return NAMED.get(name, name)
