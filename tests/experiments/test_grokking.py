"""When an announcer sounds, on curves whose answer is known; leads and their intervals."""

import numpy as np
import pytest
import xarray as xr

from experiments import grokking
from experiments.grokking.announce import ANNOUNCERS, ahead, jumps, memorised, ratio, ratios, silent, sounded
from experiments.grokking.report import lead

STEP = np.arange(0, 2000, 100)
TIME = len(STEP)


def results(test_loss, value=None, accuracy=None):
    """Runs that know the training set from step 200 on."""
    test_loss = np.atleast_2d(test_loss)
    known = np.broadcast_to(np.where(STEP >= 200, 1.0, 0.5), test_loss.shape)
    right = np.broadcast_to(1.0 if accuracy is None else accuracy, test_loss.shape)
    value = np.ones((1, *test_loss.shape)) if value is None else value
    variables = {"test_loss": test_loss, "train_accuracy": known, "test_accuracy": right}
    variables |= dict.fromkeys(ANNOUNCERS.values(), test_loss)
    made = {name: (("run", "step"), values) for name, values in variables.items()}
    dims = ("setting", "run", "step")
    curves = {"value": (dims, value), "stderr": (dims, np.full(value.shape, 0.01))}
    return xr.Dataset(made | curves, {"step": STEP, "setting": ["nbeta = 1"]})


def test_the_jump_is_halfway_in_the_log_from_the_maximum_to_the_end_wherever_it_lies():
    """From e^2 at step 500 to e^-4 at 1500, a straight line in the log: e^-1 is at 1000."""
    logs = np.interp(STEP, [0, 500, 1500], [1, 2, -4])
    assert jumps(results(np.exp(logs))) == pytest.approx([1000])
    assert jumps(results(np.exp(np.interp(STEP, [0, 550, 1650], [1, 2, -4])))) == pytest.approx([1100], abs=10)


def test_runs_that_do_not_grok_have_no_jump():
    falls = np.exp(np.interp(STEP, [0, 500, 1500], [1, 2, -4]))
    both = results([falls, falls], accuracy=np.array([[1.0], [0.8]]))
    assert np.isnan(jumps(both)).tolist() == [False, True]


def test_memorisation_is_the_first_checkpoint_that_knows_the_training_set():
    here = results(np.ones(TIME))
    assert memorised(here).tolist() == [2]
    assert memorised(here.assign(train_accuracy=0.5 * here.train_accuracy)).tolist() == [TIME]


def test_the_detector_waits_for_a_second_checkpoint_and_counts_from_memorisation():
    curve = np.full(TIME, 4.0)
    curve[:2] = 400.0  # before memorisation: not its business
    curve[6] = 1.0  # once only
    curve[10:] = 1.0
    found = ratio(curve[None], np.array([2]))
    assert sounded(found, STEP, 0.5).tolist() == [1100]
    assert sounded(found, STEP, 0.25).tolist() == [np.inf]  # below, not at
    assert silent(found) == 0.25


def test_of_the_gini_coefficient_a_rise_is_followed():
    gini = np.where(STEP >= 1000, 0.6, 0.2)[None]
    found = ratios(results(np.ones(TIME)).assign(gini=(("run", "step"), gini)))["Gini of W_E"]
    assert sounded(found, STEP, 0.5).tolist() == [1100]
    assert silent(found) == pytest.approx(1 / 3)


def test_the_detector_knows_the_past_alone():
    curve = np.exp(np.cumsum(np.random.default_rng(0).normal(size=(20, TIME)), axis=1))
    since = np.full(20, 2)
    whole = sounded(ratio(curve, since), STEP, 0.2)
    for t in range(4, TIME):
        early = sounded(ratio(curve[:, :t], since), STEP[:t], 0.2)
        np.testing.assert_array_equal(early, np.where(whole < STEP[t], whole, np.inf))


@pytest.mark.parametrize(("level", "sounds"), [(-3.0, np.inf), (0.3, 1100)])
def test_negative_coefficients_do_not_announce(level, sounds):
    value = np.where(STEP >= 1000, level, 5.0)[None, None]
    found = ratios(results(np.ones(TIME), value=value))["lambda-hat, nbeta = 1"]
    assert sounded(found, STEP, 0.1).tolist() == [sounds]


def test_the_interval_of_a_lead_covers_and_is_no_wider_than_it_must():
    """Leads that are N(300, 100^2): the interval of the median covers 300 in about 95 of 100 data sets."""
    rng = np.random.default_rng(0)
    found = [lead("", rng.normal(300, 100, size=20)) for _ in range(200)]
    assert 0.88 < np.mean([claim.low <= 300 <= claim.high for claim in found]) <= 0.99
    assert np.mean([claim.high - claim.low for claim in found]) < 140  # 4 * 1.25 * 100/sqrt(20) = 112


def test_silence_is_a_lead_of_minus_infinity_and_of_two_silent_ones_neither_is_ahead():
    claim = lead("", ahead(np.array([np.inf, np.inf, np.inf, 500]), np.full(4, 1000.0)), sign=True)
    assert (claim.value, claim.high, claim.holds) == (-np.inf, 500, False)
    assert ahead(np.array([np.inf, 100.0]), np.array([np.inf, 300.0])).tolist() == [0, 200]
    assert lead("", np.zeros(0), sign=True).holds is None


def test_the_calibrated_threshold_is_silent_on_every_control():
    """An announcer that falls to .1 at step 1000 and .01 at 1500; controls that fall to .3 or to .05 early on."""
    grok = np.where(STEP >= 1500, 0.01, np.where(STEP >= 1000, 0.1, 1.0))[None]
    control = lambda to: np.where(STEP[None] >= 400, to, 1.0)
    at = lambda *levels: sounded(grok, STEP, silent(np.concatenate([control(level) for level in levels]))).tolist()
    assert at(0.3) == [1100]
    assert at(0.3, 0.05) == [1600]
    assert at(1e-3) == [np.inf]


@pytest.mark.slow
def test_the_losses_of_the_readings_and_of_the_chains_agree():
    found = grokking.run(**grokking.PRESETS["smoke"] | dict(seeds=1, controls=0))
    assert found.value.dims == ("setting", "run", "step")
    assert np.allclose(found.loss.values[None], found.loss_at_centre.values, rtol=1e-3)
    assert not any("controls" in claim.text for claim in grokking.claims(found))
