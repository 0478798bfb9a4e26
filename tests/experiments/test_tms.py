"""What `tms` counts as a transition, how runs start, and who is said to leave the square."""

import jax
import numpy as np
import optax
import pytest
import xarray as xr

import toymodels as tm
from experiments.tms.case import FEATURES, LOSS_NOISE, SETTLE, Case, named, transitions
from experiments.tms.report import EXPECTED, places, sequences

TIMES = 20


@pytest.fixture(scope="module")
def planted():
    """Two runs: one goes from the 4++ to the 5+ at checkpoint 9, where lambda-hat rises; the other stays at the 4+."""
    models = {"4++": tm.polygon(4, FEATURES, 2), "5+": tm.polygon(5, FEATURES, 1), "4+": tm.polygon(4, FEATURES, 1)}
    runs = [["4++"] * 9 + ["5+"] * 11, ["4+"] * TIMES]
    take = lambda i: np.array([[[models[name][i] for name in run] for run in runs]])
    loss = np.array([[[float(tm.potential(*models[name])) for name in run] for run in runs]])
    value = np.array([[[8.0 if name == "5+" else 5.0 for name in run] for run in runs]])
    time = ("bias_scale", "seed", "step")
    read = xr.Dataset(
        {
            "W": ((*time, "hidden", "feature"), take(0)),
            "b": ((*time, "feature"), take(1)),
            "loss": (time, loss),
            "value": (time, value),
            "stderr": (time, np.full(value.shape, 0.2)),
        }
    )
    results = named(read)
    return results.merge(transitions(results))


def test_planted_polygons_are_named_by_weights_and_by_loss(planted):
    assert (planted.kgon == planted.level).all()
    assert sequences(planted) == [("4++", "5+"), ("4+",)]
    assert {sequences(planted)[0]} <= EXPECTED


def test_all_three_readings_have_the_planted_transition_and_no_other(planted):
    for reading in ("kgon", "llc", "loss"):
        assert places(planted, reading) == [[9], []], reading
    fall = float(planted.loss[0, 0, 9] - planted.loss[0, 0, 8])
    assert float(planted.kgon_jump[0, 0, 9]) == pytest.approx(fall)
    assert float(planted.loss_jump[0, 0, 9]) == pytest.approx(fall, rel=1e-5)
    assert float(planted.llc_jump[0, 0, 9]) == pytest.approx(3.0)


def test_nothing_is_sought_while_a_run_settles(planted):
    early = planted.copy(deep=True)
    early.loss[0, 1, : SETTLE - 1] += 1.0
    early.kgon[0, 1, : SETTLE - 1] = "3"
    found = early.drop_vars([name for name in early if "jump" in name])
    assert places(transitions(found), "loss") == [[9], []]
    assert places(transitions(found), "kgon") == [[9], []]


def test_half_the_distance_of_two_levels_is_the_noise_of_the_loss():
    heights = np.sort(list(tm.levels(FEATURES).values()))
    assert np.diff(heights[np.append(True, np.diff(heights) > 1e-4)]).min() >= LOSS_NOISE


def test_runs_start_at_the_square_with_the_biases_asked_for():
    case = Case(20, 10, 0.01, optax.sgd(0.1))
    begin = jax.jit(lambda at: case.begin(at).params)
    zero, normal = (begin({"seed": np.array(3), "bias_scale": np.float32(scale)}) for scale in (0, 1))
    np.testing.assert_array_equal(zero["b"], 0)
    assert np.std(normal["b"]) > 0.2
    np.testing.assert_allclose(zero["W"], tm.polygon(4, FEATURES)[0], atol=0.05)
    np.testing.assert_array_equal(zero["W"], normal["W"])
