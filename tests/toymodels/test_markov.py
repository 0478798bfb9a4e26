"""In-context Markov chains: laws of what is drawn, and the predictors against enumeration and quadrature."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from toymodels.tasks import markov
from toymodels.tasks.losses import cross_entropy, kl

N = 20_000
LONG = 7


def fast(f):
    return jax.jit(f, compiler_options={"xla_backend_optimization_level": 0})


@pytest.fixture(scope="module")
def matrices():
    return np.asarray(markov.transition_matrices(jax.random.key(0), N, 3), np.float64)


@pytest.fixture(scope="module")
def tokens():
    """Sequences of one chain that starts far from uniform."""
    P = jnp.array([[0.9, 0.05, 0.05], [0.2, 0.5, 0.3], [0.1, 0.6, 0.3]])
    many = jnp.broadcast_to(P, (N, 3, 3))
    return np.asarray(P), np.asarray(fast(lambda P: markov.sequences(jax.random.key(1), P, 6))(many))


@pytest.fixture(scope="module")
def every():
    """All sequences of two symbols, with what both predictors say after each of their tokens."""
    x = np.array(list(itertools.product(range(2), repeat=LONG)))
    both = fast(jax.vmap(lambda x: (markov.unigram(x, 2), markov.bigram(x, 2))))(x)
    return x, *(np.asarray(p, np.float64) for p in both)


def exact_stationary(P):
    """The left eigenvector of the eigenvalue one, in double precision."""
    values, vectors = np.linalg.eig(np.asarray(P, np.float64).T)
    pi = np.real(vectors[:, np.argmax(np.real(values))])
    return pi / pi.sum()


def test_rows_are_uniform_on_the_simplex(matrices):
    np.testing.assert_allclose(matrices.sum(-1), 1, atol=1e-6)
    for i, j in itertools.product(range(3), repeat=2):
        assert scipy.stats.kstest(matrices[:, i, j], scipy.stats.beta(1, 2).cdf).pvalue > 1e-3
    rows = np.corrcoef(matrices[:, 0, 0], matrices[:, 1, 0])[0, 1]
    assert abs(rows) < 4 / np.sqrt(N)


def test_the_stationary_distribution_is_that_of_an_eigensolver_also_where_chains_hardly_mix(matrices):
    stationary = fast(jax.vmap(markov.stationary))
    for P in (matrices[:20], np.eye(3)[None] + 1e-5 * (matrices[:20] - np.eye(3)[None])):
        P = P.astype(np.float32)
        off = P * (1 - np.eye(3, dtype=np.float32))  # what leaves a state is what the distribution depends on
        P64 = off.astype(np.float64) + np.eye(3) * (1 - off.sum(-1, dtype=np.float64))[..., None]
        exact = np.array([exact_stationary(p) for p in P64])
        np.testing.assert_allclose(stationary(P), exact, rtol=1e-5)


def test_sequences_start_from_the_stationary_distribution_and_stay_there(tokens):
    P, x = tokens
    pi = exact_stationary(P)
    for t in range(x.shape[1]):
        share = np.bincount(x[:, t], minlength=3) / N
        assert (np.abs(share - pi) < 4 * np.sqrt(pi * (1 - pi) / N)).all(), t


def test_transitions_have_the_probabilities_of_the_matrix_and_no_memory(tokens):
    P, x = tokens
    for s, before in itertools.product(range(3), repeat=2):
        following = x[(x[:, 1] == s) & (x[:, 0] == before), 2]
        share = np.bincount(following, minlength=3) / len(following)
        assert (np.abs(share - P[s]) < 4 * np.sqrt(P[s] * (1 - P[s]) / len(following))).all()


def quadrature():
    """Nodes and weights of Gauss and Legendre on [0, 1]: exact for all polynomials here."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    return (nodes + 1) / 2, weights / 2


def test_the_unigram_predictor_is_the_integral_over_all_coins(every):
    x, unigram, _ = every
    theta, weight = quadrature()
    for row, p in zip(x, unigram, strict=True):
        for t in range(LONG):
            ones = row[: t + 1].sum()
            likelihood = weight * theta**ones * (1 - theta) ** (t + 1 - ones)
            assert p[t, 1] == pytest.approx((likelihood * theta).sum() / likelihood.sum(), rel=1e-5)


def likelihoods(x):
    """(sequence, nodes of P_01, nodes of P_11) the probability of x given its first token; and the weights."""
    theta, weight = quadrature()
    P = np.empty((2, 2, 16, 16))
    P[0, 1], P[1, 1] = np.broadcast_to(theta[:, None], (16, 16)), np.broadcast_to(theta[None], (16, 16))
    P[:, 0] = 1 - P[:, 1]
    made = np.ones((len(x), 16, 16))
    for a, b in zip(x.T[:-1], x.T[1:], strict=True):
        made = made * P[a, b]
    return P, made, weight[:, None] * weight[None]


def test_the_bigram_predictor_is_the_integral_over_all_chains_given_the_first_token(every):
    x, _, bigram = every
    for t in (0, 1, LONG - 1):
        P, likelihood, weight = likelihoods(x[:, : t + 1])
        exact = (weight * likelihood * P[x[:, t], 1]).sum((1, 2)) / (weight * likelihood).sum((1, 2))
        np.testing.assert_allclose(bigram[:, t, 1], exact, rtol=1e-5)


def test_the_entropy_rate_is_the_entropy_that_a_token_adds(matrices):
    for P in matrices[:3]:
        pi, h = exact_stationary(P), []
        for length in (3, 4):
            p = pi
            for _ in range(length - 1):  # of all sequences of one more token
                p = p[..., None] * P
            h.append(-(p * np.log(p)).sum())
        assert float(markov.entropy_rate(jnp.asarray(P, jnp.float32))) == pytest.approx(h[1] - h[0], rel=1e-5)


def test_who_knows_the_chain_has_the_entropy_rate_as_loss_and_kl_zero(tokens):
    P, x = tokens
    losses = fast(jax.vmap(cross_entropy))(np.log(P)[x[:, :-1]], x[:, 1:])
    rate = float(markov.entropy_rate(jnp.asarray(P)))
    assert float(np.mean(losses)) == pytest.approx(rate, abs=4 * float(np.std(losses)) / np.sqrt(N))
    assert float(np.std(losses)) / np.sqrt(N) < 0.005
    known = markov.predictors(jnp.asarray(x[0]), jnp.asarray(P))
    assert np.abs(kl(known["true"], jnp.log(known["true"]))).max() < 1e-6
    uniform = kl(known["uniform"], jnp.log(known["true"]))
    np.testing.assert_allclose(uniform, -np.log(3) - np.log(P[x[0]]).mean(-1), rtol=1e-5)


def test_targets_are_the_tokens_that_follow():
    batch = markov.markov_chains(3, 9).sample(jax.random.key(2), 5)
    assert batch.x.shape == batch.y.shape == (5, 9)
    np.testing.assert_array_equal(batch.x[:, 1:], batch.y[:, :-1])
    with pytest.raises(ValueError, match="write symbols=2 or more"):
        markov.markov_chains(1, 9)
