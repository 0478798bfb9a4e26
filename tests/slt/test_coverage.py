"""Whether the intervals of `llc` hold the exact value as often as they say, on models whose flat directions bend."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.adaptive import llc
from slt.estimate import default_nbeta
from slt.theory import normal_crossing_finite, regular_finite, tanh_finite

NO_DATA, NBETA, KEYS = jnp.zeros((1,)), default_nbeta(1000), 100
INPUTS = np.linspace(-2, 2, 20)
STIFF = np.repeat([2.0, 0.003], 10)


def monomial(*k):
    return lambda w, data: jnp.prod(w ** (2 * jnp.array(k)))


def tanh_unit(w, data):
    return jnp.mean((w[1] * jnp.tanh(w[0] * jnp.asarray(INPUTS, jnp.float32))) ** 2) / 2


def stiff_and_flat(w, data):
    return jnp.sum(jnp.asarray(STIFF, jnp.float32) * w**2) / 2


MODELS = {
    "(ab)^2": (monomial(1, 1), 2, 1.0, normal_crossing_finite((1, 1), nbeta=NBETA, gamma=1.0)),
    "a^2 b^4": (monomial(1, 2), 2, 1.0, normal_crossing_finite((1, 2), nbeta=NBETA, gamma=1.0)),
    "tanh unit": (tanh_unit, 2, 1.0, tanh_finite(1, INPUTS, nbeta=NBETA, gamma=1.0)),
    "stiff and flat": (stiff_and_flat, 20, 0.1, regular_finite(STIFF, nbeta=NBETA, gamma=0.1)),
}


SHORT = pytest.mark.xfail(
    strict=True, reason="errors of (ab)^2 are too small: 84 of 100 are covered, docs/estimator.md"
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=SHORT) if name == "(ab)^2" else name for name in MODELS])
def test_two_standard_errors_hold_the_exact_value_and_nothing_is_far_off_unseen(name):
    """95 of 100 are expected, 88 are three standard deviations less; an error of a fifth is seven standard errors."""
    loss, d, gamma, exact = MODELS[name]
    found = [
        llc(jax.random.key(i), loss, jnp.zeros(d), NO_DATA, nbeta=NBETA, gamma=gamma, stderr=0.03) for i in range(KEYS)
    ]
    value, stderr = np.array([result.value for result in found]), np.array([result.stderr for result in found])
    assert np.mean(np.abs(value - exact) <= 2 * stderr) >= 0.88
    assert abs(value.mean() - exact) < 4 * np.hypot(value.std(), stderr.mean()) / np.sqrt(KEYS)
    assert not np.any((np.abs(value / exact - 1) > 0.2) & [result.findings == [] for result in found])
