"""The laws of the sparse tasks, and the exact potential, polygons and levels of the 1-sparse one."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.test_util import check_grads

from toymodels.models.autoencoder import Autoencoder
from toymodels.task import objective
from toymodels.tasks.superposition import levels, one_sparse, polygon, potential, sparse_features

DRAWS = 50_000
# k -> (l*, b*, h_k), Chen et al. 2023, to more digits; the loss of k vertices is (h_k + c - k)/(3c)
POLYGONS = {
    4: (1, 0, 0),
    5: (1.170459639, -0.282297283, 0.237384406),
    6: (1.320526331, -0.618135132, 0.867462769),
    7: (1.448393750, -0.966906339, 1.748695083),
    8: (1.550449690, -1.291192645, 2.773102434),
}
SIX = {"4": 0.1111111, "4+": 0.1041667, "4++": 0.0972222, "5": 0.0687436, "5+": 0.0617991, "6": 0.0481924}
LEVELS = {
    5: {"4": 0.0666667, "4+": 0.0566667, "5": 0.0158256},
    6: SIX | {"4-": 0.1666667, "4+-": 0.1597222, "4++-": 0.1527778},
    8: {"6++": 0.1116651, "7": 0.1145290, "7+": 0.1106227, "8": 0.1155459},
}


def models():
    """Random weights and biases, and those at which the potential has kinks: (W, b) in double precision."""
    rng = np.random.default_rng(0)
    W, b = rng.normal(size=(2, 5)), rng.normal(size=5)
    yield from ((W, b), (W, np.abs(b)), (W, -np.abs(b)), (W, np.zeros(5)), (0.3 * W, b))
    yield W * [1, 0, 1, 0, 1], b  # dead features
    yield W, -np.sum(W**2, axis=0)  # outputs that just do not fire


def integral(W: np.ndarray, b: np.ndarray, points: int = 4000) -> float:
    """E|x - ReLU(W^T W x + b)|^2 by the midpoint rule in mu, for x = mu e_j."""
    mu = (np.arange(points) + 0.5) / points
    x = np.einsum("m,ij->jmi", mu, np.eye(b.size))
    return float(np.mean(np.sum((x - np.maximum(x @ W.T @ W + b, 0)) ** 2, axis=-1)))


def z_scores(sample: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    return (np.mean(sample, axis=0) - mean) / np.sqrt(variance / len(sample))


@pytest.mark.parametrize("density", [0.3, 1.0, np.array([0.02, 0.3, 0.7, 1.0], np.float32)], ids=["one", "all", "each"])
def test_sparse_features_are_active_with_probability_density_and_then_uniform(density):
    x = np.asarray(sparse_features(jnp.ones(4), density).sample(jax.random.key(0), DRAWS).x)
    p = np.broadcast_to(density, 4)
    assert np.all(np.abs(z_scores(x > 0, p, p * (1 - p) + 1e-12)) < 4)
    for feature in x.T:
        assert scipy.stats.kstest(feature[feature > 0], "uniform").pvalue > 1e-3


def test_sparse_features_are_independent():
    p = 0.3
    active = np.asarray(sparse_features(jnp.ones(4), p).sample(jax.random.key(1), DRAWS).x) > 0
    for i, j in itertools.combinations(range(4), 2):
        assert abs(z_scores(active[:, i] & active[:, j], p**2, p**2 * (1 - p**2))) < 4


def test_one_sparse_has_one_uniform_feature_of_uniform_size():
    x = np.asarray(one_sparse(4).sample(jax.random.key(0), DRAWS).x)
    assert np.all(np.sum(x > 0, axis=1) == 1)
    assert scipy.stats.chisquare(np.sum(x > 0, axis=0)).pvalue > 1e-3
    for feature in x.T:
        assert scipy.stats.kstest(feature[feature > 0], "uniform").pvalue > 1e-3


@pytest.mark.parametrize("density", [0, -0.1, 1.5, float("nan"), np.array([0.5, 2.0])])
def test_a_density_that_is_no_probability_is_refused(density):
    with pytest.raises(ValueError, match=r"in \(0, 1\]; for sparsity S write density=1 - S"):
        sparse_features(jnp.ones(2), density)


def test_the_potential_is_the_integral_of_the_loss():
    with jax.enable_x64(True):
        height = jax.jit(potential)
        for W, b in models():
            assert abs(height(W, b) - integral(W, b)) < 1e-7


def test_the_population_loss_is_the_mean_over_samples():
    task, (W, b) = one_sparse(5), next(models())
    params = {"W": jnp.float32(W), "b": jnp.float32(b)}
    losses = jax.jit(objective(Autoencoder(5, 2), task))(params, task.sample(jax.random.key(0), DRAWS))
    assert abs(z_scores(np.asarray(losses), jax.jit(task.population)(params), np.var(losses))) < 4


def test_the_gradient_of_the_potential_is_its_slope():
    """It is C^1 and no more: at a kink a difference quotient is off by the order of its step."""
    with jax.enable_x64(True):
        height = jax.jit(potential)
        for W, b in models():
            check_grads(height, (W, b), order=1, modes=["rev"], eps=1e-6, atol=1e-5, rtol=1e-5)


def test_the_potential_knows_neither_order_nor_orientation():
    with jax.enable_x64(True):
        W, b = map(jnp.asarray, next(models()))
        order, turn = np.array([3, 0, 4, 1, 2]), jnp.array([[np.cos(1), -np.sin(1)], [np.sin(1), np.cos(1)]])
        height = jax.jit(potential)
        expected = height(W, b)
        chex.assert_trees_all_close(height(W[:, order], b[order]), expected, rtol=1e-12)
        chex.assert_trees_all_close(height(turn @ W, b), expected, rtol=1e-12)
        assert abs(height(W[:, order], b) - expected) > 1e-3


@pytest.mark.parametrize("k", POLYGONS)
def test_the_vertices_of_a_polygon_are_those_of_the_table(k):
    W, b = polygon(k, 8)
    radius, bias, _ = POLYGONS[k]
    chex.assert_trees_all_close(jnp.linalg.norm(W[:, :k], axis=0), np.full(k, radius, np.float32), atol=1e-6)
    chex.assert_trees_all_close(b[:k], np.full(k, bias, np.float32), atol=1e-6)
    assert np.all(W[:, k:] == 0)
    assert np.all(b[k:] < -0.5)


def test_a_polygon_is_critical_and_its_loss_is_that_of_the_theory():
    c = 8
    height = jax.jit(jax.value_and_grad(potential, argnums=(0, 1)))
    for k in range(2, c + 1):
        for positive in range(c - k + 1):
            loss, slope = height(*polygon(k, c, positive))
            assert max(np.abs(leaf).max() for leaf in slope) < 1e-6
            if k >= 4:
                assert abs(loss - (POLYGONS[k][2] + c - k) / (3 * c) + positive / (4 * c**2)) < 1e-6


@pytest.mark.parametrize("features", LEVELS)
def test_the_levels_are_those_of_the_table(features):
    found = levels(features)
    for name, loss in LEVELS[features].items():
        assert abs(found[name] - loss) < 1e-6, name


@pytest.mark.parametrize(("k", "features", "positive"), [(1, 6, 0), (9, 9, 0), (6, 5, 0), (5, 6, 2), (5, 6, -1)])
def test_a_polygon_that_does_not_exist_is_refused(k, features, positive):
    with pytest.raises(ValueError, match=f"got k={k}, features={features}: k-gons|got positive={positive}: a {k}-gon"):
        polygon(k, features, positive)
