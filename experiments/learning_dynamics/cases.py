"""The two trainings: the octahedron of correlated features, and many equal features."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

import toymodels as tm

DATA, START, TRAIN, CHAINS = range(4)  # purposes of a seed's keys
DENSITY = 0.3  # probability that each of many equal features is active


class Case(NamedTuple):
    """A task, and the data whose mean loss stands for the population; the sizes of the model; how it is trained."""

    task: tm.Task
    population: tm.Batch
    features: int
    hidden: int
    tx: optax.GradientTransformation
    batch_size: int

    @property
    def loss(self) -> tm.Loss:
        """Of a batch of the task."""
        return tm.objective(tm.Autoencoder(self.features, self.hidden), self.task)

    def begin(self, at: Mapping[str, Array]) -> tm.TrainState:
        """Weights from N(0, scale^2), and biases 0."""
        W = at["scale"] * jax.random.normal(key(at["seed"], START), (self.hidden, self.features))
        return tm.start({"W": W, "b": jnp.zeros(self.features)}, self.tx)

    def onward(self, at: Any, state: tm.TrainState, steps: Array) -> tuple[tm.TrainState, tm.Trajectory]:
        """Train one run on, through some checkpoints."""
        own = key(at["seed"], TRAIN)
        return tm.advance(own, state, steps, loss=self.loss, task=self.task, tx=self.tx, batch_size=self.batch_size)


def key(seed: Any, purpose: int) -> Key[Array, ""]:
    """The key of one purpose of a seed, of the fast generator."""
    return tm.key(seed, purpose, tm.lowbias32)


def octahedron(density: float, nodes: int, *, tx: optax.GradientTransformation, batch_size: int) -> Case:
    """Six features in three dimensions, as two sets of three; `population` is for `tm.correlated_loss`."""
    task, population = tm.correlated_sets(2, 3, density), tm.correlated_nodes(2, 3, density, nodes)
    return Case(task, population, 6, 3, tx, batch_size)


def equal_features(features: int, hidden: int) -> Case:
    """Many features of the same importance and density, trained by Adam; `population` are 4096 samples of them."""
    task = tm.sparse_features(jnp.ones(features), DENSITY)
    population = jax.jit(task.sample, static_argnums=1)(key(0, DATA), 4096)
    return Case(task, population, features, hidden, optax.adam(1e-3), 256)


def digon_gain(density: float) -> float:
    """What one more digon spares in place of a dedicated feature and an ignored one: p/3 - p^2/4 - p^2/3.

    Elhage et al. 2022, "phase change": the ignored one costs p/3 - p^2/4, an antipodal pair p^2/3.
    """
    return density / 3 - density**2 / 4 - density**2 / 3
