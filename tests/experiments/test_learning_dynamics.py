"""The exact facts behind the `learning_dynamics` experiment: the levels of its loss, and the geometry at them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toymodels as tm
from experiments.learning_dynamics.cases import digon_gain
from experiments.learning_dynamics.geometry import counted, figure_name

P = 0.1
POPULATION = tm.correlated_nodes(2, 3, P, 256)
TWO_LINES = np.repeat(np.eye(3), [3, 3, 0], axis=1)[:, :6] / np.sqrt(3)
PAIRS = np.concatenate([np.eye(3), -np.eye(3)], axis=1)


def turned(W, angle):
    """The second set's features turned against the first's."""
    c, s = np.cos(angle), np.sin(angle)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return np.concatenate([W[:, :3], rotation @ W[:, 3:]], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "W", "b"),
    [
        ("nothing", np.zeros((3, 6)), P / 2),
        ("two lines", TWO_LINES, 0.0),
        ("octahedron", PAIRS, 0.0),
    ],
)
def test_the_levels_of_the_loss_are_those_of_the_figures(name, W, b):
    params = {"W": jnp.asarray(W, jnp.float32), "b": jnp.full(6, b)}
    assert figure_name(np.asarray(W)) == name
    assert float(jnp.mean(tm.correlated_loss(params, POPULATION))) == pytest.approx(
        tm.correlated_levels(P)[name], rel=0.01
    )


@pytest.mark.parametrize(("W", "D"), [(TWO_LINES, 1 / 3), (PAIRS, 1 / 2)])
def test_dimensionality_of_the_figures_is_rank_over_features(W, D):
    np.testing.assert_allclose(tm.dimensionality(jnp.asarray(W)), D, rtol=1e-6)
    np.testing.assert_allclose(np.sum(counted(jnp.asarray(W))), np.linalg.matrix_rank(W), rtol=1e-6)


def test_two_orthonormal_frames_have_dimensionality_one_half_however_they_are_turned():
    W = turned(PAIRS, 0.7)
    np.testing.assert_allclose(tm.dimensionality(jnp.asarray(W)), 1 / 2, rtol=1e-5)
    np.testing.assert_allclose(tm.leverage(jnp.asarray(W)), 1 / 2, rtol=1e-5)
    assert figure_name(W) == "6/3"
    loss = lambda W: float(jnp.mean(tm.correlated_loss({"W": jnp.asarray(W), "b": jnp.zeros(6)}, POPULATION)))
    assert 0 < loss(W) - loss(PAIRS) < 0.5 * P**2


def test_weights_too_small_to_count_have_no_dimensionality_and_lost_ones_are_not_hidden():
    assert not np.any(counted(jnp.asarray(1e-2 * PAIRS)))
    assert np.isnan(counted(jnp.asarray(PAIRS).at[0, 0].set(jnp.nan))).any()
    assert figure_name(np.full((3, 6), np.nan)) == "nan"


def test_merged_pairs_is_a_saddle_between_two_lines_and_the_octahedron():
    params, loss = tm.merged_pairs(P)
    flat = jnp.concatenate([params["W"].ravel(), params["b"]])
    mean = lambda v: jnp.mean(tm.correlated_loss({"W": v[:18].reshape(3, 6), "b": v[18:]}, POPULATION))
    slope, curvature = jax.jit(lambda v: (jax.grad(mean)(v), jnp.linalg.eigvalsh(jax.hessian(mean)(v))))(flat)
    assert tm.correlated_levels(P)["octahedron"] < loss < tm.correlated_levels(P)["two lines"]
    assert np.linalg.norm(slope) < 1e-3
    assert curvature[0] < -1e-3  # the steepest descent: the merged features part
    np.testing.assert_allclose(params["W"][:, [1, 4]], params["W"][:, [2, 5]])


def test_what_a_digon_spares():
    p = 0.3
    x, weight = tm.quadrature(2, p, 24)
    loss = lambda w, b: float(weight @ jnp.sum((x - jax.nn.relu(x @ jnp.outer(w, w) + b[None])) ** 2, axis=1))
    pair = loss(jnp.array([1.0, -1.0]), jnp.zeros(2))
    alone = loss(jnp.array([1.0, 0.0]), jnp.array([0, p / 2]))
    assert digon_gain(p) == pytest.approx(alone - pair, rel=5e-3)
