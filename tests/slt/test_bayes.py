"""Evidence and prediction against linear regression with known noise, where both have closed forms."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

import slt.bayes
from slt.bayes import Posterior, asymptotic, ladder, losses, merged, pointwise, posterior
from slt.samplers.mala import mala

N, D, GAMMA = 40, 2, 2.0
rng = np.random.default_rng(1)
X = rng.normal(size=(N + 20, D)) @ np.array([[1.0, 0.3], [0.0, 0.8]])
Y = X @ np.array([0.8, -0.5]) + rng.normal(size=N + 20)
ALL = {"x": jnp.asarray(X, jnp.float32), "y": jnp.asarray(Y, jnp.float32)}
DATA, TEST = jax.tree.map(lambda a: a[:N], ALL), jax.tree.map(lambda a: a[N:], ALL)
ZERO = jnp.zeros(D)
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
free_energy, wbic = quick(slt.bayes.free_energy), quick(slt.bayes.wbic, static_argnums=1)


def loss(w, data):
    return -norm.logpdf(data["y"], data["x"] @ w)


def gaussian(nbeta):
    """Mean and covariance of the posterior at nbeta."""
    covariance = np.linalg.inv(nbeta / N * X[:N].T @ X[:N] + GAMMA * np.eye(D))
    return nbeta / N * covariance @ X[:N].T @ Y[:N], covariance


def each(nbeta=float(N), rows=slice(N)):
    """Mean of each loss, its variance, and the log predictive density."""
    mean, covariance = gaussian(nbeta)
    r, v = Y[rows] - X[rows] @ mean, np.einsum("ij,jk,ik->i", X[rows], covariance, X[rows])
    log_predictive = -(r**2) / (1 + v) / 2 - np.log(2 * np.pi * (1 + v)) / 2
    return (r**2 + v + np.log(2 * np.pi)) / 2, v**2 / 2 + r**2 * v, log_predictive


def moments(nbeta):
    """Mean and variance of L: n L is a quadratic form in a Gaussian."""
    mean, covariance = gaussian(nbeta)
    H, r = X[:N].T @ X[:N] / N, Y[:N] - X[:N] @ mean
    g = X[:N].T @ r / N
    return each(nbeta)[0].mean(), np.trace(H @ covariance @ H @ covariance) / 2 + g @ covariance @ g


def evidence():
    """F = -log p(y | x), y Gaussian with covariance 1 + x x'/gamma."""
    covariance = np.eye(N) + X[:N] @ X[:N].T / GAMMA
    return (Y[:N] @ np.linalg.solve(covariance, Y[:N]) + np.linalg.slogdet(2 * np.pi * covariance)[1]) / 2


def exact_posterior():
    mean, variance, log_predictive = each()
    new_mean, _, new_log_predictive = each(rows=slice(N, None))
    V, bayes = variance.sum(), -log_predictive.mean()
    numbers: Any = mean.mean(), bayes, V, V / 2, bayes + V / N, new_mean.mean(), -new_log_predictive.mean()
    return dict(zip(Posterior._fields, numbers, strict=True))


@functools.cache
def chain_posterior():
    settings: dict[str, Any] = dict(test=TEST, gamma=GAMMA, chains=24, warmup=30, draws=700, thin=2)
    return quick(lambda key: posterior(key, loss, ZERO, DATA, mala(1.2 / N), **settings))(jax.random.key(0))


@functools.cache
def chain_losses(rungs=17):
    nbetas = jnp.append(ladder(N, rungs), N / np.log(N))
    settings: dict[str, Any] = dict(nbetas=nbetas, gamma=GAMMA, chains=8, warmup=30, draws=800)
    at = lambda nbeta: mala(1.2 / (nbeta + GAMMA))
    return quick(lambda key: losses(key, loss, ZERO, DATA, at, **settings))(jax.random.key(1)), nbetas


@functools.cache
def folded(draws=300, chains=3):
    """Points folded in by chains of different lengths, and the points."""
    w = jnp.asarray(rng.normal(size=(chains, draws, D)), jnp.float32)
    fold = pointwise(loss, DATA)
    carry = quick(jax.vmap(lambda w: jax.lax.scan(lambda c, w: (fold.update(c, w), None), fold.init(ZERO), w)[0]))(w)
    return carry, np.asarray(w, float).reshape(-1, D)


def test_the_fold_is_what_the_kept_draws_give():
    carry, w = folded()
    kept = (Y[None, :N] - w @ X[:N].T) ** 2 / 2 + np.log(2 * np.pi) / 2
    found = merged(carry)
    assert found.count == len(w)
    np.testing.assert_allclose(found.mean, kept.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(found.variance, kept.var(axis=0, ddof=1), rtol=1e-4)
    np.testing.assert_allclose(found.log_mean_exp, np.log(np.exp(-kept).mean(axis=0)), rtol=1e-5, atol=1e-5)


def test_the_log_of_the_mean_does_not_underflow():
    """Likelihoods of exp(-1000) and exp(-1001): their mean has a logarithm, they are zero."""
    fold = pointwise(lambda w, data: w * jnp.ones(2), None)
    carry = fold.update(fold.update(fold.init(jnp.float32(0)), jnp.float32(1000)), jnp.float32(1001))
    np.testing.assert_allclose(carry.log_mean_exp, -1000 + np.log((1 + np.exp(-1)) / 2), rtol=1e-6)


def test_a_draw_that_is_nan_stays():
    fold = pointwise(loss, DATA)
    carry = fold.update(fold.update(fold.init(ZERO), jnp.full(D, jnp.nan)), ZERO)
    assert all(np.isnan(leaf).all() for leaf in carry[1:])


def test_the_carry_does_not_know_how_many_draws_will_come():
    assert {leaf.shape for leaf in pointwise(loss, DATA).init(ZERO)} == {(), (N,)}


@pytest.mark.parametrize("name", Posterior._fields)
def test_every_number_of_a_posterior_is_the_exact_one_within_its_error(name):
    found, exact = getattr(chain_posterior(), name), exact_posterior()[name]
    assert abs(found.value - exact) < 4 * found.stderr
    least = {"functional_variance": 0.04, "singular_fluctuation": 0.02}.get(name, 0.003)
    assert 1e-5 < found.stderr < least


def test_the_numbers_that_are_told_apart_are_far_apart():
    """The power of the test above: what would be confused differs by many standard errors."""
    exact, found = exact_posterior(), chain_posterior()
    for one, other in (
        ("gibbs_training", "bayes_training"),
        ("waic", "bayes_training"),
        ("bayes_generalisation", "gibbs_generalisation"),
    ):
        assert abs(exact[one] - exact[other]) > 8 * getattr(found, one).stderr


def test_the_free_energy_is_the_evidence():
    loss, nbetas = chain_losses()
    found = free_energy(loss[:-1], nbetas[:-1])
    assert abs(found.value - evidence()) < 4 * found.stderr
    assert 0.002 < found.stderr < 0.06
    assert abs(found.coarser) < 0.2


def test_wbic_is_the_mean_of_the_losses_at_its_temperature():
    loss, nbetas = chain_losses()
    found, exact = wbic(loss[-1], N), N * moments(nbetas[-1])[0]
    assert abs(found.value - exact) < 4 * found.stderr
    assert 0.01 < found.stderr < 0.12
    np.testing.assert_allclose(found.stderr, N * np.sqrt(moments(nbetas[-1])[1] / 6400), rtol=2)
    assert abs(N * moments(N)[0] - exact) > 5 * found.stderr  # another temperature is seen


def two_points(rungs):
    """For each rung two draws with the exact mean and variance of L, each many times."""
    nbetas = np.asarray(ladder(N, rungs), float)
    m, v = np.array([moments(nbeta) for nbeta in nbetas]).T
    signs = np.resize([1.0, 1.0, -1.0, -1.0], (2, 40))
    return jnp.asarray(m[:, None, None] + np.sqrt(v)[:, None, None] * signs[None]), jnp.asarray(nbetas)


def test_the_rule_is_of_fourth_order():
    """Rungs doubled, the error of exact moments falls by 2^4."""
    found = free_energy(*two_points(17))
    fine, coarse = float(found.value) - evidence(), float(found.value + found.coarser) - evidence()
    assert 10 < abs(coarse / fine) < 22
    assert abs(fine) < min(0.02, abs(float(found.coarser)))  # a coarser ladder bounds what the rule gets wrong


def test_the_asymptotic_formula_is_the_evidence_up_to_a_constant():
    """Mean of a Gaussian, prior N(0, 1/gamma): F = n L + log(1 + n/gamma)/2 + gamma n m^2/(n + gamma)/2."""
    n, m = np.array([1e3, 1e5]), 0.4
    F = np.log1p(n / GAMMA) / 2 + GAMMA * n * m**2 / (n + GAMMA) / 2
    constant = np.log(1 / GAMMA) / 2 + GAMMA * m**2 / 2
    np.testing.assert_allclose(asymptotic(jnp.asarray(n), 0.0, 0.5) + constant, F, atol=2e-3)
    np.testing.assert_allclose(asymptotic(100, 2.0, 0.5) - asymptotic(100, 0.0, 0.5), 200, rtol=1e-5)
    np.testing.assert_allclose(asymptotic(1000, 0.0, 0.5, 2), np.log(1000) / 2 - np.log(np.log(1000)), rtol=1e-6)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="one number an example"):
        pointwise(lambda w, data: jnp.mean(loss(w, data)), DATA).init(ZERO)
    with pytest.raises(ValueError, match="rungs=5"):
        ladder(100, 4)
