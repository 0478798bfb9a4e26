"""The cases of devinterp's own tests, with exact values where they have loose bounds, and a proper posterior where not.

devinterp 1.3: sampler_accuracy_test, mala_test. Its monomials have no prior on the coordinates that the loss leaves
free; a localisation makes the posterior proper and its mean exact.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.estimate import default_nbeta, estimate_llc
from slt.samplers.langevin import mala, sgld
from slt.theory import normal_crossing, normal_crossing_finite

NBETA, NO_DATA = default_nbeta(1000), jnp.zeros((1,))
# compiling takes longer than running here
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

ACCURACY = [(0, 1), (1, 1), (0, 2), (1, 2), (2, 2), (0, 3), (1, 3), (2, 3), (3, 3)]


@functools.cache
def monomials():
    """K = E[x^2] (w_0^p_0 w_1^p_1)^2 for x ~ N(0, 4), for every pair of powers in one program; gamma = 1."""
    power = lambda w, p: jnp.stack([jnp.ones(()), w, w**2, w**3])[p]

    def run(key, powers):
        loss = lambda w, data: 4 * (power(w[0], powers[0]) * power(w[1], powers[1])) ** 2
        settings = dict(nbeta=NBETA, gamma=1.0, chains=60, warmup=1000, draws=1500, thin=2)
        return estimate_llc(key, loss, jnp.zeros(2), NO_DATA, mala(0.004), **settings)

    keys = jax.random.split(jax.random.key(0), len(ACCURACY))
    return quick(jax.vmap(run))(keys, jnp.array(ACCURACY))


@pytest.mark.slow
@pytest.mark.parametrize("case", range(len(ACCURACY)), ids=map(str, ACCURACY))
def test_monomials_have_their_exact_value_at_the_temperature_of_the_test(case):
    """devinterp asks that 1/(2 max p) be within 3.5 deviations of chains; where m = 2 that is not what is sampled."""
    powers, llc = ACCURACY[case], jax.tree.map(lambda leaf: leaf[case], monomials())
    exact = normal_crossing_finite(powers, nbeta=4 * NBETA, gamma=1.0)
    assert llc.stderr < 0.06 * exact
    assert abs(llc.value - exact) < 4 * llc.stderr
    limit, multiplicity = normal_crossing(powers)
    assert limit == pytest.approx({1: 0.5, 2: 0.25, 3: 1 / 6}[max(powers)])
    if multiplicity == 2:
        assert exact < 0.93 * limit


# powers, step size, gamma, stationary acceptance of SGLD's proposal; loss sum_i w_i^p_i, nbeta = 1000/ln 1000
ACCEPTANCE = [
    ((2,), 1e-2, 100, 0.59),
    ((2,), 1e-2, 0.1, 0.73),
    ((2,), 1e-3, 100, 0.98),
    ((4,), 1.5e-2, 100, np.nan),  # published .85 of one chain: one of five diverges
    ((4,), 1.5e-2, 1, 0.935),
    ((8,), 1.5e-2, 100, 0.87),
    ((2, 2), 1e-3, 100, 0.971),
    ((2, 2), 1e-2, 100, 0.54),
    ((2, 2), 3e-3, 0.01, 0.91),
    ((0, 2), 2e-3, 100, 0.95),
    ((4, 4), 1e-2, 100, 0.87),
]


@functools.cache
def acceptances():
    """The acceptance in each case, as one program over the coefficients of w^2, w^4 and w^8."""

    def run(key, coefficients, mask, step_size, gamma):
        loss = lambda w, data: jnp.sum(coefficients * jnp.stack([w**2, w**4, w**8]))
        settings = dict(nbeta=NBETA, gamma=gamma, chains=5, warmup=500, draws=2000, mask=mask)
        return estimate_llc(key, loss, jnp.zeros(2), NO_DATA, sgld(step_size), **settings).acceptance

    powers = np.array([(*p, -1)[:2] for p, *_ in ACCEPTANCE])  # -1: no second coordinate
    coefficients = np.stack([powers == p for p in (2, 4, 8)], axis=1).astype(np.float32)
    numbers = np.array([case[1:3] for case in ACCEPTANCE], np.float32)
    keys = jax.random.split(jax.random.key(1), len(ACCEPTANCE))
    return quick(jax.vmap(run))(keys, coefficients, powers >= 0, *numbers.T)


@pytest.mark.parametrize("case", range(len(ACCEPTANCE)), ids=[str(case[:3]) for case in ACCEPTANCE])
def test_published_acceptance_rates(case):
    assert float(acceptances()[case]) == pytest.approx(ACCEPTANCE[case][3], abs=0.01, nan_ok=True)
