"""Every sampler: its exact stationary law on a Gaussian, masks, and the contract of `Sampler`."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from slt.samplers.base import Point, Potential, acceptance, localised
from slt.samplers.mala import mala
from slt.samplers.sgld import sgld

CHAINS = 10_000
NO_DATA = jnp.zeros((1,))
CENTRE = {"a": jnp.array([0.1, -0.7]), "b": jnp.float32(0.3)}
FLAT, UNRAVEL = ravel_pytree(CENTRE)
H = np.array([[1.0, 0.4, -0.3], [0.4, 0.5, 0.2], [-0.3, 0.2, 0.8]])
NBETA, GAMMA, STEP = 5.0, 2.0, 0.1
A = NBETA * H + GAMMA * np.eye(3)  # step size times curvature: 0.26 to 0.85

# sampler: (factory, its exact stationary covariance for U = w^T A w / 2 at the step size eps)
LAWS = {
    "sgld": (sgld, lambda A, eps: np.linalg.inv(A - eps * A @ A / 4)),
    "mala": (mala, lambda A, eps: np.linalg.inv(A)),
}
every = pytest.mark.parametrize(("factory", "law"), LAWS.values(), ids=LAWS)


# compiling takes longer than running here
CHEAPLY = {"xla_backend_optimization_level": 0}
quick = functools.partial(jax.jit, compiler_options=CHEAPLY)


def quadratic(mask=None, traces=None) -> Potential:
    """nbeta L + (gamma/2)|w - c|^2 with L = (w - c)^T H (w - c)/2; each trace of L is noted in `traces`."""

    def loss(params, data):
        if traces is not None:
            traces.append(None)
        w = ravel_pytree(params)[0] - FLAT
        return w @ jnp.asarray(H, jnp.float32) @ w / 2

    return localised(loss, NO_DATA, CENTRE, nbeta=NBETA, gamma=GAMMA, mask=mask)


def ends(sampler, potential, starts, unravel=UNRAVEL, steps=60):
    """The last positions of chains that start in the rows of `starts`, as rows."""

    def chain(key, start):
        key_init, key_steps = jax.random.split(key)
        state = sampler.init(key_init, unravel(start), potential)
        step = lambda state, t: sampler.step(jax.random.fold_in(key_steps, t), state, potential)
        return ravel_pytree(jax.lax.scan(step, state, jnp.arange(steps))[0].params)[0]

    keys = jax.random.split(jax.random.key(1), len(starts))
    return np.asarray(quick(jax.vmap(chain))(keys, jnp.asarray(starts, jnp.float32)))


def gaussian(mean, covariance):
    return np.random.default_rng(0).multivariate_normal(mean, covariance, CHAINS)


def z_scores(samples, mean, covariance):
    """Means and second moments of whitened samples in units of their exact standard errors, as for a Gaussian law."""
    variances, axes = np.linalg.eigh(covariance)
    white = axes.T @ (samples - np.asarray(mean)).T / np.sqrt(variances)[:, None]
    n, eye = len(samples), np.eye(len(covariance))
    second = (white @ white.T / n - eye) * np.sqrt(n / (1 + eye))
    return np.concatenate([white.mean(axis=1) * np.sqrt(n), second.ravel()])


@every
def test_stationary_law_of_a_quadratic_is_the_exact_gaussian(factory, law):
    covariance = law(A, STEP)
    samples = ends(factory(STEP), quadratic(), gaussian(FLAT, covariance))
    assert np.abs(z_scores(samples, FLAT, covariance)).max() < 4


def test_mala_has_the_same_law_at_a_step_size_that_makes_it_reject():
    covariance = np.linalg.inv(A)
    samples = ends(mala(5 * STEP), quadratic(), gaussian(FLAT, covariance))
    assert np.abs(z_scores(samples, FLAT, covariance)).max() < 4


@pytest.mark.parametrize(("batch_size", "step_size"), [(2, 0.02), (16, 0.01)])
def test_minibatch_sgld_has_the_variance_of_its_autoregression(batch_size, step_size):
    nbeta, gamma = 40.0, 2.0
    x = jax.random.normal(jax.random.key(2), (500,))
    potential = localised(
        lambda w, x: (w[0] - x) ** 2 / 2, x, jnp.mean(x)[None], nbeta=nbeta, gamma=gamma, batch_size=batch_size
    )
    A, noise = nbeta + gamma, float(jnp.var(x)) / batch_size
    variance = (step_size + (step_size * nbeta / 2) ** 2 * noise) / (1 - (1 - step_size * A / 2) ** 2)
    mean, covariance = np.asarray(jnp.mean(x))[None], np.array([[variance]])
    samples = ends(sgld(step_size), potential, gaussian(mean, covariance), unravel=lambda w: w)
    assert np.abs(z_scores(samples, mean, covariance)).max() < 4


@every
def test_frozen_coordinates_keep_their_bits_and_the_others_have_the_reduced_law(factory, law):
    mask = {"a": jnp.array([True, False]), "b": jnp.array(True)}
    free = np.array([0, 2])
    covariance = law(A[np.ix_(free, free)], STEP)
    samples = ends(factory(STEP), quadratic(mask), np.tile(FLAT, (CHAINS, 1)))
    np.testing.assert_array_equal(samples[:, 1], FLAT[1])
    assert np.abs(z_scores(samples[:, free], FLAT[free], covariance)).max() < 4


@every
def test_mask_may_be_a_prefix_of_the_parameters(factory, law):
    sampler = factory(STEP)
    state = sampler.init(jax.random.key(3), CENTRE, quadratic())
    step = lambda mask: quick(lambda key: sampler.step(key, state, quadratic(mask))[0].params)(jax.random.key(4))
    chex.assert_trees_all_equal(step({"a": False, "b": True}), step({"a": jnp.zeros(2, bool), "b": jnp.array(True)}))


def test_mala_refuses_minibatches_and_says_what_to_write():
    potential = localised(lambda w, x: (w - x) ** 2, jnp.ones(4), jnp.array(0.0), nbeta=1.0, gamma=1.0, batch_size=2)
    with pytest.raises(ValueError, match=r"leave batch_size out .* sgld\(step_size\)"):
        mala(0.1).init(jax.random.key(0), jnp.array(0.0), potential)


@pytest.mark.parametrize(
    ("at", "to", "step_size", "expected"),
    [
        (([0, 0], [0, 0], 0), ([1.5, 5.5], [1.5, 5.5], 16.25), 0.1, 0.6661436),
        (([1, 1], [1, 1], 1), ([1.5, 0.5], [1.5, 0.5], 1.25), 0.5, 0.9692332),
        (([0, 0], [0, 0], 0), ([10.5, 5.5], [10.5, 5.5], 70.25), 0.1, 0.17268492),
        (([0, 0], [0, 0], 0), ([10.5, 5.5], [10.5, 5.5], 70.25), 0.5, 0.00015359),
        (([1, 1], [1, 1], 1), ([1, 1], [1, 1], 1), 0.5, 1.0),
    ],
)
def test_acceptance_of_a_langevin_proposal_has_the_worked_values(at, to, step_size, expected):
    point = lambda w, grad, energy: Point(*(jnp.array(v, jnp.float32) for v in (w, energy, energy, grad)))
    np.testing.assert_allclose(acceptance(point(*at), point(*to), step_size), expected, rtol=1e-4)


@every
def test_a_step_keeps_the_shape_and_type_of_the_state_and_is_traced_once(factory, law):
    traces = []
    sampler, potential = factory(STEP), quadratic(traces=traces)
    state = sampler.init(jax.random.key(0), CENTRE, potential)
    shape, info = jax.eval_shape(lambda key, state: sampler.step(key, state, potential), jax.random.key(1), state)
    chex.assert_trees_all_equal_shapes_and_dtypes(shape, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(info.loss, info.acceptance, jnp.zeros(()))
    traces.clear()
    step = quick(lambda key, state: sampler.step(key, state, potential))
    for t in range(3):
        state, _ = step(jax.random.key(t), state)
    assert len(traces) == 1


@every
def test_the_recorded_loss_is_the_one_at_the_position_the_step_started_from(factory, law):
    sampler, potential = factory(STEP), quadratic()
    state = sampler.init(jax.random.key(0), jax.tree.map(lambda w: w + 1, CENTRE), potential)
    step = quick(lambda key, state: sampler.step(key, state, potential))
    for t in range(5):
        start = state.params
        state, info = step(jax.random.key(t), state)
        np.testing.assert_allclose(info.loss, potential.value(jax.random.key(0), start)[1], rtol=1e-5)


@every
def test_vmap_over_chains_is_the_loop_over_chains(factory, law):
    sampler, potential = factory(STEP), quadratic()
    state = sampler.init(jax.random.key(0), CENTRE, potential)
    step = lambda key: sampler.step(key, state, potential)
    keys = jax.random.split(jax.random.key(1), 6)
    loop = jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(quick(step), keys))
    chex.assert_trees_all_close(quick(jax.vmap(step))(keys), loop, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("batch_size", "is_nan"), [(None, False), (2, True)])
def test_unadjusted_acceptance_is_a_number_on_all_data_and_nan_on_minibatches(batch_size, is_nan):
    loss, w = lambda w, x: (w - x) ** 2, jnp.float32(0)
    potential = localised(loss, jnp.ones(4), w, nbeta=1.0, gamma=1.0, batch_size=batch_size)
    state = sgld(STEP).init(jax.random.key(0), w, potential)
    _, info = quick(lambda key: sgld(STEP).step(key, state, potential))(jax.random.key(1))
    assert bool(jnp.isnan(info.acceptance)) == is_nan
