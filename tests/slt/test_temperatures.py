"""lambda by mean, variance and slope: exact values at finite nbeta and gamma, calibrated errors."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.estimate import estimate_llc
from slt.samplers.langevin import mala
from slt.temperatures import combination, compare, llc_at_temperatures, slope_weights

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
NBETAS = np.array([30.0, 60.0, 120.0])
BETAS = jnp.asarray(NBETAS, jnp.float32)
H = np.array([2.0, 1.0, 0.5])
DATA = jnp.linspace(-1, 1, 32)
REPLICAS = 100


def quadratic(params, data):
    """sum_i h_i w_i^2/2 on average, with a slope that differs between examples and vanishes over all of them."""
    return jnp.sum(jnp.asarray(H) * params**2) / 2 + 2 * data * jnp.sum(params)


def crossing(params, data):
    return (params[0] * params[1]) ** 2 + 0 * data


def exact(gamma, nbetas=NBETAS):
    """lambda-hat and nbeta^2 Var[L] of the quadratic at each temperature."""
    r = nbetas[:, None] * H / (nbetas[:, None] * H + gamma)
    return r.sum(1) / 2, (r**2).sum(1) / 2


def crossing_exact(nbeta, gamma):
    """The same two of the crossing, by a sum over a grid."""
    w = np.linspace(0, 9 / np.sqrt(gamma), 500)
    K = np.multiply.outer(w**2, w**2)
    p = np.exp(-nbeta * K - gamma / 2 * np.add.outer(w**2, w**2))
    p[0], p[:, 0] = p[0] / 2, p[:, 0] / 2
    mean = nbeta * np.sum(p * K) / np.sum(p)
    return mean, nbeta**2 * np.sum(p * K**2) / np.sum(p) - mean**2


@functools.cache
def sampled(loss=quadratic, replicas=REPLICAS, draws=300, gamma=20.0):
    """One LLC at three temperatures and their comparison, for each of many keys."""
    options: dict[str, Any] = dict(gamma=gamma, chains=4, warmup=60, draws=draws, thin=2)

    def at(key, nbeta):
        return estimate_llc(key, loss, jnp.zeros(3), DATA, mala(0.6 / (nbeta + gamma)), nbeta=nbeta, **options)

    def run(key):
        llc = llc_at_temperatures(key, at, BETAS)
        return llc, compare(llc, BETAS)

    return quick(jax.vmap(run))(jax.random.split(jax.random.key(1), replicas))


def test_slope_weights_are_a_weighted_least_squares_fit_in_the_inverse_of_nbeta():
    T, values = 1 / NBETAS, np.array([0.3, 0.8, 0.9])
    slope, _ = np.polyfit(T, values * T, 1, w=NBETAS)
    np.testing.assert_allclose(slope_weights(jnp.asarray(NBETAS)) @ jnp.asarray(values), slope, rtol=1e-5)


def test_a_slope_of_one_temperature_is_refused():
    with pytest.raises(ValueError, match=r"got temperatures=1: .* temperatures >= 2"):
        slope_weights(jnp.array([10.0]))


@pytest.mark.parametrize(
    "field", ["mean", "variance", "slope", "mean_less_slope", "variance_less_slope", "mean_less_variance"]
)
def test_values_are_the_quadratics_at_finite_nbeta_and_gamma_and_errors_are_calibrated(field):
    mean, variance = exact(20.0)
    slope = np.asarray(slope_weights(jnp.asarray(NBETAS)), float) @ mean
    known = {"mean": mean.mean(), "variance": variance.mean(), "slope": slope}
    expected = known[field] if field in known else np.subtract(*(known[part] for part in field.split("_less_")))
    estimate = getattr(sampled()[1], field)
    deviation, claimed = np.asarray(estimate.value, float) - expected, np.sqrt(np.mean(np.square(estimate.stderr)))
    assert claimed < {"mean": 0.03, "variance": 0.08}.get(field, 0.12)
    assert abs(deviation.mean()) < 4 * claimed / np.sqrt(REPLICAS)
    assert 0.75 < deviation.std() / claimed < 1.3  # four standard errors of a standard deviation


@pytest.mark.slow
def test_the_variance_is_the_mean_less_its_derivative_in_log_nbeta():
    mean, variance = crossing_exact(60.0, 20.0)
    up, down = crossing_exact(60.6, 20.0)[0], crossing_exact(59.4, 20.0)[0]
    assert variance == pytest.approx(mean - (up - down) / np.log(60.6 / 59.4), abs=1e-4)
    llc = sampled(loss=crossing, draws=1000, replicas=32)[0]
    one, none = jnp.ones(1), jnp.zeros(1)
    estimate = jax.vmap(lambda trace: combination(trace[None], none, one))(llc.trace[:, 1])
    deviation, error = np.asarray(estimate.value) - variance, np.sqrt(np.mean(np.square(estimate.stderr)) / 32)
    assert error < 0.1 * (mean - variance)  # so that the mean would be ten errors off
    assert abs(deviation.mean()) < 4 * error
