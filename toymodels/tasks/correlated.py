"""Features in correlated sets: the task of Elhage et al. 2022, nodes for its loss, and the levels of that loss."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from toymodels.task import Batch, Params, Task, sampling


def correlated_sets(sets: int, size: int, density: ArrayLike) -> Task:
    """`sets` groups of `size` features: a group is active as a whole, with probability `density`, its values U[0, 1].

    L = sum_i (x_i - x'_i)^2; Elhage et al. 2022, "Organization of correlated features".
    """

    @sampling
    def sample(key: Key[Array, ""], n: int) -> Batch:
        key_active, key_value = jax.random.split(key)
        active = jnp.repeat(jax.random.uniform(key_active, (sets, n)) < density, size, axis=0)
        x = jnp.where(active, jax.random.uniform(key_value, (sets * size, n)), 0).T
        return Batch(x, x)

    return Task(sample, lambda prediction, y: jnp.sum((prediction - y) ** 2))


def correlated_nodes(sets: int, size: int, density: float, nodes: int) -> Batch:
    """A fixed data set that stands for the population of `correlated_sets`: x, and in y the weight of each example.

    For every pattern of active sets `nodes` points of a Sobol sequence (one for the pattern without any), weighted with
    the pattern's probability; the weights have the mean one. `nodes` is a power of two.
    """
    from scipy.stats import qmc  # here: it takes half a second

    x, weight = [], []
    for active in itertools.product([False, True], repeat=sets):
        on = np.repeat(active, size)
        values = np.zeros((nodes if on.any() else 1, sets * size))
        if on.any():
            values[:, on] = qmc.Sobol(int(on.sum()), rng=0).random(nodes)
        x.append(values)
        probability = np.prod([density if a else 1 - density for a in active])
        weight.append(np.full(len(values), probability / len(values)))
    weights = np.concatenate(weight) * sum(map(len, weight))
    return Batch(jnp.asarray(np.concatenate(x), jnp.float32), jnp.asarray(weights, jnp.float32))


def correlated_loss(params: Params, batch: Batch) -> Float[Array, " nodes"]:
    """One number for each node of `correlated_nodes`, whose mean is E sum_i (x_i - x'_i)^2."""
    x = batch.x.T
    prediction = jax.nn.relu(params["W"].T @ (params["W"] @ x) + params["b"][:, None])
    return batch.y * jnp.sum((x - prediction) ** 2, axis=0)


def correlated_levels(density: float) -> dict[str, float]:
    """The loss of two sets of three in three dimensions at its figures, in the order of training: name -> loss.

    nothing: W = 0, b = E x.  two lines: each set merged on a line of its own, whose mean is read back.  octahedron:
    antipodal pairs with one feature of each set, x_i - ReLU(x_i - x_j) = min(x_i, x_j) where both sets are active.
    """
    nothing, lines = 6 * (density / 3 - density**2 / 4), density / 3
    return {"nothing": nothing, "two lines": lines, "merged pairs": merged_pairs(density)[1], "octahedron": density**2}


@functools.cache
def merged_pairs(density: float) -> tuple[Params, float]:
    """A critical point between two lines and the octahedron, with its loss: one feature of each set stands alone.

    The other two of each set are merged. The least loss under that symmetry, found from an antipodal pair and two
    lines in the other two dimensions; a symmetric minimum is a critical point without the symmetry.
    """
    import scipy.optimize  # here: it takes a quarter of a second

    population = correlated_nodes(2, 3, density, 256)
    spread = np.repeat(np.eye(4), [1, 2, 1, 2], axis=1).astype(np.float32)  # of (alone, merged) of each set to features
    whole = lambda z: {"W": z[:12].reshape(3, 4) @ spread, "b": z[12:] @ spread}
    height = jax.jit(jax.value_and_grad(lambda z: jnp.mean(correlated_loss(whole(z), population))))
    begin = np.zeros((4, 4))
    begin[0, 0], begin[0, 2], begin[1, 1], begin[2, 3] = 1, -1, 0.5**0.5, 0.5**0.5
    value = lambda z: tuple(np.asarray(part, float) for part in height(jnp.asarray(z, jnp.float32)))
    fit = scipy.optimize.minimize(value, begin.ravel(), jac=True, method="BFGS", options={"gtol": 1e-5})
    return jax.tree.map(np.asarray, whole(jnp.asarray(fit.x, jnp.float32))), float(fit.fun)
