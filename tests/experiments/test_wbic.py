"""The exact values of the `wbic` experiment against sums over a grid of weights, and its padding against none."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from experiments.wbic.models import REGULAR, SINGULAR, TRUTH, exact, loss, sample

N = 20
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def found(model) -> Any:
    """A data set of N among N + 7 rows, what is exact of it, and its rows that count."""

    def make(model):
        data = sample(jax.random.key(1), model, jnp.int32(N), N + 7)
        return data, exact(model, data, jnp.int32(N)), loss(model, jnp.ones(3), data)

    data, values, each = quick(make)(jnp.int32(model))
    assert not np.any(each[N:])
    return *(np.asarray(data[name][:N], float) for name in ("x", "y")), jax.tree.map(float, values)


def test_the_evidence_of_the_regular_model_is_a_gaussian_density():
    x, y, values = found(REGULAR)
    F = -multivariate_normal.logpdf(y, cov=np.eye(N) + x @ x.T)
    entropy = -norm.logpdf(y, x @ TRUTH).sum()
    np.testing.assert_allclose(values.free_energy, F - entropy, atol=1e-3)


def test_the_losses_of_the_regular_model_are_those_of_its_posterior():
    x, y, values = found(REGULAR)
    draw = lambda beta: (lambda S: np.random.default_rng(0).multivariate_normal(beta * S @ x.T @ y, S, 40_000))(np.linalg.inv(beta * x.T @ x + np.eye(3)))  # fmt: skip
    rise = lambda w: ((y[None] - w @ x.T) ** 2 - (y - x @ TRUTH)[None] ** 2).sum(axis=1) / 2
    np.testing.assert_allclose(values.wbic, rise(draw(1 / np.log(N))).mean(), atol=0.06)
    np.testing.assert_allclose(values.gibbs, ((draw(1.0) - TRUTH[None]) ** 2).sum(axis=1).mean() / 2, rtol=0.02)
    fitted = np.linalg.lstsq(x, y, rcond=None)[0]
    np.testing.assert_allclose(values.fitted, rise(fitted[None])[0], atol=1e-3)
    assert 0 < values.bayes < values.gibbs


def test_the_singular_model_is_the_sum_over_both_weights():
    x, y, values = found(SINGULAR)
    a = np.linspace(-6, 6, 901)
    c, prior = np.outer(a, a), np.outer(norm.pdf(a), norm.pdf(a))
    rise = x[:, 0] @ x[:, 0] * c**2 / 2 - x[:, 0] @ y * c
    weight = lambda beta: prior * np.exp(-beta * rise)
    mean = lambda value, beta=1.0: (weight(beta) * value).sum() / weight(beta).sum()
    np.testing.assert_allclose(values.free_energy, -np.log(mean(np.exp(-rise), 0.0)), atol=1e-3)
    np.testing.assert_allclose(values.wbic, mean(rise, 1 / np.log(N)), atol=1e-3)
    np.testing.assert_allclose(values.gibbs, mean(c**2) / 2, rtol=1e-3)
    new = np.random.default_rng(0).normal(size=(300, 2))
    ratio = [np.log(mean(np.exp(c * u * v - c**2 * u**2 / 2))) for u, v in new]
    assert abs(values.bayes + np.mean(ratio)) < 3 * np.std(ratio) / np.sqrt(300)
    assert np.std(ratio) / np.sqrt(300) < 0.3 * abs(values.gibbs)


@pytest.mark.parametrize("model", [REGULAR, SINGULAR])
def test_the_best_fit_is_below_everything_else(model):
    values = found(model)[2]
    assert values.fitted < 0
    assert values.fitted < values.wbic
    assert values.fitted < values.free_energy
