"""`run_chains` and its online statistics against the same draws kept and handed to NumPy."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.chains import Fold, Sampling, covariance, jackknife, pooled, run_chains
from slt.samplers.base import localised
from slt.samplers.langevin import mala, sgld

CENTRE = {"a": jnp.array([0.5, -1.0]), "b": jnp.float32(2.0)}
NO_DATA = jnp.zeros((1,))
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def loss(params, data):
    return jnp.sum(params["a"] ** 2) / 2 + params["a"][0] * params["b"] + params["b"] ** 2


def f(params):
    return jnp.stack([params["a"][0], params["a"][1] * params["b"], params["b"] ** 2])


def g(params):
    return 100 + params["a"]  # far from zero: sums of squares would cancel


def recorded(draws):
    """A fold that keeps every position it sees."""
    init = lambda params: (0, jax.tree.map(lambda leaf: jnp.zeros((draws, *leaf.shape)), params))
    update = lambda carry, params: (carry[0] + 1, jax.tree.map(lambda a, b: a.at[carry[0]].set(b), carry[1], params))
    return Fold(init, update)


def together(one, other):
    update = lambda carry, params: (one.update(carry[0], params), other.update(carry[1], params))
    return Fold(lambda params: (one.init(params), other.init(params)), update)


@functools.cache
def run(warmup=0, draws=60, thin=1):
    """Three chains of which every position is kept and f and g are folded, in one program."""
    potential = localised(loss, NO_DATA, CENTRE, nbeta=4.0, gamma=1.0)
    fold, sampling = together(recorded(draws), covariance(f, g)), Sampling(3, warmup, draws, thin)
    return quick(lambda key: run_chains(key, mala(0.1), potential, CENTRE, sampling, fold=fold))(jax.random.key(0))


def positions(of):
    return of.folded[0][1]


@functools.cache
def both():
    """The same draws kept (f and g of them, float64, (chains, draws, ...)) and folded."""
    values = quick(jax.vmap(jax.vmap(lambda params: (f(params), g(params)))))(positions(run()))
    return *(np.asarray(value, float) for value in values), run().folded[1]


def numpy_covariance(a, b):
    return np.cov(a, b, rowvar=False)[: a.shape[1], a.shape[1] :]


def test_the_pooled_covariance_is_the_one_of_all_draws():
    a, b, each = both()
    flat_a, flat_b, result = a.reshape(-1, 3), b.reshape(-1, 2), pooled(each)
    assert result.count == 180
    np.testing.assert_allclose(result.covariance, numpy_covariance(flat_a, flat_b), rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(result.mean_f, flat_a.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(result.mean_g, flat_b.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(result.variance_f, flat_a.var(axis=0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(result.variance_g, flat_b.var(axis=0, ddof=1), rtol=1e-4)


def test_what_chains_differ_in_is_in_the_pooled_covariance():
    _, _, each = both()
    shift = jnp.array([-1.0, 0.0, 1.0])
    apart = each._replace(mean_f=each.mean_f.at[:, 0].add(shift), mean_g=each.mean_g.at[:, 1].add(2 * shift))
    means = np.asarray(apart.mean_f[:, 0], float), np.asarray(apart.mean_g[:, 1], float)
    within = np.sum(np.asarray(each.covariance, float)[:, 0, 1])
    expected = (within + 60 * 2 * np.cov(*means)[0, 1]) / 179
    np.testing.assert_allclose(pooled(apart).covariance[0, 1], expected, rtol=1e-4)


def test_the_order_of_the_chains_does_not_matter():
    _, _, each = both()
    shuffled = jax.tree.map(lambda leaf: leaf[jnp.array([2, 0, 1])], each)
    chex.assert_trees_all_close(pooled(shuffled), pooled(each), rtol=1e-5, atol=1e-6)
    errors = quick(lambda each: jackknife(lambda each: pooled(each).covariance, each))
    chex.assert_trees_all_close(errors(shuffled), errors(each), rtol=1e-4, atol=1e-6)


def test_g_is_f_if_it_is_not_given_and_a_scalar_is_a_vector_of_one():
    fold = covariance(lambda params: params["b"])
    carry = fold.init(CENTRE)
    for b in (1.0, 2.0, 6.0):
        carry = fold.update(carry, CENTRE | {"b": jnp.float32(b)})
    np.testing.assert_allclose(carry.mean_f, [3.0], rtol=1e-6)
    chex.assert_trees_all_equal(carry.mean_g, carry.mean_f)
    np.testing.assert_allclose(carry.covariance, [[14.0]], rtol=1e-6)
    chex.assert_trees_all_equal(carry.variance_f, carry.variance_g, carry.covariance[0])


def test_a_draw_is_the_position_at_which_its_loss_was_recorded():
    at = quick(jax.vmap(jax.vmap(lambda params: loss(params, NO_DATA))))(positions(run()))
    np.testing.assert_allclose(run().loss, at, rtol=1e-5, atol=1e-6)
    assert len(np.unique(run().loss)) > 90  # some proposals are rejected


def test_the_first_draw_without_warmup_is_the_start():
    chex.assert_trees_all_equal(jax.tree.map(lambda leaf: leaf[1, 0], positions(run())), CENTRE)


def test_the_jackknife_of_a_mean_is_its_standard_error():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 3)), jnp.float32)
    value, stderr = jackknife(lambda x: (jnp.mean(x["x"], axis=0), 2 * jnp.mean(x["x"], axis=0)), {"x": x})
    np.testing.assert_allclose(value[0], np.mean(x, axis=0), rtol=1e-6)
    np.testing.assert_allclose(stderr[0], np.std(x, axis=0, ddof=1) / np.sqrt(7), rtol=1e-5)
    np.testing.assert_allclose(stderr[1], 2 * stderr[0], rtol=1e-5)


def test_with_one_chain_the_standard_error_is_unknown():
    one = jax.tree.map(lambda leaf: leaf[:1], both()[2])
    value, stderr = quick(lambda each: jackknife(lambda each: pooled(each).covariance, each))(one)
    assert np.all(np.isfinite(value))
    assert np.all(np.isnan(stderr))


@pytest.mark.slow
def test_of_each_draw_only_the_recorded_loss_is_kept():
    potential = localised(lambda w, x: (w - x) ** 2, jnp.zeros(50), jnp.float32(0), nbeta=4.0, gamma=1.0)

    def temporary(draws):
        fold = covariance(lambda w: w * jnp.arange(50.0))  # 2500 covariances
        sampling = Sampling(2, 0, draws)
        program = quick(lambda key: run_chains(key, sgld(0.05), potential, jnp.float32(0), sampling, fold=fold))
        return program.lower(jax.random.key(0)).compile().memory_analysis().temp_size_in_bytes

    growth = (temporary(1100) - temporary(100)) / 1000
    assert growth <= 4 * (2 + 1)  # bytes: a loss for each of two chains, and the number of the draw
