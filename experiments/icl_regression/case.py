"""The runs of `icl_regression`: task, model, optimiser, and what is measured of one checkpoint."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key, PyTree

import toymodels as tm

START, TRAIN, CHAINS, DATA, POOL, MEASURE = range(6)  # purposes of a seed's keys
MEASURED: tuple[str, ...] = ("mse", "size", "to_ridge", "to_dmmse", "ridge", "dmmse", "zero")
INIT = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")  # of embedding and linear maps


def triangle(peak_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam whose rate rises linearly to the middle and falls to 0."""
    half = max(1, steps // 2)
    up, down = optax.linear_schedule(0.0, peak_rate, half), optax.linear_schedule(peak_rate, 0.0, steps - half)
    return optax.adam(optax.join_schedules([up, down], [half]))


class Case(NamedTuple):
    """Everything about the runs. noise: of y, standard deviation.  pool: hidden maps of the runs with few tasks."""

    model: tm.Transformer
    tx: optax.GradientTransformation
    dimensions: int
    examples: int
    noise: float
    pool: int
    batch_size: int

    @property
    def loss(self) -> tm.Loss:
        """The mean over places of the squared error."""
        task = tm.icl_regression(tm.gaussian_prior(self.dimensions), self.examples, self.noise)
        return tm.objective(self.model, task)

    def maps(self, seed: Any) -> Float[Array, "pool dimensions"]:
        """The hidden maps of a run with few tasks."""
        return jax.random.normal(tm.key(seed, POOL), (self.pool, self.dimensions))

    def task(self, few: Any, seed: Any) -> tm.Task:
        """Sequences of fresh maps, or of this seed's few."""
        of_few, of_fresh = tm.uniform_prior(self.maps(seed)), tm.gaussian_prior(self.dimensions)

        def prior(key: Key[Array, ""], n: int) -> Array:
            key_few, key_fresh = jax.random.split(key)
            return jnp.where(few, of_few(key_few, n), of_fresh(key_fresh, n))

        return tm.icl_regression(prior, self.examples, self.noise)

    def begin(self, at: Mapping[str, Array]) -> tm.TrainState:
        """The state before the first step."""
        like = jnp.zeros((2 * self.examples, self.dimensions + 1))
        return tm.start(self.model.init(tm.key(at["seed"], START), like)["params"], self.tx)

    def onward(self, at: Any, state: tm.TrainState, steps: Array) -> tuple[tm.TrainState, tm.Trajectory]:
        """Train one run on, through some checkpoints."""
        key, task = tm.key(at["seed"], TRAIN), self.task(at["few"], at["seed"])
        return tm.advance(key, state, steps, loss=self.loss, task=task, tx=self.tx, batch_size=self.batch_size)

    def data(self, seed: Any, samples: int) -> tm.Batch:
        """The fixed sequences of a run's chains, of fresh maps."""
        return self.task(0, seed).sample(tm.key(seed, DATA), samples)

    def reading(self, seed: Array, params: PyTree, samples: int) -> dict[str, Float[Array, "on position"]]:
        """Mean squares at each place, on new sequences of fresh and of few maps: of what the model says (`size`), of

        its error (`mse`) and its distance to either Bayes predictor (`to_`), and of the errors of three predictors.
        """
        W, noise = self.maps(seed), self.noise

        def on(few: Array) -> dict[str, Array]:
            key = jax.random.fold_in(tm.key(seed, MEASURE), few)
            batch = self.task(few, seed).sample(key, samples)
            x, y = tm.pairs(batch.x)
            predict: Any = lambda x: self.model.apply({"params": params}, x)
            said = jax.vmap(lambda x: tm.guesses(predict(x)))(batch.x)
            best = jax.vmap(lambda x, y: tm.ridge(x, y, noise))(x, y)
            among = jax.vmap(lambda x, y: tm.dmmse(x, y, W, noise))(x, y)
            differences = (said - y, said, said - best, said - among, best - y, among - y, y)
            means = [jnp.mean(difference**2, axis=0) for difference in differences]
            return dict(zip(MEASURED, means, strict=True))

        return jax.lax.map(on, jnp.arange(2))
