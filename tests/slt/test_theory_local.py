"""The coefficient of a deep linear network at a point: brute force, worked values, closed forms, and Jacobians."""

import functools
import itertools
from itertools import pairwise

import numpy as np
import pytest
from scipy import special

from slt.strata import codimension, deep_linear_local, generic_ranks, rank_array
from slt.theory import deep_linear, quadratic_network, tanh_finite, tanh_network


def arrays(widths):
    """Every rank array with these widths: loops over ranks, where each interval occurs 0 times or more."""
    n = len(widths)
    places = [(i, i + apart) for apart in range(1, n) for i in range(n - apart)]

    def fill(ranks, left):
        if not left:
            padded = np.zeros((n + 1, n + 1), int)
            padded[1:, :-1] = ranks
            counts = padded[1:, :-1] - padded[:-1, :-1] - padded[1:, 1:] + padded[:-1, 1:]
            if (np.triu(counts) >= 0).all():
                yield ranks.copy()
            return
        i, j = left[0]
        for rank in range(min(ranks[i, j - 1], ranks[i + 1, j]) + 1):
            ranks[i, j] = rank
            yield from fill(ranks, left[1:])
        ranks[i, j] = 0

    return np.array(list(fill(np.diag(widths), places)))


def brute_force(ranks, every):
    """Half the least codimension over all arrays >= ranks with the same product."""
    near = every[(every >= ranks[None]).all((1, 2)) & (every[:, 0, -1] == ranks[0, -1])]
    r = ranks[0, -1]
    return (r * (ranks[0, 0] + ranks[-1, -1] - r) + min(map(codimension, near))) / 2


@pytest.mark.parametrize(
    "widths", [(2, 3), (3, 2, 3), (2, 2, 2, 2), (3, 2, 2, 3), (2, 3, 1, 2), (1, 2, 2, 1, 2), (2, 1, 2, 1, 2)]
)
def test_the_local_coefficient_is_the_least_codimension_found_by_brute_force(widths):
    every = arrays(widths)
    assert [deep_linear_local(ranks) for ranks in every] == [brute_force(ranks, every) for ranks in every]


I, P, Q, O = np.eye(2), np.diag([1.0, 0.0]), np.diag([0.0, 1.0]), np.zeros((2, 2))


def test_a_network_of_the_published_classes_has_the_worked_value():
    """16-5-19-21-29 whose product is zero because its last layer is: a random truth is no minimiser of lambda."""
    widths = (16, 5, 19, 21, 29)
    assert deep_linear(widths, 0)[0] == 39.5
    assert deep_linear_local(generic_ranks(widths, (3, 5, 19, 0))) == 56.5


def test_at_the_most_degenerate_point_it_is_the_global_coefficient_and_nowhere_below_it():
    rng = np.random.default_rng(0)
    for most, layers in ((8, 3), (50, 5), (100, 10)):
        for _ in range(8):
            widths = rng.integers(2, most + 1, rng.integers(1, layers + 1) + 1).tolist()
            rank = int(rng.integers(0, min(widths) + 1))
            least = np.triu(np.full((len(widths), len(widths)), rank))
            np.fill_diagonal(least, widths)
            expected = deep_linear(widths, rank)[0]
            assert deep_linear_local(least) == expected
            ranks = generic_ranks(widths, [int(rng.integers(rank, min(pair) + 1)) for pair in pairwise(widths)])
            assert deep_linear_local(ranks) >= deep_linear(widths, int(ranks[0, -1]))[0]


def network(ranks, rng):
    """Layers with this rank array: basis vectors that live on intervals of layers, in random bases."""
    padded = np.zeros(np.add(ranks.shape, 1), int)
    padded[1:, :-1] = ranks
    counts = np.triu(padded[1:, :-1] - padded[:-1, :-1] - padded[1:, 1:] + padded[:-1, 1:])
    lives = [(i, j) for i, j in np.ndindex(counts.shape) for _ in range(counts[i, j])]
    alive = [[v for v, (i, j) in enumerate(lives) if i <= t <= j] for t in range(len(ranks))]
    bases = [np.linalg.qr(rng.normal(size=(len(at), len(at))))[0] for at in alive]
    layers = [np.equal.outer(to, at).astype(float) for at, to in pairwise(alive)]
    return [after @ W @ before.T for W, before, after in zip(layers, bases, bases[1:], strict=False)]


def jacobian_rank(weights):
    """Rank of the derivative of W_L ... W_1 with respect to all layers."""
    multiply = lambda layers, size: functools.reduce(lambda product, W: W @ product, layers, np.eye(size))
    blocks = [
        np.kron(multiply(weights[l + 1 :], len(W)), multiply(weights[:l], weights[0].shape[1]).T)
        for l, W in enumerate(weights)
    ]
    return int(np.linalg.matrix_rank(np.concatenate(blocks, axis=1), tol=1e-9))


@pytest.mark.parametrize("widths", [(3, 2, 3), (2, 3, 2, 2), (3, 2, 2, 3), (2, 2, 1, 2, 2)])
def test_no_point_is_below_half_the_rank_of_its_jacobian_and_the_smooth_ones_are_at_it(widths):
    rng = np.random.default_rng(0)
    smooth = 0
    for ranks in arrays(widths):
        weights, r = network(ranks, rng), ranks[0, -1]
        np.testing.assert_array_equal(rank_array(weights), ranks)
        here = (r * (widths[0] + widths[-1] - r) + codimension(ranks)) / 2
        value = deep_linear_local(ranks)
        assert jacobian_rank(weights) / 2 <= value <= here
        if value == here:
            smooth += 1
            assert jacobian_rank(weights) / 2 == value
    assert smooth >= 3


def test_generic_ranks_are_those_of_random_layers():
    rng = np.random.default_rng(0)
    for _ in range(10):
        widths = rng.integers(1, 9, 5).tolist()
        layers = [int(rng.integers(0, min(pair) + 1)) for pair in pairwise(widths)]
        weights = [
            rng.normal(size=(to, k)) @ rng.normal(size=(k, at))
            for at, to, k in zip(widths, widths[1:], layers, strict=False)
        ]
        np.testing.assert_array_equal(rank_array(weights), generic_ranks(widths, layers))


def tanh_slope(hidden, nbeta, *, nodes, span):
    """-d log Z/d log nbeta for K = sum_n (sum_h b_h a_h^{2n-1})^2, n = 1..H, with b Gaussian and 1 >= a_1 >= ... >= 0.

    The odd powers generate the ideal of sum_h b_h tanh(a_h x) = 0. Without b it is det(1 + nbeta G G^T)^{-1/2},
    the sum over the minors of G by Cauchy and Binet; quadrature in log a_1 and in the logits of the ratios a_{h+1}/a_h,
    which resolve both ends.
    """
    x, weights = np.polynomial.legendre.leggauss(nodes)
    y, *z = np.meshgrid(span * (x - 1) / 2, *[span * x] * (hidden - 1), indexing="ij")
    ratio, gap = [special.expit(t) for t in z], [special.expit(-t) for t in z]
    a = list(itertools.accumulate([np.exp(y), *ratio], np.multiply))
    measure = functools.reduce(np.multiply.outer, [weights] * hidden) * a[0]
    measure = measure * np.prod([at * r * g for at, r, g in zip(a, ratio, gap, strict=False)], axis=0)
    less = {(0, 1): gap[0]} | ({(1, 2): gap[1], (0, 2): gap[0] + ratio[0] * gap[1]} if hidden == 3 else {})
    square = {(i, j): a[i] ** 2 * gone * (1 + a[j] / a[i]) for (i, j), gone in less.items()}  # a_i^2 - a_j^2
    one = sum(at ** (4 * n + 2) for at in a for n in range(hidden))
    more = (lambda s, t: (s**2 + t**2) ** 2 + (s * t) ** 4) if hidden == 3 else lambda s, t: 0
    two = sum((a[i] * a[j] * gone) ** 2 * (1 + more(a[i], a[j])) for (i, j), gone in square.items())
    three = np.prod(a, axis=0) ** 2 * np.prod(list(square.values()), axis=0) ** 2 if hidden == 3 else 0
    z = [np.sum(measure * (1 + at * one + at**2 * two + at**3 * three) ** -0.5) for at in (nbeta, 10 * nbeta)]
    return np.log10(z[0] / z[1])


@pytest.mark.parametrize(("hidden", "nbeta", "nodes", "span"), [(2, 1e15, 150, 16), (3, 1e30, 70, 25)])
def test_tanh_networks_have_the_slope_of_their_integral(hidden, nbeta, nodes, span):
    expected = tanh_network(hidden)[0]
    assert tanh_slope(hidden, nbeta, nodes=nodes, span=span) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("nbeta", [10.0, 1e3])
def test_the_exact_value_of_a_tanh_unit_is_the_integral_over_both_parameters(nbeta):
    a = b = np.linspace(-9, 9, 4001)
    inputs = np.linspace(-2, 2, 20)
    g = np.mean(np.tanh(a[:, None] * inputs[None]) ** 2, axis=1)
    K = g[:, None] * b[None] ** 2 / 2
    weight = np.exp(-nbeta * K - (a[:, None] ** 2 + b[None] ** 2) / 4)
    direct = nbeta * np.sum(weight * K) / np.sum(weight)
    np.testing.assert_allclose(tanh_finite(1, inputs, nbeta=nbeta, gamma=0.5), direct, rtol=1e-4)


@pytest.mark.parametrize(("d", "K", "p"), [(2, 1, 1), (3, 2, 2), (3, 2, 4), (3, 7, 2), (4, 3, 3), (2, 9, 2)])
def test_quadratic_networks_have_half_the_rank_of_their_jacobian(d, K, p):
    rng = np.random.default_rng(0)
    W, V, x = rng.normal(size=(d, K)), rng.normal(size=(p, K)), rng.normal(size=(100, d))
    hidden = x @ W
    by_V = np.einsum("nk,oq->noqk", hidden**2, np.eye(p)).reshape(100 * p, -1)
    by_W = np.einsum("nd,nk,ok->nodk", x, 2 * hidden, V).reshape(100 * p, -1)
    rank = np.linalg.matrix_rank(np.concatenate([by_V, by_W], axis=1), tol=1e-8)
    assert quadratic_network(d, K, p) == (rank / 2, 1)
