"""Free energy, WBIC, WAIC and predictive losses against Bayesian linear regression, where all are known."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

from slt.bayes import Criteria, criteria, free_energy, ladder, merged, pointwise, thermodynamic_weights, wbic
from slt.chains import Sampling, run_chains
from slt.samplers.base import localised
from slt.samplers.langevin import mala

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
GAMMA, REPLICAS, N = 1.5, 100, 12
CENTRE = jnp.array([0.2, -0.1])


def drawn(seed, n):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)) * [1.0, 0.6]
    return x, x @ [0.5, 1.0] + rng.normal(size=n)


X, Y = drawn(0, N)
NEW_X, NEW_Y = drawn(1, 5)
DATA, NEW = ((jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)) for x, y in ((X, Y), (NEW_X, NEW_Y)))


def loss(params, data):
    x, y = data
    return (y - x @ params) ** 2 / 2 + jnp.log(2 * jnp.pi) / 2


def posterior(beta):
    """Mean and covariance of the weights at inverse temperature beta."""
    S = np.linalg.inv(GAMMA * np.eye(2) + beta * X.T @ X)
    return S @ (GAMMA * np.asarray(CENTRE, float) + beta * X.T @ Y), S


def moments(beta, x, y):
    """For each example: log E[p], E[log p] and Var[log p] under the posterior."""
    m, S = posterior(beta)
    r, v = y - x @ m, np.einsum("ni,ij,nj->n", x, S, x)
    return norm.logpdf(r, 0, np.sqrt(1 + v)), norm.logpdf(r) - v / 2, v**2 / 2 + r**2 * v


def exact_free_energy():
    covariance: Any = np.eye(N) + X @ X.T / GAMMA
    return -multivariate_normal.logpdf(Y, X @ np.asarray(CENTRE, float), covariance)


def exact_criteria(beta):
    bayes, gibbs, variance = moments(beta, X, Y)
    new_bayes, new_gibbs, _ = moments(beta, NEW_X, NEW_Y)
    T, G, V = -bayes.mean(), -gibbs.mean(), variance.sum()
    return Criteria(*T_and_others(T, G, V, beta), -new_bayes.mean(), -new_gibbs.mean())


def T_and_others(T, G, V, beta):
    return T, G, T + beta * V / N, G + beta * V / N, beta * V / 2


def step(nbeta):
    return mala(0.7 / (nbeta + GAMMA))


SAMPLING = Sampling(chains=16, warmup=20, draws=120)


@functools.cache
def replicas():
    """Every driver on the same data, for many keys, in one program."""

    def run(key):
        keys = jax.random.split(key, 3)
        return (
            wbic(keys[0], loss, CENTRE, DATA, step(N / np.log(N)), gamma=GAMMA, sampling=SAMPLING),
            free_energy(
                keys[1],
                loss,
                CENTRE,
                DATA,
                step,
                betas=ladder(8, 3.0),
                gamma=GAMMA,
                sampling=SAMPLING._replace(chains=4),
            ),
            criteria(keys[2], loss, CENTRE, DATA, step(N * 0.7), beta=0.7, gamma=GAMMA, sampling=SAMPLING, heldout=NEW),
        )

    return jax.tree.map(np.asarray, quick(jax.vmap(run))(jax.random.split(jax.random.key(0), REPLICAS)))


def assert_calibrated(value, stderr, exact, largest):
    """Unbiased within four errors of the mean; errors small, and as large as the scatter."""
    deviation, claimed = np.asarray(value, float) - exact, np.sqrt(np.mean(np.square(stderr)))
    assert claimed < largest
    assert abs(deviation.mean()) < 4 * deviation.std() / np.sqrt(REPLICAS)
    assert 0.75 < deviation.std() / claimed < 1.35


def test_wbic_is_the_tempered_mean_of_n_L():
    found, _, _ = replicas()
    exact = -moments(1 / np.log(N), X, Y)[1].sum()
    assert_calibrated(found.value, found.stderr, exact, 0.12)


def test_free_energy_is_the_evidence():
    _, found, _ = replicas()
    plain = (found.value - found.remainder).mean()
    assert plain - exact_free_energy() > 5 * found.value.std() / np.sqrt(REPLICAS)  # without the correction it is off
    assert_calibrated(found.value, found.stderr, exact_free_energy(), 0.12)


def test_each_rung_is_the_mean_at_its_temperature():
    _, found, _ = replicas()
    at_start = -norm.logpdf(Y - X @ np.asarray(CENTRE, float)).sum()
    exact = [-moments(beta, X, Y)[1].sum() - at_start for beta in np.asarray(ladder(8, 3.0), float)]
    error = found.mean.std(axis=0) / np.sqrt(REPLICAS)
    assert np.all(np.abs(found.mean.mean(axis=0) - exact) < 4 * error)
    assert np.all(error < 0.015 * (exact[0] - exact[-1]))


@pytest.mark.parametrize("field", Criteria._fields)
def test_criteria_are_those_of_the_exact_posterior(field):
    found = getattr(replicas()[2], field)
    exact = getattr(exact_criteria(0.7), field)
    assert_calibrated(found.value, found.stderr, exact, 0.04 if field == "fluctuation" else 0.012)


def test_moments_of_examples_are_those_of_the_same_draws_kept():
    potential = localised(loss, DATA, CENTRE, nbeta=float(N), gamma=GAMMA)
    kept = lambda params: jnp.zeros((30, 2))
    keep = lambda carry, params: jnp.concatenate([carry[1:], params[None]])
    fold = pointwise(loss, DATA)
    both = fold._replace(
        init=lambda params: (fold.init(params), kept(params)),
        update=lambda carry, params: (fold.update(carry[0], params), keep(carry[1], params)),
    )
    run = quick(lambda key: run_chains(key, step(N), potential, CENTRE, Sampling(3, 5, 30), fold=both))
    each, draws = run(jax.random.key(0)).folded
    log_p = norm.logpdf(Y - np.asarray(draws, float).reshape(-1, 2) @ X.T)
    one = merged(each)
    assert one.count == 90
    np.testing.assert_allclose(one.log_sum, logsumexp(log_p, axis=0), rtol=1e-5)
    np.testing.assert_allclose(one.mean, log_p.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(one.square, log_p.var(axis=0) * 90, rtol=1e-4)
    assert sum(leaf.size for leaf in jax.tree.leaves(each)) == 3 * (3 * N + 1)


def test_impossible_examples_and_bad_numbers_do_not_vanish():
    fold = pointwise(lambda params, data: data + params, jnp.array([jnp.inf, jnp.nan, 1.0]))
    carry = fold.update(fold.update(fold.init(0.0), 0.0), 1.0)
    np.testing.assert_allclose(carry.log_sum, [-np.inf, np.nan, np.logaddexp(-1, -2)], rtol=1e-6)
    assert np.isnan(carry.mean[:2]).all()
    assert carry.mean[2] == pytest.approx(-1.5)


def test_bad_input_is_refused_with_what_to_write():
    with pytest.raises(ValueError, match=r"got rungs=1: .* rungs >= 2"):
        ladder(1)
    with pytest.raises(ValueError, match=r"got a loss of shape \(\): return the loss of each example, shape \(n,\)"):
        pointwise(lambda params, data: jnp.mean(loss(params, data)), DATA).init(CENTRE)


def test_the_thermodynamic_rule_is_exact_for_cubics():
    betas = np.array([0.0, 0.1, 0.5, 1.0])
    a, b = thermodynamic_weights(jnp.asarray(betas))
    mean, variance = 1 - betas + 2 * betas**2 - betas**3, 1 - 4 * betas + 3 * betas**2  # -mean'
    assert float(a @ mean + b @ variance) == pytest.approx(1 - 1 / 2 + 2 / 3 - 1 / 4, rel=1e-6)
    np.testing.assert_allclose(ladder(3, 2.0), [0, 0.25, 1])
