"""Closed forms against tables, symmetries and each other; finite-nbeta values against integrals done another way."""

from itertools import combinations_with_replacement, permutations, product

import numpy as np
import pytest
from scipy import special

from slt.theory import (
    deep_linear,
    normal_crossing,
    normal_crossing_finite,
    reduced_rank,
    reduced_rank_finite,
    regular,
    regular_finite,
)


@pytest.mark.parametrize(
    ("k", "h", "expected"),
    [
        ((1,), None, (1 / 2, 1)),
        ((1, 1), None, (1 / 2, 2)),
        ((1, 2), None, (1 / 4, 1)),
        ((2, 2), None, (1 / 4, 2)),
        ((1, 3, 3), None, (1 / 6, 2)),
        ((0, 2), None, (1 / 4, 1)),
        ((1, 2), (0.0, 1.0), (1 / 2, 2)),
        ((2, 3), (1.0, 0.0), (1 / 6, 1)),
    ],
)
def test_normal_crossing_is_the_least_ratio_and_how_often_it_occurs(k, h, expected):
    assert normal_crossing(k, h) == pytest.approx(expected)


DEEPER = {
    (1, 1, 1, 1, 0): (1 / 2, 3),
    (2, 2, 2, 2, 0): (3 / 2, 3),
    (4, 4, 4, 4, 2): (15 / 2, 3),
    (5, 4, 3, 6, 1): (8, 2),
    (10, 20, 20, 10, 10): (50, 1),
    (10, 50, 50, 50, 10, 5): (50, 1),
    (185, 259, 286, 885, 235, 204, 274, 252, 100): (20889, 3),
}


@pytest.mark.parametrize(("sizes", "expected"), DEEPER.items())
def test_deep_linear_has_the_worked_values(sizes, expected):
    *widths, rank = sizes
    assert deep_linear(widths, rank) == expected


def test_reduced_rank_is_the_formula_of_its_middle_case():
    for M, H, N in product(range(1, 7), repeat=3):
        for r in range(min(M, H, N) + 1):
            if max(N + r - M - H, M + r - N - H, H + r - M - N) <= 0:
                odd = (M + H + N + r) % 2
                value = -((H + r) ** 2) - M**2 - N**2 + 2 * (H + r) * (M + N) + 2 * M * N + odd
                assert reduced_rank(M, H, N, r) == (value / 8, 1 + odd), (M, H, N, r)


def test_the_order_of_the_layers_matters_only_through_the_ends():
    for widths in combinations_with_replacement(range(1, 5), 4):
        core = {deep_linear(order, 0) for order in permutations(widths)}
        reverse = {deep_linear(order, 1) == deep_linear(order[::-1], 1) for order in permutations(widths)}
        assert len(core) == 1
        assert reverse == {True}


@pytest.mark.parametrize("k", [(1,), (1, 1), (2, 1), (1, 3)])
@pytest.mark.parametrize("gamma", [None, 0.5, 20.0])
def test_normal_crossing_at_finite_nbeta_is_the_ratio_of_two_integrals(k, gamma):
    nodes, weights = np.polynomial.legendre.leggauss(600)
    edge = 1.0 if gamma is None else 8 / np.sqrt(gamma)
    w, weights = (
        edge * (nodes + 1) / 2,
        weights * (1.0 if gamma is None else np.exp(-gamma / 2 * (edge * (nodes + 1) / 2) ** 2)),
    )
    axes = np.meshgrid(*[w] * len(k), indexing="ij")
    energy = 70.0 * np.prod([axis ** (2 * k_i) for axis, k_i in zip(axes, k, strict=True)], axis=0)
    density = np.exp(-energy) * np.prod(np.meshgrid(*[weights] * len(k), indexing="ij"), axis=0)
    expected = np.sum(energy * density) / np.sum(density)
    assert normal_crossing_finite(k, nbeta=70.0, gamma=gamma) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("k", [(1, 2), (1, 3), (2, 1, 1)])
def test_a_simple_pole_is_reached_as_nbeta_grows(k):
    assert normal_crossing_finite(k, nbeta=1e20) == pytest.approx(normal_crossing(k)[0], abs=1e-4)


@pytest.mark.parametrize("k", [(1, 1), (2, 2), (3, 3)])
def test_a_double_pole_is_approached_by_one_over_log_nbeta(k):
    pole, multiplicity = normal_crossing(k)
    expected = pole - 1 / (np.log(1e8) - special.digamma(pole))
    assert multiplicity == 2
    assert normal_crossing_finite(k, nbeta=1e8) == pytest.approx(expected, abs=1e-6)


RRR = {
    (2, 2, 2): (1.3563, 1.4418, 1.4769, 1.4966),
    (3, 1, 5): (1.4728, 1.4957, 1.4994, 1.5000),
    (5, 3, 5): (5.984, 6.220, 6.323, 6.402),
    (4, 3, 8): (5.912, 5.985, 5.998, 6.000),
}


@pytest.mark.parametrize(("shape", "row"), RRR.items())
def test_reduced_rank_at_finite_nbeta_has_the_tabulated_values(shape, row):
    values = [reduced_rank_finite(*shape, nbeta=nbeta, gamma=1.0) for nbeta in (1e2, 1e3, 1e4, 1e6)]
    np.testing.assert_allclose(values, row, atol=6e-5 if sum(shape) < 10 else 6e-4)


@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_reduced_rank_of_width_one_is_a_product_of_two_gaussians(gamma):
    """|BA|^2/2 of scalars is a^2 b^2/2: half the nbeta of the normal crossing (1, 1)."""
    expected = normal_crossing_finite((1, 1), nbeta=50.0, gamma=gamma)
    assert reduced_rank_finite(1, 1, 1, nbeta=100.0, gamma=gamma) == pytest.approx(expected, rel=3e-5)


@pytest.mark.parametrize(("M", "H", "N"), [(1, 2, 1), (2, 2, 2), (3, 2, 1), (2, 4, 3), (3, 3, 2)])
def test_reduced_rank_at_finite_nbeta_is_the_prior_mean_of_the_weighted_energy(M, H, N):
    rng, draws, gamma, nbeta = np.random.default_rng(0), 200_000, 2.0, 3.0
    A, B = (rng.normal(scale=gamma**-0.5, size=(draws, *shape)) for shape in ((H, M), (N, H)))
    energy = nbeta * np.sum((B @ A) ** 2, axis=(1, 2)) / 2
    weight = np.exp(-energy) / np.mean(np.exp(-energy))
    value = np.mean(weight * energy)
    stderr = np.std(weight * (energy - value)) / np.sqrt(draws)
    assert stderr < 0.006 * value
    assert abs(value - reduced_rank_finite(M, H, N, nbeta=nbeta, gamma=gamma)) < 4 * stderr


def test_regular_is_reached_from_below_and_diverges_with_the_step_size():
    assert regular_finite(np.array([1.0, 1.0]), nbeta=30.0, gamma=10.0) == pytest.approx(0.75)
    assert regular_finite(np.array([0.01, 5.0]), nbeta=1e9, gamma=1.0) == pytest.approx(regular(2)[0], abs=1e-6)
    assert regular_finite(np.array([1.0]), nbeta=1000.0, gamma=0.0, step_size=4e-3) == float("inf")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: normal_crossing((0, 0)), r"at least one exponent must be positive"),
        (lambda: reduced_rank(3, 2, 4, 3), r"rank=3: .* a rank of 0\.\.2"),
        (lambda: deep_linear((3, 2, 4), 3), r"rank=3.*a rank of 0\.\.2"),
        (lambda: deep_linear((3,), 0), r"write two widths or more"),
        (lambda: reduced_rank_finite(5, 4, 5, nbeta=10.0, gamma=1.0), r"up to three singular values"),
    ],
)
def test_impossible_shapes_are_refused_with_the_possible_ones(call, message):
    with pytest.raises(ValueError, match=message):
        call()
