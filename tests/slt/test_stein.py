"""Stein's control variate, equipartition, and the part of an estimate that is the gradient at w*, by exact values."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt import stein
from slt.diagnostics import verdict
from slt.estimate import estimate_llc
from slt.samplers.langevin import mala, sgld
from slt.samplers.underdamped import ghmc, kinetic
from slt.theory import normal_crossing_finite, regular_finite

NO_DATA = jnp.zeros((1,))
H = np.array([2.0, 0.5, 0.1, 0.02])
STEP = 0.002
SGLD = sgld(STEP)
# compiling takes longer than running here
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def bowl(params, data):
    w = jnp.concatenate([params["a"], params["b"]])
    return jnp.sum(jnp.asarray(H, jnp.float32) * w**2) / 2


def at(*values):
    return {"a": jnp.array(values[:2], jnp.float32), "b": jnp.array(values[2:], jnp.float32)}


def replicas(loss, params, sampler, count=100, **options):
    settings: dict[str, Any] = dict(nbeta=100.0, gamma=1.0, chains=4, warmup=100, draws=300) | options
    run = jax.vmap(lambda key: estimate_llc(key, loss, params, NO_DATA, sampler, **settings))
    return quick(run)(jax.random.split(jax.random.key(0), count))


def deviation(values, exact):
    """Of the mean of independent values from an exact one, in standard errors."""
    values = np.asarray(values, float)
    return (values.mean() - exact) / (values.std(ddof=1) / np.sqrt(len(values)))


@functools.cache
def of_the_bowl(frozen=False):
    return replicas(bowl, at(0, 0, 0, 0), ghmc(0.003), count=20, mask={"a": True, "b": not frozen})


@pytest.mark.parametrize("frozen", [False, True])
def test_on_a_quadratic_the_estimate_has_no_noise(frozen):
    llc = of_the_bowl(frozen)
    exact = regular_finite(H[:2] if frozen else H, nbeta=100.0, gamma=1.0)
    np.testing.assert_allclose(llc.value, exact, rtol=1e-4)
    assert np.all(llc.stderr < 1e-3 * llc.plain_stderr)
    assert np.std(llc.plain) > 0.01 * exact


def test_without_a_hessian_the_virial_still_takes_most_of_the_variance():
    few = replicas(bowl, at(0, 0, 0, 0), mala(0.004), count=100, gamma=0.1, chains=2, warmup=0, draws=20)
    assert not stein.affords(at(0, 0, 0, 0), 40)
    assert np.mean(few.stderr < few.plain_stderr) > 0.9


def test_the_control_variate_adds_no_bias_where_draws_are_few_and_the_law_is_skew():
    """Of y = g^4 and the control g^2 - 1 a slope fitted to the very same draws is off by a third of the mean."""
    g = jax.random.normal(jax.random.key(0), (20_000, 2, 3))
    values = jnp.mean(jax.vmap(stein.corrected)(g**4, g**2 - 1), axis=(1, 2))
    assert abs(deviation(values, 3.0)) < 4
    own = [np.polyfit(x.ravel() ** 2 - 1, x.ravel() ** 4, 1)[1] for x in np.asarray(g[:2000], float)]
    assert abs(deviation(own, 3.0)) > 8


def test_one_chain_is_cut_in_halves_that_serve_each_other():
    x = np.random.default_rng(0).normal(size=(1, 101))
    better = stein.corrected(jnp.asarray(2 * x + 5), jnp.asarray(x))
    np.testing.assert_allclose(better, np.full((1, 100), 5.0), rtol=1e-5)


def test_the_inverse_by_elimination_is_the_inverse():
    A = np.random.default_rng(0).normal(size=(12, 12))
    P = A @ A.T + 0.1 * np.eye(12)
    np.testing.assert_allclose(stein.inverse(jnp.asarray(P, jnp.float32), least=0.01) @ P, np.eye(12), atol=2e-3)


@pytest.mark.parametrize("sampler", [mala(0.004), ghmc(0.01), kinetic(0.003), SGLD])
def test_the_degrees_of_freedom_that_are_held_are_the_free_ones_and_what_steps_add(sampler):
    llc = replicas(bowl, at(0, 0, 0, 0), sampler, gamma=30.0, warmup=300)
    heated = 1 / (1 - STEP * (100 * H + 30) / 4)
    exact = heated if sampler == SGLD else np.ones(4)
    assert abs(deviation(llc.held, exact.sum())) < 4
    assert abs(deviation(llc.held_by["a"][:, 0], exact[:2].sum())) < 4.5
    np.testing.assert_array_equal(llc.held_by["a"][:, 2], 2)


def test_a_direction_that_is_not_explored_is_named_with_its_weights():
    """The two weights of "b" are a hundred times flatter than those of "a" and their chains have just begun."""
    slow = lambda params, data: bowl({"a": params["a"], "b": params["b"] / 30}, data)
    llc = replicas(slow, at(0, 0, 0, 0), sgld(0.005), count=20, gamma=0.01, warmup=50, draws=1000)
    found = [
        [finding for finding in verdict(jax.tree.map(lambda leaf: leaf[i], llc)) if finding.kind == "slow directions"]
        for i in range(20)
    ]
    assert sum(map(bool, found)) >= 18
    assert all("the fewest in b" in finding.text for each in found for finding in each)


def test_what_the_gradient_puts_into_the_estimate_is_its_exact_value_and_is_found():
    """-nbeta^2 g' (nbeta H + gamma)^{-1} g, of the linear part nbeta g . delta."""
    off = np.array([0.3, 0.0, 0.0, 0.0])
    llc = replicas(bowl, at(*off), ghmc(0.003), count=50)
    exact = -np.sum((100 * H * off) ** 2 / (100 * H + 1))
    assert abs(deviation(llc.tilt, exact)) < 4
    assert "not a minimum" in {finding.kind for finding in verdict(jax.tree.map(lambda leaf: leaf[0], llc))}


def test_with_its_weight_decay_a_minimum_of_the_penalised_loss_is_one():
    """L = |w - 1|^2/2 with decay 1 has its minimum at 1/2: d/2 of the nbeta (1 + 1) + gamma, and no tilt."""
    loss = lambda w, data: jnp.sum((w - 1) ** 2) / 2
    llc = replicas(loss, jnp.full(10, 0.5), ghmc(0.002), count=20, weight_decay=1.0)
    assert abs(deviation(llc.value, 10 / 2 * 100 / 201)) < 4
    assert "not a minimum" not in {finding.kind for finding in verdict(jax.tree.map(lambda leaf: leaf[0], llc))}
    without = replicas(loss, jnp.full(10, 0.5), ghmc(0.002), count=2)
    assert "not a minimum" in {finding.kind for finding in verdict(jax.tree.map(lambda leaf: leaf[0], without))}


@pytest.mark.slow
@pytest.mark.parametrize("k", [(1, 1), (1, 2)])
def test_a_tuned_sampler_has_the_exact_value_of_a_monomial_whose_curvature_at_its_point_is_zero(k):
    loss = lambda w, data: jnp.prod(w ** (2 * jnp.array(k)))
    llc = replicas(loss, jnp.zeros(2), ghmc(), warmup=200, draws=600)
    exact = normal_crossing_finite(k, nbeta=100.0, gamma=1.0)
    assert abs(deviation(llc.value, exact)) < 4
    assert np.std(llc.value) < 0.2 * exact
