"""The two trainings: the octahedron of correlated features, and many equal features; with what is exact about both."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from jaxtyping import Array, Float, Key

import toymodels as tm

DATA, START, TRAIN, CHAINS = range(4)  # purposes of a seed's keys
SETS, SIZE, HIDDEN = 2, 3, 3  # the octahedron: two sets of three correlated features, in three dimensions


class Case(NamedTuple):
    """A task, the loss and optimiser to train with, and the data whose mean loss stands for the population."""

    features: int
    hidden: int
    task: tm.Task
    loss: tm.Loss
    population: tm.Batch
    tx: optax.GradientTransformation
    batch_size: int

    def begin(self, at: Mapping[str, Array]) -> tm.TrainState:
        """Weights from N(0, scale^2), and biases 0."""
        W = at["scale"] * jax.random.normal(key(at["seed"], START), (self.hidden, self.features))
        return tm.start({"W": W, "b": jnp.zeros(self.features)}, self.tx)

    def onward(
        self, at: Mapping[str, Array], state: tm.TrainState, steps: Array
    ) -> tuple[tm.TrainState, tm.Trajectory]:
        """Train one run on, through some checkpoints."""
        own = key(at["seed"], TRAIN)
        return tm.advance(own, state, steps, loss=self.loss, task=self.task, tx=self.tx, batch_size=self.batch_size)

    def chains_key(self, at: Mapping[str, Array]) -> Key[Array, ""]:
        """The key of a run's chains."""
        return key(at["seed"], CHAINS)


def key(seed: Any, purpose: int) -> Key[Array, ""]:
    """The key of one purpose of a seed, of the fast generator."""
    return tm.key(seed, purpose, tm.lowbias32)


def weighted_loss(params: dict[str, Array], batch: tm.Batch) -> Float[Array, " nodes"]:
    """One number for each node of `tm.correlated_nodes`, whose mean is E sum_i (x_i - x'_i)^2."""
    x = batch.x.T
    prediction = jax.nn.relu(params["W"].T @ (params["W"] @ x) + params["b"][:, None])
    return batch.y * jnp.sum((x - prediction) ** 2, axis=0)


def octahedron(density: float, nodes: int, *, tx: optax.GradientTransformation, batch_size: int) -> Case:
    """Six features in three dimensions, as two sets of three; `population` is for `weighted_loss`."""
    features, task = SETS * SIZE, tm.correlated_sets(SETS, SIZE, density)
    loss, population = (
        tm.objective(tm.Autoencoder(features, HIDDEN), task),
        tm.correlated_nodes(SETS, SIZE, density, nodes),
    )
    return Case(features, HIDDEN, task, loss, population, tx, batch_size)


def equal_features(
    features: int, hidden: int, density: float, samples: int, *, tx: optax.GradientTransformation, batch_size: int
) -> Case:
    """Many features of the same importance and density; `population` are `samples` of them."""
    task = tm.sparse_features(jnp.ones(features), density)
    population = jax.jit(task.sample, static_argnums=1)(key(0, DATA), samples)
    loss = tm.objective(tm.Autoencoder(features, hidden), task)
    return Case(features, hidden, task, loss, population, tx, batch_size)


def figures(density: float) -> dict[str, float]:
    """The loss of the octahedron's task at its figures: name -> E sum_i (x_i - x'_i)^2, in the order of training.

    nothing: W = 0, b = E x.  two lines: each set merged on a line of its own, whose mean is read back.  octahedron:
    antipodal pairs with one feature of each set, x_i - ReLU(x_i - x_j) = min(x_i, x_j) where both sets are active.
    """
    nothing, lines = 6 * (density / 3 - density**2 / 4), density / 3
    return {"nothing": nothing, "two lines": lines, "merged pairs": merged_pairs(density)[1], "octahedron": density**2}


@functools.cache
def merged_pairs(density: float) -> tuple[tm.Params, float]:
    """A critical point between two lines and the octahedron, with its loss: one feature of each set stands alone.

    The other two of each set are merged. The least loss under that symmetry, found from an antipodal pair and two
    lines in the other two dimensions; a symmetric minimum is a critical point without the symmetry.
    """
    population = tm.correlated_nodes(SETS, SIZE, density, 256)
    spread = np.repeat(np.eye(4), [1, 2, 1, 2], axis=1).astype(np.float32)  # of (alone, merged) of each set to features
    whole = lambda z: {"W": z[:12].reshape(HIDDEN, 4) @ spread, "b": z[12:] @ spread}
    height = jax.jit(jax.value_and_grad(lambda z: jnp.mean(weighted_loss(whole(z), population))))
    begin = np.zeros((4, 4))
    begin[0, 0], begin[0, 2], begin[1, 1], begin[2, 3] = 1, -1, 0.5**0.5, 0.5**0.5
    value = lambda z: tuple(np.asarray(part, float) for part in height(jnp.asarray(z, jnp.float32)))
    fit = scipy.optimize.minimize(value, begin.ravel(), jac=True, method="BFGS", options={"gtol": 1e-5})
    return jax.tree.map(np.asarray, whole(jnp.asarray(fit.x, jnp.float32))), float(fit.fun)


def digon_gain(density: float) -> float:
    """What one more digon spares in place of a dedicated feature and an ignored one: p/3 - p^2/4 - p^2/3.

    Elhage et al. 2022, "phase change": the ignored one costs p/3 - p^2/4, an antipodal pair p^2/3.
    """
    return density / 3 - density**2 / 4 - density**2 / 3
