"""The empirical loss from moments against the direct sum over data, and against the population loss."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toymodels as tm
from toymodels.tasks.moments import CELLS

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
FEATURES, N, MOST = 6, 300, 400


@pytest.fixture(scope="module")
def models():
    key_W, key_b = jax.random.split(jax.random.key(0))
    return {"W": jax.random.normal(key_W, (100, 2, FEATURES)), "b": jax.random.normal(key_b, (100, FEATURES))}


def test_empirical_loss_and_its_gradient_are_the_direct_sum(models):
    key = jax.random.key(1)
    cell = jax.random.randint(key, (MOST,), 0, FEATURES * CELLS)[:N]
    mu = (cell % CELLS + 0.5) / CELLS
    x = jax.nn.one_hot(cell // CELLS, FEATURES) * mu[:, None]
    data = tm.drawn_moments(jax.random.clone(key), FEATURES, jnp.array(N), MOST)

    def direct(p):
        return jnp.mean(jnp.sum((x - jax.nn.relu(x @ p["W"].T @ p["W"] + p["b"][None])) ** 2, axis=1))

    def compare(p):
        return jax.value_and_grad(direct)(p), jax.value_and_grad(
            lambda p: tm.empirical_potential(data, p["W"], p["b"])
        )(p)

    expected, found = quick(jax.vmap(compare))(models)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_the_loss_of_all_cells_is_the_population_loss(models):
    data = tm.population_moments(FEATURES)
    compare = lambda p: (tm.empirical_potential(data, p["W"], p["b"]), tm.potential(p["W"], p["b"]))
    found, expected = quick(jax.vmap(compare))(models)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
