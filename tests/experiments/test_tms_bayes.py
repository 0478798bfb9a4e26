"""The naming of phases, and what the prediction says of them."""

import functools

import jax
import numpy as np
import pytest

import toymodels as tm
from experiments.tms_bayes import polygons, prediction
from experiments.tms_bayes.prediction import A_PRIORI, FEATURES, LOSS, PHASES

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def test_each_planted_polygon_is_named_and_no_other():
    """Turned, mirrored, its features permuted, shaken a little and descended: the phase it was planted as."""
    names, rng, planted = list(PHASES), np.random.default_rng(0), []
    for k, plus in PHASES.values():
        W, b = tm.polygon(k, FEATURES, plus)
        order, angle = rng.permutation(FEATURES), rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]], np.float32)
        planted.append({"W": (turn @ np.asarray(W))[:, order], "b": np.asarray(b)[order]})
    planted.append(dict(zip(("W", "b"), map(np.asarray, tm.polygon(3, FEATURES)), strict=True)))
    planted.append(planted[-2] | {"b": planted[-2]["b"] + np.float32(0.1)})  # a hexagon off its level
    shaken = jax.tree.map(lambda *leaf: np.stack(leaf), *planted)
    shaken["W"] = shaken["W"] + 0.01 * rng.standard_normal(shaken["W"].shape).astype(np.float32)
    name = functools.partial(polygons.phase, phases=PHASES, levels=tm.levels(FEATURES))
    descended = quick(jax.vmap(lambda p: name(polygons.descend(p, 200))))(shaken)
    assert descended.tolist() == [*range(len(names)), len(names), names.index("6")]
    assert quick(jax.vmap(name))(shaken).tolist()[-1] == len(names) + 1


def test_the_prediction_crosses_where_chen_et_al_say():
    F, names = prediction.free_energy(), list(PHASES)
    five, six = names.index("5"), names.index("6")
    assert prediction.crossing(F.sel(predictor=A_PRIORI).values, five, six) == pytest.approx(601.0, abs=0.5)
    low, high = prediction.occupancy(F.sel(predictor=A_PRIORI).values, np.array([500.0, 700.0]))
    assert (low.argmax(), high.argmax()) == (five, six)
    by_loss = prediction.occupancy(F.sel(predictor=LOSS).values, np.array([10.0, 1000.0]))
    assert (by_loss.argmax(axis=1) == six).all()


def test_occupancy_and_crossing_of_two_phases_are_those_of_their_formula():
    F = np.array([[0.2, 1.0, 0.0], [0.1, 1.0, 5.0]])
    assert prediction.crossing(F, 0, 1) == pytest.approx(50, rel=1e-4)
    odds = np.exp(0.1 * 30 - 5)
    np.testing.assert_allclose(prediction.occupancy(F, np.array([30.0])), [[1 / (1 + odds), odds / (1 + odds)]])
    assert np.isnan(prediction.crossing(F, 1, 1))
    assert np.isnan(prediction.crossing(F, 1, 0))


def test_shares_cross_where_their_odds_are_even_for_the_last_time():
    n, odds = np.array([10.0, 100.0, 1000.0, 10_000.0]), np.array([-1.0, 1.0, -1.0, 3.0])
    assert prediction.takeover(n, odds) == pytest.approx(10**3.25)
    assert np.isnan(prediction.takeover(n, -odds[::-1] - 5))
