"""In-context linear regression: a sequence of pairs (x_k, y_k) of one hidden linear map, and its Bayes predictors.

Garg et al. 2022 (arXiv 2208.01066); Raventos et al. 2023 (arXiv 2306.15063) for few tasks; the layout of the tokens is
that of Hoogland et al. 2024 (arXiv 2402.02364). In the comments k, j are pairs, d is a coordinate, m a task.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key, Scalar

from toymodels.task import Batch, Task, draw_rows, sampling

Prior = Callable[[Key[Array, ""], int], Array]  # (key, n) -> (n, D): the hidden maps of n sequences


def icl_regression(prior: Prior, examples: int, noise: ArrayLike) -> Task:
    """y_k = w'x_k + N(0, noise^2) for k < K = `examples`, w from `prior` once a sequence, x_k ~ N(0, I).

    A sequence is the 2K tokens of `tokens`; its target is y_k at both tokens of a pair. The loss is the mean of
    (prediction - y_k)^2 over the K tokens [0, x_k] alone. `noise` may be traced.
    """

    @sampling
    def sample(key: Key[Array, ""], n: int) -> Batch:
        key_w, key_x, key_noise = jax.random.split(key, 3)
        w = prior(key_w, n)
        x = jax.random.normal(key_x, (n, examples, w.shape[1]))
        y = jnp.einsum("nkd,nd->nk", x, w) + noise * jax.random.normal(key_noise, (n, examples))
        return Batch(tokens(x, y), jnp.repeat(y, 2, axis=1))

    def loss(prediction: Array, y: Array) -> Scalar:
        return jnp.mean((guesses(prediction) - y[::2]) ** 2)

    return Task(sample, loss)


def gaussian_prior(dimensions: int) -> Prior:
    """w ~ N(0, I): no task is met twice."""
    return lambda key, n: jax.random.normal(key, (n, dimensions))


def uniform_prior(W: Float[Array, "m d"]) -> Prior:
    """w uniform over the rows of W: a diversity of m tasks."""
    return lambda key, n: draw_rows(key, W, n)


def tokens(x: Float[Array, "... k d"], y: Float[Array, "... k"]) -> Float[Array, "... t w"]:
    """[0, x_1], [y_1, 0], [0, x_2], [y_2, 0], ...: t = 2k tokens of width w = d + 1."""
    asked = jnp.concatenate([jnp.zeros_like(y)[..., None], x], axis=-1)
    told = jnp.concatenate([y[..., None], jnp.zeros_like(x)], axis=-1)
    return jnp.stack([asked, told], axis=-2).reshape(*y.shape[:-1], 2 * y.shape[-1], x.shape[-1] + 1)


def pairs(tokens: Float[Array, "... t w"]) -> tuple[Float[Array, "... k d"], Float[Array, "... k"]]:
    """The x_k and y_k of a sequence of tokens."""
    return tokens[..., ::2, 1:], tokens[..., 1::2, 0]


def guesses(prediction: Array) -> Float[Array, " k"]:
    """What a model says of each y_k: its first output at the token [0, x_k]."""
    return prediction.reshape(len(prediction), -1)[::2, 0]


def ridge(x: Float[Array, "k d"], y: Float[Array, " k"], noise: ArrayLike) -> Float[Array, " k"]:
    """E[y_k | x_k, the pairs before it] under `gaussian_prior`: x_k'(X'X + noise^2 I)^-1 X'Y with X, Y those pairs."""
    before = _before(len(y))
    gram = jnp.einsum("kj,jd,je->kde", before, x, x) + noise**2 * jnp.eye(x.shape[1])[None]
    moment = jnp.einsum("kj,jd,j->kd", before, x, y)
    return jnp.einsum("kd,kd->k", jnp.linalg.solve(gram, moment[..., None])[..., 0], x)


def dmmse(
    x: Float[Array, "k d"], y: Float[Array, " k"], W: Float[Array, "m d"], noise: ArrayLike
) -> Float[Array, " k"]:
    """E[y_k | x_k, the pairs before it] under `uniform_prior(W)`: sum_m p_m w_m'x_k, the dMMSE of Raventos et al. 2023.

    p = softmax(-|Y - X w_m|^2/(2 noise^2)).
    """
    each = x @ W.T  # (k, m)
    misfit = _before(len(y)) @ (y[:, None] - each) ** 2
    return jnp.sum(jax.nn.softmax(-misfit / (2 * noise**2), axis=1) * each, axis=1)


def _before(k: int) -> Float[Array, "k k"]:
    """1 where pair j comes before pair k."""
    return jnp.tril(jnp.ones((k, k)), -1)
