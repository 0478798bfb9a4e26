"""Fourier measures against brute force: explicit cosines summed over all questions, and networks that are one wave."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from toymodels.analysis import fourier

P, K = 11, 5
run = lambda f, *x: jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})(*x)
RNG = np.random.default_rng(0)
a, b, z = np.meshgrid(*[np.arange(P)] * 3, indexing="ij")
LOGITS = RNG.normal(size=(P, P, P))
KEYS = np.array([False, True, False, False, True])  # frequencies 2 and 5


def wave(k, shift=0.0):
    return np.cos(2 * np.pi * k * (a + b - z) / P + shift)


def brute_projection(logits, keys):
    """Least squares on the columns cos(w_k (a + b)) and sin(w_k (a + b)), one logit at a time."""
    u = (np.arange(P)[:, None] + np.arange(P)[None]).ravel()
    columns = np.stack([f(2 * np.pi * k * u / P) for k in keys for f in (np.cos, np.sin)], axis=1)
    flat = logits.reshape(P * P, -1)
    return (columns @ np.linalg.lstsq(columns, flat, rcond=None)[0]).reshape(logits.shape)


def close(one, other):
    np.testing.assert_allclose(one, other, atol=2e-5)


def test_the_basis_is_orthonormal_and_is_the_waves():
    F = fourier.basis(P)
    close(F @ F.T, np.eye(P))
    for k in range(1, K + 1):
        angle = 2 * np.pi * k * np.arange(P) / P
        close(F[2 * k - 1], np.cos(angle) / np.linalg.norm(np.cos(angle)))
        close(F[2 * k], np.sin(angle) / np.linalg.norm(np.sin(angle)))
    for even in (1, 10):
        with pytest.raises(ValueError, match="odd modulus"):
            fourier.basis(even)


def test_directions_are_waves_of_the_sum():
    along = fourier.directions(P)
    u = np.arange(P)[:, None] + np.arange(P)[None]
    for k in range(1, K + 1):
        for c, f in enumerate((np.cos, np.sin)):
            expected = f(2 * np.pi * k * u / P)
            close(along[k - 1, c], expected / np.linalg.norm(expected))


def test_projection_restricted_and_excluded_are_least_squares_on_explicit_waves():
    part = brute_projection(LOGITS, (2, 5))
    logits = jnp.asarray(LOGITS, jnp.float32)
    close(run(fourier.projection, logits, KEYS), part)
    close(run(fourier.excluded, logits, KEYS), LOGITS - part)
    close(run(fourier.restricted, logits, KEYS), part + (LOGITS - part).mean(axis=(0, 1)))


def test_shares_are_those_of_the_variance_over_all_questions():
    variance = np.sum((LOGITS - LOGITS.mean(axis=(0, 1))) ** 2)
    expected = [np.sum(brute_projection(LOGITS, (k,)) ** 2) / variance for k in range(1, K + 1)]
    close(run(fourier.shares, jnp.asarray(LOGITS + 7, jnp.float32)), expected)


def test_a_network_of_two_waves_has_their_frequencies_and_answers_by_them_alone():
    logits = jnp.asarray(3 * wave(2) + 2 * wave(5) + 0.05 * LOGITS, jnp.float32)
    np.testing.assert_array_equal(run(fourier.key_frequencies, logits), KEYS)
    assert bool(run(fourier.answered, run(fourier.restricted, logits, KEYS), (a + b)[..., 0] % P).all())
    assert float(jnp.mean(run(fourier.answered, run(fourier.excluded, logits, KEYS), (a + b)[..., 0] % P))) < 0.4
    assert not run(fourier.key_frequencies, jnp.asarray(LOGITS, jnp.float32)).any()  # noise: 2/120 of the variance each


def test_norms_are_those_of_sums_over_tokens():
    W = RNG.normal(size=(P, 3))
    x = np.arange(P)
    rows = [np.ones(P), *(f(2 * np.pi * k * x / P) for k in range(1, K + 1) for f in (np.cos, np.sin))]
    close(
        run(fourier.norms, jnp.asarray(W, jnp.float32)), [np.linalg.norm(row @ W) / np.linalg.norm(row) for row in rows]
    )


@pytest.mark.parametrize("x", [RNG.exponential(size=9), np.ones(5), np.eye(6)[2]])
def test_gini_is_the_mean_difference_of_all_pairs(x):
    n = len(x)
    pairs = sum(abs(i - j) for i in x for j in x)
    assert float(run(fourier.gini, jnp.asarray(x, jnp.float32))) == pytest.approx(pairs / (2 * n * x.sum()), abs=1e-6)
