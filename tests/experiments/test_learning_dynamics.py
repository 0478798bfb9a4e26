"""The exact facts behind the `learning_dynamics` experiment, and its detectors on planted curves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import toymodels as tm
from experiments.learning_dynamics.cases import (
    correlated_sets,
    digon_gain,
    figures,
    merged_pairs,
    patterns,
    weighted_loss,
)
from experiments.learning_dynamics.changes import falls
from experiments.learning_dynamics.jumps import jumps, levels, sequence
from experiments.learning_dynamics.readings import counted, figure_name

P = 0.1
POPULATION = patterns(2, 3, P, 256)
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
    assert float(jnp.mean(weighted_loss(params, POPULATION))) == pytest.approx(figures(P)[name], rel=0.01)


@pytest.mark.parametrize(("W", "D"), [(TWO_LINES, 1 / 3), (PAIRS, 1 / 2)])
def test_dimensionality_of_the_figures_is_rank_over_features(W, D):
    np.testing.assert_allclose(tm.dimensionality(jnp.asarray(W)), D, rtol=1e-6)
    np.testing.assert_allclose(np.sum(counted(jnp.asarray(W))), np.linalg.matrix_rank(W), rtol=1e-6)


def test_two_orthonormal_frames_have_dimensionality_one_half_however_they_are_turned():
    W = turned(PAIRS, 0.7)
    np.testing.assert_allclose(tm.dimensionality(jnp.asarray(W)), 1 / 2, rtol=1e-5)
    np.testing.assert_allclose(tm.leverage(jnp.asarray(W)), 1 / 2, rtol=1e-5)
    assert figure_name(W) == "6/3"
    loss = lambda W: float(jnp.mean(weighted_loss({"W": jnp.asarray(W), "b": jnp.zeros(6)}, POPULATION)))
    assert 0 < loss(W) - loss(PAIRS) < 0.5 * P**2


def test_weights_too_small_to_count_have_no_dimensionality_and_lost_ones_are_not_hidden():
    assert not np.any(counted(jnp.asarray(1e-2 * PAIRS)))
    assert np.isnan(counted(jnp.asarray(PAIRS).at[0, 0].set(jnp.nan))).any()
    assert figure_name(np.full((3, 6), np.nan)) == "nan"


def test_merged_pairs_is_a_saddle_between_two_lines_and_the_octahedron():
    params, loss = merged_pairs(P)
    flat = jnp.concatenate([params["W"].ravel(), params["b"]])
    mean = lambda v: jnp.mean(weighted_loss({"W": v[:18].reshape(3, 6), "b": v[18:]}, POPULATION))
    slope, curvature = jax.jit(lambda v: (jax.grad(mean)(v), jnp.linalg.eigvalsh(jax.hessian(mean)(v))))(flat)
    assert figures(P)["octahedron"] < loss < figures(P)["two lines"]
    assert np.linalg.norm(slope) < 1e-3
    assert curvature[0] < -1e-3  # the steepest descent: the merged features part
    np.testing.assert_allclose(params["W"][:, [1, 4]], params["W"][:, [2, 5]])


def test_patterns_have_the_moments_of_correlated_sets():
    x, weight = np.asarray(POPULATION.x), np.asarray(POPULATION.y)
    np.testing.assert_allclose(weight.mean(), 1, rtol=1e-5)
    second = np.einsum("n,ni,nj->ij", weight, x, x) / len(x)
    same = np.kron(np.eye(2, dtype=bool), np.ones((3, 3), bool))
    expected = np.where(same, P / 4, P**2 / 4)
    np.fill_diagonal(expected, P / 3)
    np.testing.assert_allclose(second, expected, rtol=0.02)


def test_samples_of_correlated_sets_are_active_as_sets_and_have_the_same_moments():
    x = np.asarray(correlated_sets(2, 3, P).sample(jax.random.key(0), 40_000).x)
    active = (x > 0).reshape(-1, 2, 3)
    assert np.all(active.all(axis=2) == active.any(axis=2))
    stderr = np.sqrt(P * (1 - P) / len(x))
    np.testing.assert_allclose(active[:, :, 0].mean(0), P, atol=4 * stderr)
    both = (x[:, 0] * x[:, 3]).mean()
    np.testing.assert_allclose(both, P**2 / 4, atol=4 * P / 3 / np.sqrt(len(x)))
    inside = (x[:, 0] * x[:, 1]).mean()
    np.testing.assert_allclose(inside, P / 4, atol=4 * np.sqrt(P / 9 / len(x)))


def test_what_a_digon_spares():
    p = 0.3
    x, weight = tm.quadrature(2, p, 24)
    loss = lambda w, b: float(weight @ jnp.sum((x - jax.nn.relu(x @ jnp.outer(w, w) + b[None])) ** 2, axis=1))
    pair = loss(jnp.array([1.0, -1.0]), jnp.zeros(2))
    alone = loss(jnp.array([1.0, 0.0]), jnp.array([0, p / 2]))
    assert digon_gain(p) == pytest.approx(alone - pair, rel=5e-3)


def planted(at=30, length=60, low=0.0, high=0.5, noise=0.004):
    curve = np.where(np.arange(length) < at, low, high) + noise * np.random.default_rng(0).standard_normal(length)
    curve[at - 1] = low + 0.3 * (high - low)
    return curve


def test_a_jump_is_found_where_it_is_with_its_interval_and_size():
    (found,) = jumps(planted(), width=0.03, hold=4, least=0.1)
    assert (found.low, found.index, found.high) == (28, 30, 30)
    assert found.size == pytest.approx(0.5, abs=0.01)


def test_noise_short_excursions_and_small_steps_are_no_jumps_and_a_long_drift_is_one():
    flat = planted(high=0.0)
    flat[40:42] = 0.4
    assert jumps(flat, width=0.03, hold=4, least=0.1) == []
    assert jumps(planted(high=0.08), width=0.03, hold=4, least=0.1) == []
    drift = np.linspace(0, 0.35, 60)
    assert [round(j.size, 2) for j in jumps(drift, width=0.03, hold=4, least=0.2)] == [pytest.approx(0.23, abs=0.05)]


def test_a_curve_that_is_lost_has_no_levels_after():
    curve = planted()
    curve[32:] = np.nan
    assert [(level.first, level.last) for level in levels(curve, width=0.03, hold=4)] == [(0, 28)]
    assert jumps(np.full(20, np.nan), width=0.03, hold=4, least=0.1) == []


def test_the_sequence_of_names_that_last():
    assert sequence([*"aab", *"cccc", "b", *"cc", *"dddd"], 3) == [(3, "c"), (10, "d")]
    assert sequence(list("abab"), 3) == []


def planted_falls(size):
    rng, runs, time = np.random.default_rng(1), 8, 100
    at = rng.integers(20, 80, runs)
    loss = np.exp(-size * (np.arange(time)[None] >= at[:, None]) + 0.01 * rng.standard_normal((runs, time)))
    low, high = np.full((2, runs, time), np.nan)
    low[np.arange(runs), at], high[np.arange(runs), at] = at - 1, at + 1
    return falls(*(xr.DataArray(values) for values in (loss, low, high)))


def test_falls_are_told_from_windows_at_random():
    found = planted_falls(0.2)
    assert found.count == 8
    assert found.mean == pytest.approx(0.2, abs=0.02)
    assert found.p_value < 0.01
    assert planted_falls(0.0).p_value > 0.05
