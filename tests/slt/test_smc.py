"""Sequential Monte Carlo against a known evidence."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import slt

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def test_smc_gives_the_evidence_and_posterior_of_a_gaussian():
    """Prior N(0, 1), likelihood exp(-a |w - m|^2/2): log Z = sum -log(1 + a)/2 - a m^2/(2 (1 + a))."""
    a, m, particles = np.array([5.0, 50.0, 0.5], np.float32), np.array([1.0, -0.5, 2.0], np.float32), 2000
    key_prior, key = jax.random.split(jax.random.key(2))
    begin = jax.random.normal(key_prior, (particles, 3))
    log_likelihood = lambda w: -jnp.sum(a * (w - m) ** 2) / 2
    run = functools.partial(slt.tempered_smc, log_likelihood=log_likelihood, moves=3, leapfrogs=5)
    ladder = jnp.linspace(0, 1, 21) ** 3
    found, log_evidence, ess, _ = quick(run)(key, begin, ladder=ladder)
    evidence = float(np.sum(-np.log(1 + a) / 2 - a * m**2 / (2 * (1 + a))))
    assert float(log_evidence) == pytest.approx(evidence, abs=0.12)
    np.testing.assert_allclose(found.mean(axis=0), a * m / (1 + a), atol=0.07)
    np.testing.assert_allclose(found.var(axis=0) * (1 + a), 1, atol=0.17)
    assert float(ess.min()) > 0.5
