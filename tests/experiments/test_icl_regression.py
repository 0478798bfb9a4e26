"""Where `icl_regression` puts the stages of made-up runs, and what it says of them."""

import numpy as np
import pytest
import xarray as xr

from experiments.icl_regression.report import READINGS, boundaries, change, claims, edges, over_runs

STEPS = np.array([0, *np.round(np.geomspace(30, 3000, 19)).astype(int)])
CHANCE, RIDGE = 2.125, 0.69
LR1, LR2 = (5, 6, 7), (12, 13, 13)  # checkpoints at which the stages end


@pytest.fixture(scope="module")
def made():
    """From 3 to the zero predictor and on to ridge; the loose curve is 141 - 60 L, localised ones have three levels."""
    time, first, second = np.arange(len(STEPS))[None], np.array(LR1)[:, None], np.array(LR2)[:, None]
    levels = [3.0, CHANCE, RIDGE + 0.08, RIDGE + 0.02]
    loss = np.array([np.interp(time[0], [0, a, b, len(STEPS) - 1], levels) for a, b in zip(LR1, LR2, strict=True)])
    localised = np.where(time < first, -80.0, np.where(time < second, 5.0, 60.0))
    noise = 0.2 * np.random.default_rng(0).normal(size=(3, *loss.shape))
    value = np.stack([60 * (2.35 - loss), localised, localised]) + noise
    each = {"loss": loss, "size": 0.01 + 0.1 * np.abs(time - first), "ridge": RIDGE, "zero": CHANCE}
    results = xr.Dataset({name: (("seed", "step"), np.broadcast_to(v, loss.shape)) for name, v in each.items()})
    curves = {
        "value": value,
        "stderr": 0.2,
        "loss_at_centre": loss,
        "saturation": 0.5,
        "findings": np.where(value < -0.4, "negative", ""),
    }
    three = ("setting", "seed", "step")
    results = results.assign({name: (three, np.broadcast_to(v, value.shape)) for name, v in curves.items()})
    results = results.assign(nbeta=("setting", [60.0, 1000.0, 300.0]))
    results = results.assign_coords(setting=list(READINGS[1:]), step=STEPS).assign_attrs(chance=CHANCE)
    return results.merge(boundaries(results))


def holds(results, start):
    return next(claim.holds for claim in claims(results) if claim.text.startswith(start))


def test_the_stages_are_where_the_model_shows_them(made):
    assert edges(made).T.tolist() == [list(LR1), list(LR2)]


def test_the_largest_change_is_found_within_its_interval(made):
    for name in ("localised", "localised, hotter"):
        at, low, high = made.change.sel(reading=name).values.T
        np.testing.assert_array_equal(at, STEPS[list(LR1)])  # from -80 to 5 is more than from 5 to 60
        assert np.all((low <= at) & (at <= high))


def test_what_survives_a_stage(made):
    np.testing.assert_allclose(change(made, "localised", 1), 55, atol=1)
    assert holds(made, "LR2: change of lambda-hat, localised") is True
    wrong = made.copy(deep=True)
    wrong.value.loc[{"setting": "localised"}] = -made.value.sel(setting="localised").values
    assert holds(wrong, "LR2: change of lambda-hat, localised") is False
    assert holds(wrong, "LR2: change of lambda-hat, loose") is True


def test_a_loose_curve_that_is_not_the_loss_and_a_model_that_never_learns_are_seen(made):
    wrong = made.copy(deep=True)
    wrong.value.loc[{"setting": "loose"}] = made.value.sel(setting="localised").values
    wrong["loss"] = np.maximum(made.loss, 0.9 * CHANCE)
    for text in ("loose: R^2", "LR2 ends near ridge"):
        assert (holds(made, text), holds(wrong, text)) == (True, False)


def test_the_interval_over_runs_is_students():
    values = np.array([1.0, 2.0, 4.0])
    claim, half = over_runs("x", values, "y", sign=1), 4.302653 * values.std(ddof=1) / np.sqrt(3)
    assert (claim.value, claim.low, claim.high) == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half))
    assert claim.holds is None
    assert over_runs("x", values[:1], "y", sign=1).holds is None
