"""The geometry of superposition: exact values of regular figures, bounds, invariances, and the names of polygons."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from toymodels.analysis.features import (
    blocks,
    canonical,
    dimensionality,
    geometry,
    interference,
    kgon,
    leverage,
    polytope,
    transitions,
)
from toymodels.tasks.superposition import polygon


def ngon(n: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)])


def direct_sum(*figures: np.ndarray) -> np.ndarray:
    """The tegum product: figures in orthogonal subspaces."""
    return scipy.linalg.block_diag(*figures)


DIGON, TRIANGLE, SQUARE, PENTAGON = np.array([[1.0, -1.0]]), ngon(3), ngon(4), ngon(5)
TETRAHEDRON = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]) / np.sqrt(3)
EIGHTH = np.array([[np.cos(np.pi / 4), -np.sin(np.pi / 4)], [np.sin(np.pi / 4), np.cos(np.pi / 4)]])
ANTIPRISM = np.concatenate(  # the height that makes the frame tight
    [np.sqrt(2 / 3) * np.concatenate([SQUARE, EIGHTH @ SQUARE], axis=1), [np.repeat([1, -1], 4) / np.sqrt(3)]]
)
FIGURES = {
    "digon": (DIGON, [1 / 2] * 2),
    "triangle": (TRIANGLE, [2 / 3] * 3),
    "tetrahedron": (TETRAHEDRON, [3 / 4] * 4),
    "pentagon": (PENTAGON, [2 / 5] * 5),
    "square antiprism": (ANTIPRISM, [3 / 8] * 8),
    "octahedron": (direct_sum(DIGON, DIGON, DIGON), [1 / 2] * 6),
    "triangular bipyramid": (direct_sum(TRIANGLE, DIGON), [2 / 3] * 3 + [1 / 2] * 2),
    "pentagonal bipyramid": (direct_sum(PENTAGON, DIGON), [2 / 5] * 5 + [1 / 2] * 2),
}


def random(hidden: int, features: int) -> jax.Array:
    return jnp.float32(np.random.default_rng(hidden).normal(size=(hidden, features)))


@pytest.mark.parametrize("name", FIGURES)
def test_the_dimensionality_of_a_regular_figure_is_exact(name):
    W, expected = FIGURES[name]
    chex.assert_trees_all_close(dimensionality(jnp.float32(1.3 * W)), np.float32(expected), atol=1e-6)


def test_dimensionalities_fill_at_most_the_rank():
    full = np.random.default_rng(0).normal(size=(200, 3, 7)).astype(np.float32)
    low = full[:, :, :2] @ full[:, :2, :]
    for W, rank in ((full, 3), (low, 2)):
        assert np.linalg.matrix_rank(W[0]) == rank
        total = jnp.sum(jax.vmap(dimensionality)(W), axis=1)
        assert np.all(total <= rank + 1e-4)
        assert np.max(total) > 0.8 * rank


def test_geometry_does_not_depend_on_orientation():
    W, b = random(3, 6), jnp.zeros(6)
    turn = jnp.linalg.qr(random(3, 3))[0]
    chex.assert_trees_all_close(geometry(turn @ W, b), geometry(W, b), rtol=1e-4)


def test_a_dead_feature_has_no_dimension_and_no_interference():
    W = random(3, 6).at[:, 2].set(0)
    rest = jnp.delete(W, 2, axis=1)
    for quantity in (dimensionality, interference):
        assert quantity(W)[2] == 0
        chex.assert_trees_all_close(np.delete(quantity(W), 2), quantity(rest), rtol=1e-5)


def test_interference_is_what_is_read_of_the_others():
    W = np.asarray(random(3, 6))
    unit = W / np.linalg.norm(W, axis=0)
    by_hand = [sum((unit[:, i] @ W[:, j]) ** 2 for j in range(6) if j != i) for i in range(6)]
    chex.assert_trees_all_close(interference(jnp.asarray(W)), jnp.array(by_hand), rtol=1e-4)
    norm2 = jnp.sum(W**2, axis=0)
    expected = norm2 / (norm2 + jnp.array(by_hand))
    chex.assert_trees_all_close(dimensionality(jnp.asarray(W)), expected, rtol=1e-4)


@pytest.mark.parametrize(("k", "positive"), [(k, p) for k in range(2, 7) for p in range(7 - k)])
def test_a_polygon_is_named_by_vertices_positive_dead_and_silent_ones(k, positive):
    W, b = map(np.asarray, polygon(k, 6, positive))
    assert kgon(W, b) == f"{k}" + "+" * positive
    for silent in range(1, k + 1):
        switched_off = np.where(np.arange(6) < silent, -np.sum(W**2, axis=0) - np.float32(1e-3), b)
        assert kgon(W, switched_off) == f"{k}" + "+" * positive + "-" * silent


def test_a_polygon_of_broken_weights_is_nan():
    W, b = map(np.array, polygon(5, 6))
    assert kgon(np.where(np.arange(6) == 5, np.float32(np.nan), W), b) == "nan"
    assert kgon(W, np.where(np.arange(6) == 5, np.float32(np.inf), b)) == "nan"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("", []),
        ("4444", []),
        ("44445555", [4]),
        ("4444555666", [4, 7]),
        ("4444544455", []),  # a visit of one is part of the phase, and so is a last stretch of two
        ("44445455566", [6]),  # the new phase begins where it lasts
        ("5444555", [4]),  # a first stretch that is short has no phase before it
        ("444777444", [3, 6]),
        ("4545", []),
    ],
)
def test_a_transition_is_a_new_name_that_lasts(names, expected):
    assert transitions(list(names)) == expected


@pytest.mark.parametrize("name", FIGURES)
def test_leverage_is_the_dimensionality_of_tight_frames(name):
    W, expected = FIGURES[name]
    chex.assert_trees_all_close(leverage(jnp.float32(1.3 * W)), np.float32(expected), atol=1e-6)


def test_leverage_bounds_the_dimensionality_and_sums_to_the_rank():
    full = np.random.default_rng(0).normal(size=(200, 3, 7)).astype(np.float32)
    full[:50, 2] = full[:50, 0] + full[:50, 1]
    t, D = jax.vmap(leverage)(full), jax.vmap(dimensionality)(full)
    np.testing.assert_allclose(t.sum(1), np.where(np.arange(200) < 50, 2, 3), rtol=1e-4)
    assert np.all(t + 1e-5 >= D)
    assert np.max(t - D) > 0.1


def test_the_canonical_rotation_undoes_every_rotation_and_keeps_the_products():
    W = random(3, 5)
    O = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0].astype(np.float32)
    chex.assert_trees_all_close(canonical(O @ W), canonical(W), atol=1e-5)
    chex.assert_trees_all_close(canonical(W).T @ canonical(W), W.T @ W, atol=1e-5)
    assert np.all(np.diagonal(canonical(W)) >= 0)
    assert np.max(np.abs(np.tril(canonical(W), -1))) < 1e-6


def test_the_blocks_of_a_shuffled_tegum_product_are_found_and_named():
    rng = np.random.default_rng(0)
    figures = {"pentagon": PENTAGON, "tetrahedron": TETRAHEDRON, "digon": DIGON, "dedicated": np.ones((1, 1))}
    W = np.concatenate([direct_sum(*figures.values()), 0.1 * rng.normal(size=(7, 2))], axis=1)  # two dead features
    W = np.linalg.qr(rng.normal(size=(7, 7)))[0] @ W
    order = rng.permutation(W.shape[1])
    found = blocks(W[:, order])
    assert [polytope(W[:, order][:, block]) for block in found] == list(figures)
    assert {int(order[i]) for block in found for i in block} == set(range(12))


@pytest.mark.parametrize(
    ("figure", "name"), [(TRIANGLE, "triangle"), (ngon(6), "hexagon"), (ANTIPRISM, "square antiprism")]
)
def test_a_figure_has_its_name_and_a_stretched_one_its_numbers(figure, name):
    assert polytope(1.2 * figure) == name
    assert polytope(np.diag([1.3] + [1] * (len(figure) - 1)) @ figure) == f"{figure.shape[1]}/{len(figure)}"
