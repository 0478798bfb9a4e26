"""Calibration: the estimate at its setting is within what it promises, and it leads away from saturation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.calibration import calibrate
from slt.estimate import default_nbeta, estimate_llc
from slt.samplers.langevin import mala, sgld
from slt.theory import regular_finite

# compiling takes longer than running here
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
H = np.array([4.0, 1.0, 1.0, 0.25, 0.05])
NO_DATA = jnp.zeros((2, 1))


def valley(w, data):
    """A quadratic at the origin."""
    return jnp.sum(jnp.asarray(H, jnp.float32) * w**2) / 2 + 0 * jnp.sum(data)


def well(w, data):
    """One well in a plain at the height 1."""
    return 1 - jnp.exp(-5 * jnp.sum(w**2)) + 0 * jnp.sum(data)


@pytest.fixture(scope="module")
def on_valley():
    return calibrate(jax.random.key(0), valley, jnp.zeros((1, 1, 5)), NO_DATA, nbeta=100.0, sampler=sgld, axes=2)


def estimate(c, loss, params, data=NO_DATA):
    return quick(lambda: estimate_llc(jax.random.key(1), loss, params, data, c.sampler, **c.chains))()


def test_the_estimate_is_as_near_to_the_exact_value_as_was_asked(on_valley):
    llc, gamma = estimate(on_valley, valley, jnp.zeros(5)), on_valley.chains["gamma"]
    exact = regular_finite(H, nbeta=100.0, gamma=gamma)
    assert 0.005 * exact < llc.stderr < 0.1 * exact  # 0.05 asked
    assert abs(llc.value - 1.025 * exact) < 0.025 * exact + 4 * llc.stderr
    assert regular_finite(H, nbeta=100.0, gamma=gamma, step_size=on_valley.step_size) < 1.05 * exact


def test_a_regular_model_needs_no_more_than_the_smallest_gamma_and_the_step_is_the_largest_allowed(on_valley):
    gamma = on_valley.chains["gamma"]
    assert gamma == pytest.approx(0.01 * 400, rel=0.05)
    assert on_valley.step_size * (400 + gamma) == pytest.approx(4 * 0.05 / 1.05, rel=0.1)
    assert len(on_valley.reasons) == 5


@pytest.mark.slow
def test_a_sampler_that_rejects_gets_its_best_acceptance():
    c = calibrate(jax.random.key(0), valley, jnp.zeros((1, 5)), NO_DATA, nbeta=100.0, sampler=mala)
    assert 0.5 < estimate(c, valley, jnp.zeros(5)).acceptance < 0.8


@pytest.mark.slow
def test_on_all_the_data_the_sampler_tunes_itself_and_only_length_and_gamma_are_chosen():
    c = calibrate(jax.random.key(0), valley, jnp.zeros((1, 5)), NO_DATA, nbeta=100.0)
    llc = estimate(c, valley, jnp.zeros(5))
    exact = regular_finite(H, nbeta=100.0, gamma=c.chains["gamma"])
    assert llc.value == pytest.approx(exact, rel=1e-3)
    assert abs(llc.plain - exact) < 4 * llc.plain_stderr
    assert "found by the sampler" in c.reasons[2]


@pytest.mark.slow
def test_it_leads_away_from_saturation():
    """nbeta = 8 and a plain ten thousand times larger than the well: loose chains never come back."""
    settings = dict(nbeta=8.0, gamma=0.1, chains=4, warmup=500, draws=500, chance=1.0)
    assert estimate_llc(jax.random.key(1), well, jnp.zeros(4), NO_DATA, sgld(0.01), **settings).saturation > 0.8
    c = calibrate(jax.random.key(0), well, jnp.zeros((1, 4)), NO_DATA, nbeta=8.0, sampler=sgld, chance=1.0)
    llc = estimate(c, well, jnp.zeros(4))
    assert llc.mean_loss < 0.3


@pytest.mark.slow
def test_one_checkpoint_that_is_no_minimum_does_not_set_the_gamma_of_all():
    checkpoints = jnp.zeros((6, 5)).at[0, 2].set(0.3)
    c = calibrate(jax.random.key(0), valley, checkpoints, NO_DATA, nbeta=100.0, sampler=sgld)
    assert c.chains["gamma"] == pytest.approx(0.01 * 400, rel=0.05)
    strict = calibrate(jax.random.key(0), valley, checkpoints, NO_DATA, nbeta=100.0, sampler=sgld, troubled=0.0)
    assert strict.chains["gamma"] > 10 * c.chains["gamma"]


@pytest.mark.slow
def test_on_minibatches_the_noise_of_their_gradients_bounds_the_step():
    x = jax.random.normal(jax.random.key(1), (200, 5))
    mean = lambda w, x: jnp.sum((w[None] - x) ** 2, axis=1) / 2
    full, noisy = (
        calibrate(jax.random.key(0), mean, jnp.mean(x, axis=0)[None], x, nbeta=100.0, sampler=sgld, batch_size=size)
        for size in (None, 8)
    )
    assert noisy.step_size < full.step_size / 5
    llc = estimate(noisy, mean, jnp.mean(x, axis=0), x)
    exact = regular_finite(np.ones(5), nbeta=100.0, gamma=noisy.chains["gamma"])
    assert abs(llc.value - 1.025 * exact) < 0.04 * exact + 4 * llc.stderr


def test_the_default_temperature_is_that_of_the_data_set():
    assert default_nbeta(1000) == pytest.approx(144.76, rel=1e-4)
    with pytest.raises(ValueError, match=r"got n=1: .* n >= 2"):
        default_nbeta(1)
