"""Regression on a known function: the task of teacher and student, of reduced rank and deep linear networks."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Key

from toymodels.task import Batch, Task, sampling


def regression(
    f: Callable[[Array], Array], inputs: Callable[[Key[Array, ""], int], Array], noise: ArrayLike = 0.0
) -> Task:
    """y = f(x) + N(0, noise^2) in each output, with x from `inputs(key, n)`: (n, ...); f is for one example.

    The loss is |prediction - y|^2/2: with noise 1, the negative log likelihood less its constant.
    """

    @sampling
    def sample(key: Key[Array, ""], n: int) -> Batch:
        key_x, key_noise = jax.random.split(key)
        x = inputs(key_x, n)
        y = jax.vmap(f)(x)
        return Batch(x, y + noise * jax.random.normal(key_noise, y.shape))

    return Task(sample, lambda prediction, y: jnp.sum((prediction - y) ** 2) / 2)


def gaussian_inputs(size: int) -> Callable[[Key[Array, ""], int], Array]:
    """x ~ N(0, 1) in `size` coordinates."""
    return lambda key, n: jax.random.normal(key, (n, size))


def uniform_inputs(size: int, scale: float = 1.0) -> Callable[[Key[Array, ""], int], Array]:
    """x ~ U[-scale, scale] in `size` coordinates."""
    return lambda key, n: jax.random.uniform(key, (n, size), minval=-scale, maxval=scale)
