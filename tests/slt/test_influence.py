"""Influence and the loss kernel against the closed form of linear regression, whose localised posterior is Gaussian."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.chains import Sampling
from slt.influence import bayesian_influence, damped_influence, loss_kernel
from slt.samplers.langevin import mala, sgld

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
REPLICAS = 100
NBETA, GAMMA = 20.0, 5.0
rng = np.random.default_rng(1)
X, Y = rng.normal(size=(5, 2)), 2 * rng.normal(size=5)
W_STAR = np.linalg.lstsq(X, Y, rcond=None)[0]
RESIDUAL = Y - X @ W_STAR
S = np.linalg.inv(NBETA * X.T @ X / 5 + GAMMA * np.eye(2))  # the posterior's covariance; its mean is W_STAR
XSX = X @ S @ X.T
KERNEL = np.outer(RESIDUAL, RESIDUAL) * XSX + XSX**2 / 2
A = np.array([[1.0, -0.5], [0.3, 2.0]])  # two linear observables
INFLUENCE = RESIDUAL[:, None] * (X @ S @ A.T)  # -Cov(l_i, a.w): third moments vanish
DATA = {"x": jnp.asarray(X, jnp.float32), "y": jnp.asarray(Y, jnp.float32)}
PARAMS = jnp.asarray(W_STAR, jnp.float32)


def loss(w, data):
    return (data["y"] - data["x"] @ w) ** 2 / 2


def linear(w):
    return jnp.asarray(A, jnp.float32) @ w


SETTINGS: dict[str, Any] = dict(nbeta=NBETA, gamma=GAMMA, sampling=Sampling(4, 30, 400))
SHORT = SETTINGS | dict(sampling=Sampling(2, 0, 50))


@functools.cache
def replicas():
    run = lambda key: (
        loss_kernel(key, loss, PARAMS, DATA, mala(0.06), **SETTINGS),
        bayesian_influence(
            jax.random.fold_in(jax.random.clone(key), 1), loss, PARAMS, DATA, mala(0.06), observable=linear, **SETTINGS
        ),
    )
    return quick(jax.vmap(run))(jax.random.split(jax.random.key(0), REPLICAS))


def assert_calibrated(value, stderr, exact, relative):
    """Unbiased entry by entry, standard errors right on average, and small: below `relative` of the largest entry."""
    value, claimed = np.asarray(value, float), np.sqrt(np.mean(np.square(stderr), axis=0))
    spread = value.std(axis=0, ddof=1)
    assert np.all(np.abs(value.mean(axis=0) - exact) < 4.5 * spread / np.sqrt(len(value)))
    assert np.all(spread < relative * np.abs(exact).max())
    assert 0.85 < np.mean(claimed / spread) < 1.15


def test_the_loss_kernel_of_linear_regression_is_exact():
    result = replicas()[0]
    assert_calibrated(result.value, result.stderr, KERNEL, 0.1)


def test_the_influence_on_linear_observables_is_exact():
    result = replicas()[1]
    assert_calibrated(result.value, result.stderr, INFLUENCE, 0.1)


def test_correlations_are_exact():
    sd = np.sqrt(np.diag(KERNEL))
    result = replicas()[0]
    np.testing.assert_allclose(result.value, np.swapaxes(result.value, 1, 2), rtol=1e-3, atol=1e-4)
    diagonal = np.einsum("rii->ri", result.correlation)
    np.testing.assert_allclose(diagonal, 1, rtol=1e-4)
    off = ~np.eye(5, dtype=bool)
    mean = np.mean(result.correlation, axis=0)[off]
    np.testing.assert_allclose(mean, (KERNEL / np.outer(sd, sd))[off], atol=0.02)
    result, of_a = replicas()[1], np.sqrt(np.einsum("ij,jk,ik->i", A, S, A))
    np.testing.assert_allclose(np.mean(result.correlation, axis=0), INFLUENCE / np.outer(sd, of_a), atol=0.02)
    claimed, spread = np.mean(result.correlation_stderr, axis=0), np.std(result.correlation, axis=0)
    assert 0.8 < np.mean(claimed / spread) < 1.2


def test_the_damped_influence_is_the_leading_order():
    """-g_i' (nbeta H + gamma)^-1 g_phi: exact on linear observables, -r_i r_j x_i' S x_j on the losses themselves."""

    def both(w):
        options: dict[str, Any] = dict(nbeta=NBETA, gamma=GAMMA)
        of_linear = damped_influence(loss, w, DATA, observable=linear, **options)
        return of_linear, damped_influence(loss, w, DATA, observable=lambda w: loss(w, DATA), **options)

    of_linear, of_losses = quick(both)(PARAMS)
    np.testing.assert_allclose(of_linear, INFLUENCE, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(of_losses, -np.outer(RESIDUAL, RESIDUAL) * XSX, rtol=1e-3, atol=1e-4)


def test_a_loss_without_examples_is_refused_with_what_to_write():
    scalar = lambda w, data: jnp.mean(loss(w, data))
    with pytest.raises(ValueError, match=r"returns shape \(\) for 5 examples: .* shape \(5,\)"):
        loss_kernel(jax.random.key(0), scalar, PARAMS, DATA, sgld(0.1), **SHORT)
