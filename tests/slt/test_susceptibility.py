"""Susceptibilities of quadratic losses against their exact values, and these against the definition by a derivative."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from slt.chains import Sampling
from slt.refined import blocks
from slt.samplers.langevin import mala
from slt.susceptibility import susceptibilities

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
REPLICAS = 100
NBETA, GAMMA = 20.0, 5.0
SETTINGS: dict[str, Any] = dict(nbeta=NBETA, gamma=GAMMA, sampling=Sampling(4, 30, 1200))
rng = np.random.default_rng(2)
ROOTS, SLOPES = rng.normal(size=(4, 3, 3)), rng.normal(size=(4, 3)) / 2
SLOPES -= SLOPES.mean(axis=0)  # w* = 0 is the minimum of the mean
H_i = ROOTS @ np.swapaxes(ROOTS, 1, 2)
H = H_i.mean(axis=0)
DATA = {"H": jnp.asarray(H_i, jnp.float32), "b": jnp.asarray(SLOPES, jnp.float32)}
PARAMS = {"u": jnp.zeros(2), "v": jnp.zeros(1)}
MASKS = {**blocks(PARAMS), "all": True}
FREE = {"u": [0, 1], "v": [2], "all": [0, 1, 2]}  # the coordinates of each component


def loss(params, data):
    """l_i = w' H_i w/2 + b_i w."""
    w = jnp.concatenate([params["u"], params["v"]])
    return (data["H"] @ w) @ w / 2 + data["b"] @ w


def susceptible(key, masks, **options):
    return susceptibilities(key, loss, PARAMS, DATA, mala(0.04), masks=masks, **(SETTINGS | options))


@functools.cache
def replicas():
    run = lambda key: susceptible(key, MASKS)
    return quick(jax.vmap(run))(jax.random.split(jax.random.key(0), REPLICAS))


def tilted(C, i, h):
    """Under q_h, with the other coordinates held at 0: log of the mass, and E[phi]; both exact."""
    block = np.ix_(C, C)
    precision = NBETA * ((1 - h) * H + h * H_i[i])[block] + GAMMA * np.eye(len(C))
    mean, S = -np.linalg.solve(precision, NBETA * h * SLOPES[i][C]), np.linalg.inv(precision)
    log_mass = (mean @ precision @ mean - np.linalg.slogdet(precision / (2 * np.pi))[1]) / 2
    return log_mass, (np.trace(H[block] @ S) + mean @ H[block] @ mean) / 2


def derivative(f, h=1e-5):
    return (f(h) - f(-h)) / (2 * h)


def restricted(name):
    """(1/nbeta) d<phi>_C/dh, by differences of the exact values."""
    return np.array([derivative(lambda h: tilted(FREE[name], i, h)[1]) / NBETA for i in range(4)])


def paper(name):
    """(1/nbeta) d<delta(u - u*) phi>/dh in units of Z_C/Z at h = 0, by differences of the exact values."""

    def local(i, h):
        mass, phi = tilted(FREE[name], i, h)
        return np.exp(mass - tilted(FREE["all"], i, h)[0]) * phi

    def scale(i):
        return np.exp(tilted(FREE[name], i, 0.0)[0] - tilted(FREE["all"], i, 0.0)[0])

    return np.array([derivative(lambda h: local(i, h)) / NBETA / scale(i) for i in range(4)])


def closed_form(name):
    """-Cov_C[phi, dL_i] = -tr(H S D_i S)/2 on the block, D_i = H_i - H; and with the free mean of dL_i."""
    block = np.ix_(FREE[name], FREE[name])
    S = np.linalg.inv(NBETA * H[block] + GAMMA * np.eye(len(block[0])))
    S_all, D = np.linalg.inv(NBETA * H + GAMMA * np.eye(3)), H_i - H[None]
    covariance = np.array([-np.trace(H[block] @ S @ d[block] @ S) / 2 for d in D])
    shift = np.array([np.trace(d @ S_all) / 2 - np.trace(d[block] @ S) / 2 for d in D])
    return covariance, covariance + np.trace(H[block] @ S) / 2 * shift


def test_the_derivatives_of_the_definition_are_the_covariances_of_quadratic_forms():
    for name in MASKS:
        covariance, with_free_mean = closed_form(name)
        np.testing.assert_allclose(restricted(name), covariance, rtol=1e-5, atol=1e-9)
        np.testing.assert_allclose(paper(name), with_free_mean, rtol=1e-5, atol=1e-9)
    assert np.abs(paper("v") - restricted("v")).max() > 0.3 * np.abs(restricted("v")).max()  # they can be told apart


def assert_calibrated(value, stderr, exact, relative):
    """Unbiased entry by entry, standard errors right on average, and small: below `relative` of the largest entry."""
    value, claimed = np.asarray(value, float), np.sqrt(np.mean(np.square(stderr), axis=0))
    spread = value.std(axis=0, ddof=1)
    assert np.all(np.abs(value.mean(axis=0) - exact) < 4 * spread / np.sqrt(len(value)))
    assert np.all(spread < relative * np.abs(exact).max())
    assert 0.85 < np.mean(claimed / spread) < 1.15


def test_susceptibilities_are_the_derivatives_of_their_definition():
    for name, result in replicas().items():
        assert_calibrated(result.value, result.stderr, paper(name), 0.3)


def test_restricted_ones_are_the_derivatives_under_the_restricted_posterior():
    for name, result in replicas().items():
        assert_calibrated(result.restricted, result.restricted_stderr, restricted(name), 0.3)


def test_over_the_examples_of_the_data_they_sum_to_nothing():
    for result in replicas().values():
        np.testing.assert_allclose(np.sum(result.value, axis=1), 0, atol=1e-5)
