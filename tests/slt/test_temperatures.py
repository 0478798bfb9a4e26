"""lambda by mean, variance and slope: exact values at finite nbeta and gamma, calibrated errors, planted disagreements."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.estimate import estimate_llc
from slt.samplers.langevin import mala, sgld
from slt.temperatures import by_slope, by_variance, compare, disagreements, llc_at_temperatures, slope_weights

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
NBETAS = np.array([30.0, 60.0, 120.0])
BETAS = jnp.asarray(NBETAS, jnp.float32)
H = np.array([2.0, 1.0, 0.5])
DATA = jnp.linspace(-1, 1, 32)
REPLICAS, MANY = 100, 1000


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
def program(loss, sampler, step, batch_size, draws):
    """One LLC at three temperatures and their comparison, for each of many keys; compiled once for every gamma."""
    options: dict[str, Any] = dict(chains=4, warmup=60, draws=draws, thin=2, batch_size=batch_size)

    def run(key, gamma, centre):
        at = lambda key, nbeta: estimate_llc(
            key, loss, centre, DATA, sampler(step / (nbeta + gamma)), nbeta=nbeta, gamma=gamma, **options
        )
        llc = llc_at_temperatures(key, at, BETAS)
        return llc, compare(llc, BETAS)

    return quick(jax.vmap(run, in_axes=(0, None, None)))


@functools.cache
def sampled(
    loss=quadratic, replicas=REPLICAS, gamma=20.0, centre=0.0, sampler=mala, step=0.6, batch_size=None, draws=300
):
    keys = jax.random.split(jax.random.key(1), replicas)
    return program(loss, sampler, step, batch_size, draws)(keys, jnp.float32(gamma), jnp.full(3, centre))


def of(comparison, i):
    return jax.tree.map(lambda leaf: leaf[i], comparison)


def found(comparison):
    """The kinds of disagreement in each comparison."""
    comparison = jax.tree.map(np.asarray, comparison)
    rows = range(len(comparison.mean.value))
    return [[one.kind for one in disagreements(of(comparison, i))] for i in rows]


def test_slope_weights_are_a_weighted_least_squares_fit_in_the_inverse_of_nbeta():
    T, values = 1 / NBETAS, np.array([0.3, 0.8, 0.9])
    slope, _ = np.polyfit(T, values * T, 1, w=NBETAS)
    np.testing.assert_allclose(slope_weights(jnp.asarray(NBETAS)) @ jnp.asarray(values), slope, rtol=1e-5)


def test_a_slope_of_one_temperature_is_refused():
    with pytest.raises(ValueError, match="got 1 temperature: a slope needs nbetas of length 2 or more"):
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


def test_the_three_ways_are_the_comparison_at_one_temperature_and_over_all():
    llc, comparison = jax.tree.map(lambda leaf: leaf[0], sampled())
    each, slope = quick(lambda llc: (jax.vmap(by_variance)(llc), by_slope(llc, BETAS)))(llc)
    np.testing.assert_allclose(jnp.mean(each.value), comparison.variance.value, rtol=1e-4)
    np.testing.assert_allclose(slope.value, comparison.slope.value, rtol=1e-4)
    np.testing.assert_allclose(jnp.mean(llc.value), comparison.mean.value, rtol=1e-4)


@pytest.mark.slow
def test_the_variance_is_the_mean_less_its_derivative_in_log_nbeta():
    mean, variance = crossing_exact(60.0, 20.0)
    up, down = crossing_exact(60.6, 20.0)[0], crossing_exact(59.4, 20.0)[0]
    assert variance == pytest.approx(mean - (up - down) / np.log(60.6 / 59.4), abs=1e-4)
    llc = sampled(loss=crossing, draws=1000, replicas=32)[0]
    estimate = jax.vmap(by_variance)(jax.tree.map(lambda leaf: leaf[:, 1], llc))
    deviation, error = np.asarray(estimate.value) - variance, np.sqrt(np.mean(np.square(estimate.stderr)) / 32)
    assert error < 0.1 * (mean - variance)  # so that the mean would be ten errors off
    assert abs(deviation.mean()) < 4 * error


@pytest.mark.slow
def test_fewer_than_one_comparison_in_a_hundred_has_a_finding_on_a_regular_model_sampled_well():
    alarms = sum(map(bool, found(sampled(gamma=1.0, replicas=MANY)[1])))
    assert alarms <= 10


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("baseline too high", dict(centre=0.3, gamma=1.0)),
        pytest.param(
            "lambda-hat grows with nbeta", dict(loss=crossing, draws=1000, replicas=32), marks=pytest.mark.slow
        ),
        ("lambda-hat grows with nbeta", dict(gamma=60.0)),
        ("variance apart", dict(gamma=1.0, sampler=sgld, step=1.0, batch_size=8)),
    ],
)
def test_a_planted_disagreement_is_found_and_named(kind, options):
    kinds = found(sampled(**options)[1])
    assert sum(one[:1] == [kind] for one in kinds) >= 0.9 * len(kinds)


def test_numbers_that_are_not_finite_are_a_finding():
    llc = jax.tree.map(lambda leaf: leaf[0], sampled()[0])
    broken = quick(lambda llc: compare(llc, BETAS))(llc._replace(trace=llc.trace.at[1, 0, 5].set(jnp.nan)))
    assert not np.isfinite(broken.slope.value)
    assert disagreements(broken)[0].kind == "not finite"
