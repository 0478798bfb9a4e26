"""The laws of correlated sets of features, by samples and by nodes."""

import jax
import numpy as np

from toymodels.tasks.correlated import correlated_nodes, correlated_sets


def test_the_nodes_of_correlated_sets_have_their_moments():
    p, batch = 0.1, correlated_nodes(2, 3, 0.1, 256)
    x, weight = np.asarray(batch.x), np.asarray(batch.y)
    np.testing.assert_allclose(weight.mean(), 1, rtol=1e-5)
    second = np.einsum("n,ni,nj->ij", weight, x, x) / len(x)
    same = np.kron(np.eye(2, dtype=bool), np.ones((3, 3), bool))
    expected = np.where(same, p / 4, p**2 / 4)
    np.fill_diagonal(expected, p / 3)
    np.testing.assert_allclose(second, expected, rtol=0.02)


def test_correlated_sets_are_active_as_sets_and_their_samples_have_the_same_moments():
    p = 0.1
    x = np.asarray(correlated_sets(2, 3, p).sample(jax.random.key(0), 40_000).x)
    active = (x > 0).reshape(-1, 2, 3)
    assert np.all(active.all(axis=2) == active.any(axis=2))
    np.testing.assert_allclose(active[:, :, 0].mean(0), p, atol=4 * np.sqrt(p * (1 - p) / len(x)))
    np.testing.assert_allclose((x[:, 0] * x[:, 3]).mean(), p**2 / 4, atol=4 * p / 3 / np.sqrt(len(x)))
    np.testing.assert_allclose((x[:, 0] * x[:, 1]).mean(), p / 4, atol=4 * np.sqrt(p / 9 / len(x)))
