"""In-context regression: its tokens and its law, and the Bayes predictors against enumeration of the hidden maps."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from toymodels.tasks.in_context_regression import (
    dmmse,
    gaussian_prior,
    icl_regression,
    pairs,
    ridge,
    tokens,
    uniform_prior,
)

D, K, NOISE, N = 2, 4, 0.6, 20_000
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiling dominates
POOL = np.array([[1.0, 0.5], [-0.4, 1.2], [0.3, -0.9], [1.1, 0.4], [-2.0, 0.1]], np.float32)


@pytest.fixture(scope="module")
def fresh():
    return icl_regression(gaussian_prior(D), K, NOISE).sample(jax.random.key(0), N)


def sequence(seed: int):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(K, D)), rng.normal(size=D)
    return x, x @ w + NOISE * rng.normal(size=K)


def posterior_mean(x, y, W, prior):
    """E[w'x_k | pairs before k] by summing over the maps W with weights prior, in float64, one pair at a time."""
    made = []
    for k in range(len(y)):
        likelihood = np.prod([scipy.stats.norm(W @ x[j], NOISE).pdf(y[j]) for j in range(k)], axis=0)
        weight = prior * likelihood
        made.append(weight @ (W @ x[k]) / weight.sum())
    return np.array(made)


def test_the_layout_of_the_tokens():
    x, y = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0])
    expected = [[0, 1, 2], [5, 0, 0], [0, 3, 4], [6, 0, 0]]
    np.testing.assert_array_equal(tokens(jnp.asarray(x), jnp.asarray(y)), expected)
    back = pairs(tokens(jnp.asarray(x)[None], jnp.asarray(y)[None]))
    chex.assert_trees_all_equal(back, (jnp.asarray(x)[None], jnp.asarray(y)[None]))


def test_a_sample_is_tokens_with_the_target_at_both_tokens_of_a_pair(fresh):
    chex.assert_shape(fresh.x, (N, 2 * K, D + 1))
    _, y = pairs(fresh.x)
    np.testing.assert_array_equal(fresh.y[:, ::2], y)
    np.testing.assert_array_equal(fresh.y[:, 1::2], y)


def test_one_map_a_sequence_and_noise_of_its_size(fresh):
    """A least-squares fit to each sequence leaves K - D of its K noises, chi-squared of K - D degrees."""
    x, y = (np.asarray(leaf, float) for leaf in pairs(fresh.x))
    w = np.linalg.pinv(x) @ y[..., None]
    left = np.sum((y - (x @ w)[..., 0]) ** 2, axis=1) / NOISE**2
    assert scipy.stats.kstest(left, scipy.stats.chi2(K - D).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(x.ravel()[:N], scipy.stats.norm().cdf).pvalue > 1e-3


def test_the_loss_reads_the_first_output_at_the_inputs_alone():
    task = icl_regression(gaussian_prior(D), K, NOISE)
    y = jnp.repeat(jnp.arange(1.0, K + 1), 2)
    wrong = jnp.stack([y.at[1::2].set(99.0), jnp.full(2 * K, 7.0)], axis=1)  # at y's tokens, and in a second output
    assert float(task.loss(wrong, y)) == 0
    assert float(task.loss(wrong.at[2, 0].add(2.0), y)) == pytest.approx(4 / K)
    assert float(task.loss(jnp.zeros((2 * K, 1)), y)) == pytest.approx(np.mean(np.arange(1, K + 1) ** 2))


def test_the_zero_predictor_has_the_loss_of_the_dimension_and_the_noise(fresh):
    task = icl_regression(gaussian_prior(D), K, NOISE)
    each = np.asarray(jax.vmap(lambda y: task.loss(jnp.zeros((2 * K, 1)), y))(fresh.y))
    chance = D + NOISE**2
    variance = 2 * (2 * D + chance**2) / K + 2 * D  # given w, K squares of variance 2 (|w|^2 + noise^2)^2; and of |w|^2
    assert each.std() == pytest.approx(np.sqrt(variance), rel=0.05)
    assert abs(each.mean() - chance) < 4 * np.sqrt(variance / N)


@pytest.mark.parametrize("seed", range(3))
def test_ridge_is_the_posterior_mean_by_numerical_integration(seed):
    x, y = sequence(seed)
    line = np.linspace(-7, 7, 281)
    W = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, D)
    expected = posterior_mean(x, y, W, np.exp(-np.sum(W**2, axis=1) / 2))
    np.testing.assert_allclose(quick(ridge)(jnp.float32(x), jnp.float32(y), NOISE), expected, atol=2e-5)


@pytest.mark.parametrize("seed", range(3))
def test_dmmse_is_the_posterior_mean_over_the_tasks(seed):
    x, y = sequence(seed)
    expected = posterior_mean(x, y, np.asarray(POOL, float), np.full(len(POOL), 1 / len(POOL)))
    found = quick(dmmse)(jnp.float32(x), jnp.float32(y), jnp.asarray(POOL), NOISE)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.abs(expected - np.asarray(ridge(jnp.float32(x), jnp.float32(y), NOISE))).max() > 0.05  # it is another


def test_each_predictor_is_the_best_on_its_own_prior_by_the_distance_to_the_other():
    """E|y - other|^2 - E|y - best|^2 = E|best - other|^2, since the best is the conditional mean."""
    both = quick(jax.vmap(lambda x, y: (ridge(x, y, NOISE), dmmse(x, y, jnp.asarray(POOL), NOISE))))
    for prior, best in ((gaussian_prior(D), 0), (uniform_prior(jnp.asarray(POOL)), 1)):
        x, y = pairs(icl_regression(prior, K, NOISE).sample(jax.random.key(1), N).x)
        guess = np.asarray(both(x, y))
        squares = (guess - np.asarray(y)[None]) ** 2
        excess = (squares[1 - best] - squares[best] - (guess[1] - guess[0]) ** 2).mean(axis=1)
        apart = float(((guess[1] - guess[0]) ** 2).mean())
        stderr = excess.std() / np.sqrt(N)
        assert stderr < 0.1 * apart
        assert abs(excess.mean()) < 4 * stderr
