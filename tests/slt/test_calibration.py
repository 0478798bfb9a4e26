"""Calibration: the estimate at its setting is within what it promises, it leads away from saturation, and it says why."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.calibration import calibrate, default_nbeta
from slt.estimate import estimate_llc
from slt.samplers.langevin import mala, sgld
from slt.theory import regular_finite

# compiling takes longer than running here
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
H = np.array([4.0, 1.0, 1.0, 0.25, 0.05])
SHORT = dict(probe=400, max_steps=4000)


def valley(w, data):
    """A quadratic at the origin."""
    return jnp.sum(jnp.asarray(H, jnp.float32) * w**2) / 2 + 0 * jnp.sum(data)


def well(w, data):
    """One well in a plain at the height 1."""
    return 1 - jnp.exp(-5 * jnp.sum(w**2)) + 0 * jnp.sum(data)


@pytest.fixture(scope="module")
def on_valley():
    return calibrate(jax.random.key(0), valley, jnp.zeros((1, 5)), jnp.zeros((2, 1)), nbeta=100.0, **SHORT)


def test_the_estimate_is_as_near_to_the_exact_value_as_was_asked(on_valley):
    c = on_valley
    estimate = quick(
        lambda: estimate_llc(
            jax.random.key(1), valley, jnp.zeros(5), jnp.zeros((2, 1)), sgld(c.step_size), **c.settings
        )
    )
    llc, exact = estimate(), regular_finite(H, nbeta=100.0, gamma=c.gamma)
    assert 0.005 * exact < llc.stderr < 0.1 * exact  # 0.05 asked
    assert abs(llc.value - 1.025 * exact) < 0.025 * exact + 4 * llc.stderr
    assert regular_finite(H, nbeta=100.0, gamma=c.gamma, step_size=c.step_size) < 1.05 * exact


def test_a_regular_model_needs_no_more_than_the_smallest_gamma_and_the_step_is_the_largest_allowed(on_valley):
    assert on_valley.gamma == pytest.approx(0.01 * 400, rel=0.05)
    assert on_valley.step_size * (400 + on_valley.gamma) == pytest.approx(4 * 0.05 / 1.05, rel=0.1)


def test_it_says_what_it_chose_and_why(on_valley):
    said = dict(reason.split(":", 1) for reason in on_valley.reasons)
    assert set(said) == {
        "nbeta 100",
        f"gamma {on_valley.gamma:.3g}",
        f"step size {on_valley.step_size:.3g}",
        f"warm-up {on_valley.warmup}, draws {on_valley.draws}, thin {on_valley.thin}",
        "a run of this setting",
    }
    assert "neither escape nor saturate" in said[f"gamma {on_valley.gamma:.3g}"]


@pytest.mark.slow
def test_a_sampler_that_rejects_gets_its_best_acceptance():
    c = calibrate(jax.random.key(0), valley, jnp.zeros((1, 5)), jnp.zeros((2, 1)), nbeta=100.0, sampler=mala, **SHORT)
    run = quick(
        lambda: estimate_llc(
            jax.random.key(1), valley, jnp.zeros(5), jnp.zeros((2, 1)), mala(c.step_size), **c.settings
        )
    )
    assert 0.5 < run().acceptance < 0.8


@pytest.mark.slow
def test_it_leads_away_from_saturation():
    """nbeta = 8 and a plain ten thousand times larger than the well: loose chains never come back."""
    loose = estimate_llc(
        jax.random.key(1), well, jnp.zeros(4), jnp.zeros((2, 1)), sgld(0.01), nbeta=8.0, gamma=0.1, chains=4, warmup=500, draws=500, chance=1.0
    )  # fmt: skip
    assert loose.saturation > 0.8
    c = calibrate(jax.random.key(0), well, jnp.zeros((1, 4)), jnp.zeros((2, 1)), nbeta=8.0, chance=1.0, **SHORT)
    run = quick(
        lambda: estimate_llc(
            jax.random.key(1), well, jnp.zeros(4), jnp.zeros((2, 1)), sgld(c.step_size), chance=1.0, **c.settings
        )
    )
    assert run().saturation < 0.3
    assert "saturated at 1 of 1 checkpoints" in c.reasons[1]


@pytest.mark.slow
def test_one_checkpoint_that_is_no_minimum_does_not_set_the_gamma_of_all():
    checkpoints = jnp.zeros((6, 5)).at[0, 2].set(0.3)
    c = calibrate(jax.random.key(0), valley, checkpoints, jnp.zeros((2, 1)), nbeta=100.0, **SHORT)
    assert c.gamma == pytest.approx(0.01 * 400, rel=0.05)
    assert "1 of 6 checkpoints" in c.reasons[1]
    strict = calibrate(jax.random.key(0), valley, checkpoints, jnp.zeros((2, 1)), nbeta=100.0, troubled=0.0, **SHORT)
    assert strict.gamma > 10 * c.gamma


@pytest.mark.slow
def test_on_minibatches_the_noise_of_their_gradients_bounds_the_step():
    x = jax.random.normal(jax.random.key(1), (200, 5))
    mean = lambda w, x: jnp.sum((w[None] - x) ** 2, axis=1) / 2
    full, noisy = (
        calibrate(jax.random.key(0), mean, jnp.mean(x, axis=0)[None], x, nbeta=100.0, batch_size=size, **SHORT)
        for size in (None, 8)
    )
    assert noisy.step_size < full.step_size / 5
    assert (full.baseline, noisy.baseline) == ("full", "paired")
    run = quick(
        lambda: estimate_llc(jax.random.key(1), mean, jnp.mean(x, axis=0), x, sgld(noisy.step_size), **noisy.settings)
    )
    llc, exact = run(), regular_finite(np.ones(5), nbeta=100.0, gamma=noisy.gamma)
    assert abs(llc.value - 1.025 * exact) < 0.04 * exact + 4 * llc.stderr


@pytest.mark.slow
def test_on_minibatches_a_checkpoint_that_is_no_minimum_does_not_set_the_step_of_all():
    x = jax.random.normal(jax.random.key(1), (200, 5))
    mean, m = lambda w, x: jnp.sum((w[None] - x) ** 2, axis=1) / 2, jnp.mean(x, axis=0)
    settle = lambda points: calibrate(jax.random.key(0), mean, points, x, nbeta=100.0, batch_size=8, **SHORT)
    alone, among = settle(m[None]), settle(jnp.stack([m] * 5 + [m + 0.3]))
    assert among.step_size > 0.5 * alone.step_size
    assert "the gradient noise E|g_B - g|^2 = 0." in alone.reasons[2]
    assert alone.warmup >= 5 / (alone.step_size * (100 + alone.gamma)) - 1


@pytest.mark.slow
def test_a_step_that_a_run_of_the_setting_halved_is_the_one_that_the_reason_names():
    flat = lambda w, data: jnp.sum(w[:3] ** 2) / 2 + 0 * jnp.sum(data)
    c = calibrate(
        jax.random.key(0), flat, jnp.zeros((1, 3000)), jnp.zeros((2, 1)), nbeta=100.0, gammas=[100.0], **SHORT
    )
    assert c.reasons[2].startswith(f"step size {c.step_size:.3g}: eps A = {c.step_size * 200:.2g} ")
    assert "halved" in c.reasons[2]


def test_the_default_temperature_is_that_of_the_data_set():
    assert default_nbeta(1000) == pytest.approx(144.76, rel=1e-4)
    with pytest.raises(ValueError, match="two examples or more"):
        default_nbeta(1)
