"""The runs of `icl_regression`: task, model, optimiser, and what is measured of one checkpoint."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Scalar

import toymodels as tm

START, TRAIN, CHAINS, DATA, _, MEASURE = range(6)  # purposes of a seed's keys; one is not used any more
INIT = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # of embedding and linear maps


def triangle(peak_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam whose rate rises linearly to the middle and falls to 0."""
    half = max(1, steps // 2)
    up, down = optax.linear_schedule(0.0, peak_rate, half), optax.linear_schedule(peak_rate, 0.0, steps - half)
    return optax.adam(optax.join_schedules([up, down], [half]))


class Case(NamedTuple):
    """Everything about the runs. noise: of y, standard deviation.  samples: sequences of either fixed data set."""

    model: tm.Transformer
    tx: optax.GradientTransformation
    dimensions: int
    examples: int
    noise: float
    batch_size: int
    samples: int

    @property
    def task(self) -> tm.Task:
        """Sequences, each of a hidden map of its own."""
        fresh = tm.gaussian_prior(self.dimensions)
        prior = lambda key, n: fresh(jax.random.split(key)[1], n)  # this key, so that the published numbers stay
        return tm.icl_regression(prior, self.examples, self.noise)

    @property
    def loss(self) -> tm.Loss:
        """The mean over places of the squared error."""
        return tm.objective(self.model, self.task)

    def begin(self, at: Mapping[str, Array]) -> tm.TrainState:
        """The state before the first step."""
        like = jnp.zeros((2 * self.examples, self.dimensions + 1))
        return tm.start(self.model.init(tm.key(at["seed"], START), like)["params"], self.tx)

    def onward(self, at: Any, state: tm.TrainState, steps: Array) -> tuple[tm.TrainState, tm.Trajectory]:
        """Train one run on, through some checkpoints."""
        key = tm.key(at["seed"], TRAIN)
        return tm.advance(key, state, steps, loss=self.loss, task=self.task, tx=self.tx, batch_size=self.batch_size)

    def data(self, at: Any) -> tm.Batch:
        """The fixed sequences of a run's chains."""
        return self.task.sample(tm.key(at["seed"], DATA), self.samples)

    def reading(self, at: Any, checkpoint: tm.Trajectory) -> dict[str, Scalar]:
        """Mean squares on new sequences: errors of the model (`loss`), of ridge and of zero; what it says (`size`)."""
        batch = self.task.sample(jax.random.fold_in(tm.key(at["seed"], MEASURE), 0), self.samples)
        x, y = tm.pairs(batch.x)
        predict: Any = lambda x: self.model.apply({"params": checkpoint.params}, x)
        said = jax.vmap(lambda x: tm.guesses(predict(x)))(batch.x)
        best = jax.vmap(lambda x, y: tm.ridge(x, y, self.noise))(x, y)
        differences = {"loss": said - y, "size": said, "ridge": best - y, "zero": y}
        return {name: jnp.mean(difference**2) for name, difference in differences.items()}
