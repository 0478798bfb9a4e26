"""Regression on a known function: what is drawn, and that its loss is the negative log likelihood."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from toymodels.tasks.linear_regression import gaussian_inputs, regression, uniform_inputs

N = 20_000


def teacher(x):
    return jnp.stack([x[0] * x[1], x[2]])


def residual(batch):
    return np.asarray(batch.y - jax.vmap(teacher)(batch.x))


def test_without_noise_the_target_is_the_function():
    batch = regression(teacher, gaussian_inputs(3)).sample(jax.random.key(0), 10)
    np.testing.assert_array_equal(residual(batch), 0)


def test_the_noise_is_normal_and_independent_of_the_inputs_and_between_the_outputs():
    batch = regression(teacher, gaussian_inputs(3), noise=0.5).sample(jax.random.key(0), N)
    noise = residual(batch)
    for column in noise.T:
        assert scipy.stats.kstest(column, scipy.stats.norm(scale=0.5).cdf).pvalue > 1e-3
    together = np.corrcoef(np.concatenate([noise, np.asarray(batch.x)], axis=1), rowvar=False)
    np.testing.assert_allclose(together, np.eye(5), atol=4 / np.sqrt(N))


@pytest.mark.parametrize(
    ("inputs", "law"),
    [(gaussian_inputs(3), scipy.stats.norm()), (uniform_inputs(3, scale=2.0), scipy.stats.uniform(-2, 4))],
    ids=["gaussian", "uniform"],
)
def test_inputs_have_their_law(inputs, law):
    x = np.asarray(inputs(jax.random.key(1), N))
    assert x.shape == (N, 3)
    assert all(scipy.stats.kstest(column, law.cdf).pvalue > 1e-3 for column in x.T)


def test_the_loss_is_the_negative_log_likelihood_at_noise_one_less_its_constant():
    prediction, y = np.array([1.0, -2.0]), np.array([0.5, 1.0])
    expected = -scipy.stats.norm(y).logpdf(prediction).sum() - np.log(2 * np.pi)
    assert float(
        regression(teacher, gaussian_inputs(3)).loss(jnp.asarray(prediction), jnp.asarray(y))
    ) == pytest.approx(expected, rel=1e-6)


def test_the_noise_may_be_swept():
    spread = lambda noise: jnp.std(regression(teacher, gaussian_inputs(3), noise).sample(jax.random.key(0), N).y[:, 1])
    at = jax.jit(jax.vmap(spread))(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(at, [1, np.sqrt(2)], atol=0.03)
