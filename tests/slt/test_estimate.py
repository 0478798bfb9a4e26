"""`estimate_llc` against exact finite-nbeta values, its standard error, and what must not change it."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.estimate import estimate_llc
from slt.samplers.base import localised
from slt.samplers.langevin import mala, sgld
from slt.theory import normal_crossing_finite, reduced_rank_finite, regular_finite

NO_DATA = jnp.zeros((1,))
REPLICAS = 200
CURVATURES = np.array([0.3, 1.0, 3.0])
X = jax.random.normal(jax.random.key(7), (100,))


def quadratic(w, data):
    return jnp.sum(jnp.asarray(CURVATURES, jnp.float32) * w**2) / 2


def linear(w, x):
    """Per-example losses of the mean of x: the curvature is 1."""
    return (w - x) ** 2 / 2


def product(k):
    return lambda w, data: jnp.prod(w ** (2 * jnp.array(k)))


def reduced_rank_loss(params, data):
    return jnp.sum((params["B"] @ params["A"]) ** 2) / 2


def factors(M, H, N):
    return {"A": jnp.zeros((H, M)), "B": jnp.zeros((N, H))}


# compiling takes longer than running here
CHEAPLY = {"xla_backend_optimization_level": 0}
quick = functools.partial(jax.jit, compiler_options=CHEAPLY)


def short(loss, params, sampler, data=NO_DATA, *, key, **options):
    """A short estimate, unless `options` say otherwise."""
    settings: dict[str, Any] = dict(nbeta=100.0, gamma=30.0, chains=3, warmup=10, draws=40) | options
    return estimate_llc(key, loss, params, data, sampler, **settings)


def estimate(*arguments, **options):
    return quick(lambda key: short(*arguments, key=key, **options))(jax.random.key(0))


def replicas(*arguments, **options):
    """The same longer estimate with REPLICAS keys; every field has a leading axis."""
    run = jax.vmap(lambda key: short(*arguments, key=key, **dict(chains=4, warmup=100, draws=500) | options))
    return quick(run)(jax.random.split(jax.random.key(0), REPLICAS))


def assert_calibrated(llc, exact, relative_stderr):
    """The estimates lie about the exact value as far as they claim, and claim no more than `relative_stderr` of it."""
    claimed = np.sqrt(np.mean(np.square(llc.plain_stderr)))
    deviation = np.asarray(llc.plain, float) - exact
    assert claimed < relative_stderr * exact
    assert abs(deviation.mean()) < 4 * claimed / np.sqrt(REPLICAS)
    assert 0.8 < deviation.std() / claimed < 1.2  # four standard errors of a standard deviation: 4/sqrt(2 REPLICAS)


def test_sgld_on_a_regular_model_has_the_exact_value_of_its_step_size():
    llc = replicas(quadratic, jnp.zeros(3), sgld(0.01), gamma=30.0)
    assert_calibrated(llc, regular_finite(CURVATURES, nbeta=100.0, gamma=30.0, step_size=0.01), 0.05)


@pytest.mark.parametrize(("k", "step_size", "relative_stderr"), [((1, 2), 0.05, 0.12)])
def test_mala_on_a_localised_monomial_has_the_exact_value(k, step_size, relative_stderr):
    llc = replicas(product(k), jnp.zeros(len(k)), mala(step_size), gamma=10.0)
    assert_calibrated(llc, normal_crossing_finite(k, nbeta=100.0, gamma=10.0), relative_stderr)


@pytest.mark.parametrize("shape", [(3, 2, 3)])
def test_mala_on_reduced_rank_regression_has_the_exact_value_at_the_origin(shape):
    llc = replicas(reduced_rank_loss, factors(*shape), mala(0.02), gamma=5.0)
    assert_calibrated(llc, reduced_rank_finite(*shape, nbeta=100.0, gamma=5.0), 0.05)


def test_with_a_factor_frozen_the_coefficient_of_a_product_is_the_one_of_the_other_factor():
    """K = u^2 v^2 at v = 1 is u^2, curvature 2."""
    llc = replicas(product((1, 1)), jnp.array([0.0, 1.0]), mala(0.008), gamma=30.0, mask=jnp.array([True, False]))
    assert_calibrated(llc, regular_finite(np.array([2.0]), nbeta=100.0, gamma=30.0), 0.06)


def test_minibatch_sgld_has_the_exact_value_of_its_noise_and_less_of_it_than_with_the_full_baseline():
    A, gradient_noise = 130.0, float(jnp.var(X)) / 8
    variance = (0.005 + (0.005 * 100 / 2) ** 2 * gradient_noise) / (1 - (1 - 0.005 * A / 2) ** 2)
    llc = replicas(linear, jnp.mean(X), sgld(0.005), X, chains=2, draws=400, batch_size=8)
    assert_calibrated(llc, 100 * variance / 2, 0.2)
    baseline_noise = 100 * float(jnp.std(linear(jnp.mean(X), X))) / np.sqrt(8)
    assert np.std(llc.trace) < baseline_noise


@pytest.mark.parametrize("batch_size", [None, 8])
def test_a_scalar_loss_and_per_example_losses_of_any_shape_give_the_same_potential(batch_size):
    def value(loss):
        potential = localised(loss, X, jnp.float32(0), nbeta=100.0, gamma=30.0, batch_size=batch_size)
        return potential.value(jax.random.key(0), jnp.float32(0.5))

    tokens = lambda w, x: jnp.stack([linear(w, x)] * 3, axis=1)
    for loss in (tokens, lambda w, x: linear(w, x)[:, None], lambda w, x: jnp.mean(linear(w, x))):
        np.testing.assert_allclose(value(loss), value(linear), rtol=1e-6)


def test_thinning_keeps_every_kth_draw_and_warmup_is_never_in_the_estimate():
    every = estimate(quadratic, jnp.zeros(3), mala(0.01), warmup=0, draws=100).trace
    some = estimate(quadratic, jnp.zeros(3), mala(0.01), warmup=16, draws=28, thin=3)
    chex.assert_trees_all_equal(some.trace, every[:, 16::3])
    chex.assert_trees_all_close(some.plain, jnp.mean(every[:, 16::3]), rtol=1e-6)


def test_a_curve_by_vmap_is_the_loop_over_checkpoints_and_settings():
    def point(w, nbeta, step_size):
        return short(quadratic, w, mala(step_size), key=jax.random.key(0), nbeta=nbeta)

    sweep = jnp.linspace(-1, 1, 12).reshape(4, 3), jnp.linspace(50, 100, 4), jnp.linspace(0.003, 0.006, 4)
    loop = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(quick(point), *sweep))
    chex.assert_trees_all_close(quick(jax.vmap(point))(*sweep), loop, rtol=1e-3, atol=1e-4)


def test_a_nan_is_never_skipped_and_stays_at_its_checkpoint():
    """Chains that start at 0 meet the wall at some draw, or never."""
    wall = lambda w, at: jnp.where(jnp.abs(w) < at[0], w**2 / 2, jnp.nan)
    run = lambda at: short(wall, jnp.array(0.0), sgld(0.005), at, key=jax.random.key(0), draws=200)
    llc = quick(jax.vmap(run))(jnp.array([[10.0], [0.2]]))
    assert np.isfinite(llc.trace[:, :, 0]).all()
    np.testing.assert_array_equal(np.isnan(llc.value), [False, True])
    np.testing.assert_array_equal(np.isnan(llc.stderr), [False, True])


def test_exactness_and_rejection_are_fields_and_the_acceptance_is_unknown_on_minibatches():
    with jax.debug_nans(True):  # a switch that stops at the first NaN, and is no business of chains
        batch = short(linear, jnp.mean(X), sgld(0.005), X, key=jax.random.key(0), batch_size=8, draws=8)
    assert not batch.exact
    assert not batch.rejects
    assert np.isnan(batch.acceptance)
    assert batch.step_bias >= 0  # by the degrees of freedom that chains hold


def test_a_proposal_outside_the_domain_of_the_loss_is_rejected_and_counts_as_acceptance_zero():
    root = lambda w, data: jnp.sum((jnp.sqrt(w) - 1) ** 2)  # NaN where w < 0
    llc = estimate(root, jnp.ones(4), mala(0.4), nbeta=20.0, gamma=1.0, draws=400)
    assert llc.exact
    assert llc.rejects
    assert 0.05 < llc.acceptance < 0.95
    assert np.isfinite(llc.trace).all()


TWO = {"x": X, "y": X[:50]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(chains=0), "got chains=0: .* chains >= 1"),
        (dict(warmup=-1), "got warmup=-1: .* warmup >= 0"),
        (dict(draws=3), "got draws=3: .* draws >= 4"),
        (dict(thin=0), "got thin=0: .* thin >= 1"),
        (dict(batch_size=0), "got batch_size=0 for 100 examples: write 1 <= batch_size <= 100, or None"),
        (dict(batch_size=101), "got batch_size=101 for 100 examples: write 1 <= batch_size <= 100, or None"),
        (dict(batch_size=8), r"mala needs an exact potential.*sgld\(step_size\)"),
        (dict(nbeta=0.0), "got nbeta=0.0: .* nbeta > 0"),
        (dict(gamma=-1.0), "got gamma=-1.0: .* gamma >= 0"),
        (dict(gamma=np.nan), "got gamma=nan: .* gamma >= 0"),
        (dict(data=X[0]), r"itself of shape \(\): close over it"),
        (dict(data=TWO), r"\['x'\] of shape \(100,\) and \['y'\] of shape \(50,\)"),
        (dict(data=()), "data without an array"),
        (dict(params={"w": jnp.zeros(3), "n": jnp.array(2)}), r"\['n'\] of type int32: .* close over it"),
        (dict(params={"w": jnp.zeros(3), "on": jnp.array(True)}), r"\['on'\] of type bool: .* close over it"),
        (dict(params=jnp.zeros(3, jnp.complex64)), "complex64: write two leaves"),
    ],
)
def test_bad_settings_are_refused_with_what_to_write(options, message):
    options = dict(params=jnp.mean(X), data=X) | options
    with pytest.raises(ValueError, match=message):
        short(linear, options.pop("params"), mala(0.01), key=jax.random.key(0), **options)
