"""Curvature: exact on quadratics, against the dense Hessian on a network, and the spectrum of a polygon."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from slt.curvature import (
    gaussian_llc,
    gaussian_llc_quadrature,
    hessian,
    hessian_trace,
    hessian_vector_product,
    top_eigenvalues,
)
from slt.theory import regular_finite
from toymodels.models.mlp import MLP
from toymodels.task import objective
from toymodels.tasks.linear_regression import gaussian_inputs, regression
from toymodels.tasks.superposition import polygon, potential

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
NO_DATA = jnp.zeros((1,))
PARAMS = {"a": jnp.ones((2, 2)), "b": jnp.arange(4.0)}
MASK = {"a": False, "b": jnp.array([True, True, False, True])}
FREE = np.array([4, 5, 7])  # in the order of ravel_pytree
CURVATURES = np.array([9.0, 4.0, 2.5, 1.0, 0.3, 0.1, 0.01, 0.0])
AXES = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
H = (AXES * CURVATURES) @ AXES.T
BLOCK = np.linalg.eigvalsh(H[np.ix_(FREE, FREE)])


def quadratic(params, data):
    """Two examples whose mean has the Hessian H."""
    w = ravel_pytree(params)[0]
    return w @ jnp.asarray(H, jnp.float32) @ w / 2 * jnp.array([0.5, 1.5])


@functools.cache
def network():
    """A small tanh network at random weights: loss, params, data."""
    model, task = MLP((3, 2, 2), activation=jnp.tanh), regression(lambda x: x[:2], gaussian_inputs(3), noise=1.0)
    data = task.sample(jax.random.key(0), 20)
    return objective(model, task), model.init(jax.random.key(1), data.x[0])["params"], data


def test_the_matrix_and_the_product_are_those_of_a_quadratic_and_with_a_mask_those_of_its_block():
    v = {"a": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.1, 0.2, -0.3, 1.0])}

    def everything(params):
        product = hessian_vector_product(quadratic, params, NO_DATA)(v)
        return hessian(quadratic, params, NO_DATA), hessian(quadratic, params, NO_DATA, mask=MASK), product

    matrix, block, product = quick(everything)(PARAMS)
    expected = np.zeros((8, 8))
    expected[np.ix_(FREE, FREE)] = H[np.ix_(FREE, FREE)]
    np.testing.assert_allclose(matrix, H, atol=1e-5)
    np.testing.assert_allclose(block, expected, atol=1e-5)
    chex.assert_trees_all_equal_shapes_and_dtypes(product, v)
    np.testing.assert_allclose(ravel_pytree(product)[0], H @ np.asarray(ravel_pytree(v)[0]), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_on_a_network_they_are_those_of_the_dense_hessian():
    loss, params, data = network()
    flat, unravel = ravel_pytree(params)
    mean = lambda flat: jnp.mean(loss(unravel(flat), data))

    def everything(flat):
        top = top_eigenvalues(jax.random.key(0), loss, unravel(flat), data, k=3, iterations=flat.size)
        return jax.hessian(mean)(flat), top, gaussian_llc(loss, unravel(flat), data, nbeta=50.0, gamma=100.0)

    dense, top, value = quick(everything)(flat)
    spectrum = np.linalg.eigvalsh(np.asarray(dense, float))
    assert -2 < spectrum[0] < -0.1
    np.testing.assert_allclose(top.value, spectrum[::-1][:3], rtol=1e-4)
    assert np.all(top.residual < 1e-3 * spectrum[-1])
    assert value == pytest.approx(np.sum(50 * spectrum / (50 * spectrum + 100)) / 2, rel=1e-3)


def test_the_trace_is_unbiased_and_its_standard_error_is_the_one_of_signs():
    """Var[v'Hv] = 2 sum_{i != j} H_ij^2."""
    keys = jax.random.split(jax.random.key(0), 400)
    trace = quick(jax.vmap(lambda key: hessian_trace(key, quadratic, PARAMS, NO_DATA, probes=10)))(keys)
    exact = np.sqrt(2 * np.sum((H - np.diag(np.diag(H))) ** 2) / 10)
    assert abs(np.mean(trace.value) - np.trace(H)) < 4 * exact / 20
    assert np.std(trace.value) == pytest.approx(exact, rel=0.15)
    assert np.mean(np.square(trace.stderr)) == pytest.approx(exact**2, rel=0.1)
    assert exact < 0.2 * np.trace(H)


def test_the_largest_eigenvalues_of_a_quadratic_and_of_a_block():
    def both(params):
        run = lambda seed, **options: top_eigenvalues(jax.random.key(seed), quadratic, params, NO_DATA, **options)
        return run(3, k=3, iterations=7), run(4, k=2, iterations=1 + len(FREE), mask=MASK)

    whole, block = quick(both)(PARAMS)
    np.testing.assert_allclose(whole.value, CURVATURES[:3], rtol=1e-4)
    np.testing.assert_allclose(block.value, BLOCK[::-1][:2], rtol=1e-4)
    assert np.all(whole.residual < 1e-3)
    assert np.all(block.residual < 1e-3)


def test_the_residual_bounds_the_distance_to_an_eigenvalue_of_what_has_not_converged():
    run = lambda params: top_eigenvalues(jax.random.key(3), quadratic, params, NO_DATA, k=3, iterations=3)
    ritz = quick(run)(PARAMS)
    distance = np.min(np.abs(np.asarray(ritz.value)[:, None] - CURVATURES), axis=1)
    assert np.max(distance) > 0.05
    assert np.all(distance <= ritz.residual)
    assert np.all(ritz.residual < 3)


@pytest.mark.parametrize(("mask", "curvatures"), [(None, CURVATURES), (MASK, BLOCK)], ids=["all", "block"])
def test_the_gaussian_coefficient_of_a_quadratic_is_exact(mask, curvatures):
    value = quick(lambda params: gaussian_llc(quadratic, params, NO_DATA, nbeta=100.0, gamma=3.0, mask=mask))(PARAMS)
    assert value == pytest.approx(regular_finite(curvatures, nbeta=100.0, gamma=3.0), rel=1e-4)


def test_quadrature_is_unbiased_and_knows_its_error():
    options = dict(nbeta=100.0, gamma=30.0, probes=10, iterations=8)
    run = lambda key: gaussian_llc_quadrature(key, quadratic, PARAMS, NO_DATA, **options)
    result = quick(jax.vmap(run))(jax.random.split(jax.random.key(0), 400))
    exact = regular_finite(CURVATURES, nbeta=100.0, gamma=30.0)
    F = (AXES * (100 * CURVATURES / (100 * CURVATURES + 30) / 2)) @ AXES.T
    spread = np.sqrt(2 * np.sum((F - np.diag(np.diag(F))) ** 2) / 10)
    assert abs(np.mean(result.value) - exact) < 4 * spread / 20
    assert np.mean(np.square(result.stderr)) == pytest.approx(spread**2, rel=0.1)
    assert spread < 0.1 * exact


def test_where_there_is_no_gaussian_there_is_no_number():
    def saddle(gamma):
        loss = lambda params, data: -quadratic(params, data)
        exact = gaussian_llc(loss, PARAMS, NO_DATA, nbeta=10.0, gamma=gamma)
        options = dict(probes=2, iterations=6)
        return exact, gaussian_llc_quadrature(
            jax.random.key(0), loss, PARAMS, NO_DATA, nbeta=10.0, gamma=gamma, **options
        )

    run = quick(saddle)
    exact, approximate = run(80.0)  # nbeta h is down to -90
    assert np.isnan(exact)
    assert np.isnan(approximate.value)
    exact, approximate = run(100.0)
    assert exact < 0
    assert approximate.value < 0


@pytest.mark.slow
def test_the_spectrum_of_the_hexagon():
    """17 curved directions of 18, the largest 1.2514, many of them twice: one Lanczos start sees each once."""
    W, b = polygon(6, 6)
    loss = lambda params, data: potential(params["W"], params["b"])

    def both(params):
        top = top_eigenvalues(jax.random.key(0), loss, params, NO_DATA, k=3, iterations=12)
        return hessian(loss, params, NO_DATA), top

    matrix, top = quick(both)({"W": W, "b": b})
    spectrum = np.linalg.eigvalsh(np.asarray(matrix, float))[::-1]
    assert np.sum(spectrum > 1e-3) == 17
    np.testing.assert_allclose(spectrum[[0, 16]], [1.2514, 0.0206], atol=1e-4)
    np.testing.assert_allclose(spectrum[1], spectrum[2], rtol=1e-4)
    np.testing.assert_allclose(top.value, spectrum[[0, 1, 3]], rtol=1e-4)


@pytest.mark.parametrize(("k", "iterations"), [(0, 4), (5, 4), (2, 9)])
def test_sizes_of_the_krylov_space_are_refused_with_what_to_write(k, iterations):
    with pytest.raises(ValueError, match=f"got k={k}, iterations={iterations}: write 1 <= k <= iterations <= 8"):
        top_eigenvalues(jax.random.key(0), quadratic, PARAMS, NO_DATA, k=k, iterations=iterations)


def test_one_probe_is_refused():
    with pytest.raises(ValueError, match=r"got probes=1: .* probes >= 2"):
        hessian_trace(jax.random.key(0), quadratic, PARAMS, NO_DATA, probes=1)
