"""When an announcer sounds, on curves whose answer is known; leads, their intervals, and what is negative."""

import numpy as np
import pytest
import xarray as xr

from experiments import grokking
from experiments.grokking import announce
from experiments.grokking.announce import (  # fmt: skip
    ahead,
    boundaries,
    calibrated_lead,
    fixed_lead,
    halves,
    jumps,
    memorised,
    reach,
    sounded,
)

STEP = np.arange(0, 2000, 100)
TIME = len(STEP)


def results(test_loss, value=None, accuracy=None):
    """Runs that know the training set from step 200 on."""
    test_loss = np.atleast_2d(test_loss)
    runs = len(test_loss)
    known = np.broadcast_to(np.where(STEP >= 200, 1.0, 0.5), (runs, TIME))
    right = np.ones((runs, TIME)) if accuracy is None else np.atleast_2d(accuracy)
    names = {"test_loss": test_loss, "train_accuracy": known, "test_accuracy": right}
    names |= {a.variable: test_loss for a in announce.ANNOUNCERS.values()}
    variables = {name: (("run", "time"), v) for name, v in names.items()}
    value = np.ones((1, runs, TIME)) if value is None else value
    curves = {"value": (("setting", "run", "time"), value), "stderr": (("setting", "run", "time"), np.full(value.shape, 0.01))}  # fmt: skip
    return xr.Dataset(variables | curves, {"step": ("time", STEP), "setting": ["nbeta = 1"]})


def test_the_jump_is_halfway_in_the_log_from_the_maximum_to_the_end_wherever_it_lies():
    """From e^2 at step 500 to e^-4 at 1500, a straight line in the log: e^-1 is at 1000."""
    logs = np.interp(STEP, [0, 500, 1500], [1, 2, -4])
    assert jumps(results(np.exp(logs))) == pytest.approx([1000])
    assert jumps(results(np.exp(np.interp(STEP, [0, 550, 1650], [1, 2, -4])))) == pytest.approx([1100], abs=10)


def test_half_of_the_answers_is_interpolated_and_runs_that_do_not_grok_have_no_jump():
    right = np.interp(STEP, [0, 700, 1100], [0, 0.2, 1.0])
    falls = np.exp(np.interp(STEP, [0, 500, 1500], [1, 2, -4]))
    both = results([falls, falls], accuracy=[right, 0.8 * right])
    assert halves(both) == pytest.approx([850, np.nan], nan_ok=True)
    assert np.isnan(jumps(both)).tolist() == [False, True]


def test_memorisation_is_the_first_checkpoint_that_knows_the_training_set():
    assert memorised(results(np.ones(TIME))).tolist() == [2]
    never = results(np.ones(TIME))
    never["train_accuracy"] = 0.5 * never.train_accuracy
    assert memorised(never).tolist() == [TIME]


@pytest.mark.parametrize("falls", [True, False])
def test_the_detector_waits_for_a_second_checkpoint_and_counts_from_memorisation(falls):
    curve = np.full(TIME, 4.0)
    curve[:2] = 400.0 if falls else 0.01  # before memorisation: not its business
    curve[6] = 1.0 if falls else 16.0  # once only
    curve[10:] = 1.0 if falls else 16.0
    ratio = announce._ratio(curve[None], np.array([2]), falls=falls)
    assert sounded(ratio, STEP, 0.5).tolist() == [1100]
    assert sounded(ratio, STEP, 0.25).tolist() == [np.inf]  # below, not at
    assert reach(ratio).tolist() == [0.25]


def test_the_detector_knows_the_past_alone():
    rng = np.random.default_rng(0)
    curve = np.exp(np.cumsum(rng.normal(size=(20, TIME)), axis=1))
    whole = sounded(announce._ratio(curve, np.full(20, 2), falls=True), STEP, 0.2)
    for t in range(4, TIME):
        early = sounded(announce._ratio(curve[:, :t], np.full(20, 2), falls=True), STEP[:t], 0.2)
        np.testing.assert_array_equal(early, np.where(whole < STEP[t], whole, np.inf))


def test_negative_coefficients_neither_announce_nor_vanish():
    value = np.full((1, 1, TIME), 5.0)
    value[..., 10:] = -3.0
    here = results(np.ones(TIME), value=value)
    ratio = announce.ratios(here)["lambda-hat, nbeta = 1"]
    assert sounded(ratio, STEP, 0.1).tolist() == [np.inf]
    assert announce.negative(here).sum() == TIME - 10
    value[..., 10:] = 0.3
    ratio = announce.ratios(results(np.ones(TIME), value=value))["lambda-hat, nbeta = 1"]
    assert sounded(ratio, STEP, 0.1).tolist() == [1100]


def test_a_lead_is_that_of_the_runs_with_a_jump_and_its_interval_covers():
    """Leads that are N(300, 100^2): the interval of the median covers 300 in about 95 of 100 data sets, and is no wider than it must."""
    rng = np.random.default_rng(0)
    covered, width = [], []
    for _ in range(200):
        sounds = rng.normal(700, 100, size=20)
        lead = fixed_lead(np.append(np.full(20, 1000.0), np.nan), np.append(sounds, 0))
        assert (lead.runs, lead.value) == (20, pytest.approx(np.median(1000 - sounds)))
        covered.append(lead.low <= 300 <= lead.high)
        width.append(lead.high - lead.low)
    assert 0.88 < np.mean(covered) <= 0.99
    assert np.mean(width) < 140  # 4 * 1.25 * 100/sqrt(20) = 112


def test_silence_is_a_lead_of_minus_infinity():
    lead = fixed_lead(np.full(4, 1000.0), np.array([np.inf, np.inf, np.inf, 500]))
    assert lead.value == -np.inf
    assert str(lead) == "never [never, +500], sounds in 1 of 4"
    assert str(fixed_lead(np.array([np.nan]), np.array([1.0]))) == "no run has a jump"
    assert ahead(np.array([np.inf, 100.0]), np.array([np.inf, 300.0])).value == 100
    assert ahead(np.array([np.inf]), np.array([300.0])).value == -np.inf


def test_the_calibrated_threshold_is_silent_on_every_control():
    """Announcers that fall to .1 at step 1000 and .01 at 1500; controls that fall to .3 or to .05 early on."""
    grok = np.ones((3, TIME))
    grok[:, 10:], grok[:, 15:] = 0.1, 0.01
    jump, control = np.full(3, 1800.0), lambda to: np.where(STEP[None] >= 400, to, 1.0)
    assert calibrated_lead(jump, grok, control(0.3), STEP).value == 700  # confirmed at 1100
    both = calibrated_lead(jump, grok, np.concatenate([control(0.3), control(0.05)]), STEP)
    assert both.value == 200  # only .01 is below what the second control reaches
    assert (both.low, both.high) == (200, 700)  # a quarter of the resamples have the first control alone
    assert calibrated_lead(jump, grok, control(1e-3), STEP).value == -np.inf
    assert announce.calibrated(grok, control(0.05), STEP).tolist() == [1600] * 3
    assert calibrated_lead(jump, grok, np.ones((0, TIME)), STEP).runs == 0


def test_boundaries_are_changes_of_slope_and_negative_values_are_part_of_the_curve():
    rng = np.random.default_rng(0)
    step = np.arange(0, 6000, 100)
    time = np.log(step + 50.0)
    line = np.interp(time, [time[0], np.log(1050.0), time[-1]], [6, 5, -2])
    value = announce.SMALL * np.sinh(line + 0.02 * rng.normal(size=len(step)))[None, None]
    dims = ("setting", "run", "time")
    here = xr.Dataset({"value": (dims, value), "stderr": (dims, 0.02 * np.sqrt(value**2 + announce.SMALL**2))}, {"step": ("time", step)})  # fmt: skip
    found = boundaries(here)
    at = np.flatnonzero(np.isfinite(found.boundary_low.values[0, 0]))
    assert len(at) == 1
    assert found.boundary_low.values[0, 0, at] <= 10 <= found.boundary_high.values[0, 0, at]
    assert found.boundary_slope.values[0, 0, at] == pytest.approx(-7 / (time[-1] - np.log(1050)), rel=0.1)


@pytest.mark.slow
def test_both_networks_are_in_one_data_set_and_without_controls_nothing_is_said_of_them():
    found = grokking.run(**grokking.PRESETS["smoke"] | dict(seeds=1, controls=0, transformers=1))
    assert found.model.values.tolist() == ["mlp", "transformer"]
    assert found.value.dims == ("setting", "run", "time")
    assert found.nbeta.dims == ("setting",)
    assert np.isfinite(found.loss.values).all()
    assert np.allclose(found.loss.values[None], found.loss_at_centre.values, rtol=1e-3)  # the same loss, by two ways
    about = [claim.measured for claim in grokking.claims(found) if "announces" in claim.text]
    assert about
    assert all("no controls" in line for line in about)
