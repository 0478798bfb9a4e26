"""The training that is watched: six features in three dimensions learn the octahedron."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Key

import toymodels as tm

FEATURES, HIDDEN = 6, 3
SETS = 2, 3  # sets of correlated features, and features of each
START, TRAIN, CHAINS = 1, 2, 3  # purposes of a seed's keys


class Case(NamedTuple):
    """A task, the data whose mean `tm.correlated_loss` stands for the population, and how the model is trained."""

    task: tm.Task
    population: tm.Batch
    tx: optax.GradientTransformation
    batch_size: int

    @classmethod
    def of(cls, density: float, nodes: int, *, learning_rate: float, batch_size: int) -> "Case":
        """Two sets of three, each active with probability `density`, and SGD."""
        population = tm.correlated_nodes(*SETS, density, nodes)
        return cls(tm.correlated_sets(*SETS, density), population, optax.sgd(learning_rate), batch_size)

    def begin(self, at: Mapping[str, Array]) -> tm.TrainState:
        """Weights from N(0, scale^2), and biases 0."""
        W = at["scale"] * jax.random.normal(key(at["seed"], START), (HIDDEN, FEATURES))
        return tm.start({"W": W, "b": jnp.zeros(FEATURES)}, self.tx)

    def onward(self, at: Any, state: tm.TrainState, steps: Array) -> tuple[tm.TrainState, tm.Trajectory]:
        """Train one run on, through some checkpoints."""
        own, loss = key(at["seed"], TRAIN), tm.objective(tm.Autoencoder(FEATURES, HIDDEN), self.task)
        return tm.advance(own, state, steps, loss=loss, task=self.task, tx=self.tx, batch_size=self.batch_size)


def key(seed: Any, purpose: int) -> Key[Array, ""]:
    """The key of one purpose of a seed, of the fast generator."""
    return tm.key(seed, purpose, tm.lowbias32)
