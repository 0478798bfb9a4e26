"""Change points of curves with known noise, and whether two sets of transitions coincide."""

import numpy as np
import pytest
from scipy import stats

from slt.phases import align, change_points, inflated, slope_changes

TIME = 150
STEPS = (40, 90)


def staircase(rng, jumps=(4.0, -6.0), noise=1.0):
    """Three levels that change at STEPS, in units of the noise."""
    level = sum(jump * (np.arange(TIME) >= step) for jump, step in zip(jumps, STEPS, strict=True))
    return noise * (level + rng.normal(size=TIME))


def near(found, planted, within=2):
    return sum(any(abs(f - p) <= within for f in found) for p in planted)


@pytest.mark.parametrize("noise", [1e-3, 1.0])
def test_planted_steps_are_found_and_nothing_else(noise):
    rng, runs = np.random.default_rng(0), 12
    found = [[c.index for c in change_points(staircase(rng, noise=noise), noise)] for _ in range(runs)]
    recall = np.mean([near(indices, STEPS) / len(STEPS) for indices in found])
    precision = sum(near(STEPS, indices) for indices in found) / sum(map(len, found))
    assert recall > 0.97
    assert precision > 0.97


def test_intervals_hold_the_planted_place_at_their_coverage():
    """At least: the quantile is the one of small jumps, and checkpoints are whole, so 98 % at 1.5 standard errors."""
    rng, held = np.random.default_rng(2), []
    for _ in range(40):
        changes = change_points(staircase(rng, (1.5, 1.5)), 1.0)
        if len(changes) == len(STEPS):
            held += [c.low <= step <= c.high for c, step in zip(changes, STEPS, strict=True)]
    assert len(held) > 70
    assert np.mean(held) > 0.94


def test_noise_alone_hardly_ever_has_a_change():
    """Measured on 600 such curves: 0.3 % have one, so that two or more of 20 happen in 0.2 % of seeds."""
    rng = np.random.default_rng(4)
    assert sum(len(change_points(rng.normal(size=TIME), 1.0)) > 0 for _ in range(20)) <= 1


def test_the_standard_error_of_each_point_is_used():
    rng = np.random.default_rng(5)
    stderr = np.where(np.arange(TIME) < 75, 1.0, 10.0)
    curves = stderr * rng.normal(size=(5, TIME))
    assert sum(len(change_points(curve, stderr)) for curve in curves) <= 1
    assert all(len(change_points(curve, 1.0)) > 2 for curve in curves)


def test_points_that_are_nan_carry_no_weight():
    rng = np.random.default_rng(6)
    curve = staircase(rng)
    curve[[0, 20, 21, 22, 60, 149]] = np.nan
    seen = np.isfinite(curve)
    found = [c.index for c in change_points(curve, 1.0)]
    compressed = [c.index for c in change_points(curve[seen], 1.0)]
    np.testing.assert_array_equal([seen[:index].sum() for index in found], compressed)
    assert near(found, STEPS) == 2


def test_scale_shift_and_reversal_of_a_curve_carry_over():
    curve = staircase(np.random.default_rng(7))
    changes = change_points(curve, 1.0)
    scaled = change_points(10 * curve + 3, 10.0)
    reverse = change_points(curve[::-1], 1.0)[::-1]
    assert [c[:3] for c in scaled] == [c[:3] for c in changes]
    np.testing.assert_allclose([c.jump for c in scaled], [10 * c.jump for c in changes])
    assert [TIME - c.index for c in reverse] == [c.index for c in changes]


@pytest.mark.parametrize("error", [0.0, 1e-12, 1e-6])
def test_a_standard_error_of_nearly_zero_hides_nothing(error):
    curve = np.r_[np.zeros(20), np.ones(20)] + 0.05 * np.random.default_rng(0).normal(size=40)
    stderr = np.where(np.arange(40) == 5, error, 0.05)
    assert [change.index for change in change_points(curve, stderr)] == [20]
    assert 20 in [change.index for change in slope_changes(np.arange(40.0), curve, stderr)]
    assert np.all(inflated(curve, stderr) > 0)


CURVE = np.arange(20.0)
NONSENSE = {
    "at least 6 points": lambda: change_points(np.zeros(5), 1.0),
    "got penalty=-1": lambda: change_points(CURVE, 1.0, penalty=-1.0),
    "got penalty=nan": lambda: change_points(CURVE, 1.0, penalty=np.nan),
    "got coverage=1.0: write a finite coverage < 1": lambda: change_points(CURVE, 1.0, coverage=1.0),
    "got min_size=1: write a finite min_size >= 2": lambda: slope_changes(CURVE, CURVE, 1.0, min_size=1),
    "negative, or zero for most points": lambda: change_points(CURVE, 0.0),
    "times that do not rise": lambda: slope_changes(CURVE[::-1], CURVE, 1.0),
}


@pytest.mark.parametrize("message", NONSENSE)
def test_what_is_no_curve_is_refused(message):
    with pytest.raises(ValueError, match=message):
        NONSENSE[message]()


def transitions(rng, runs=10, count=3):
    return [np.sort(rng.integers(0, 1000, count)).tolist() for _ in range(runs)]


def test_aligned_transitions_are_found():
    rng = np.random.default_rng(0)
    one = transitions(rng)
    other = [[t + int(rng.integers(2, 5)) for t in run] for run in one]
    result = align(one, other, tolerance=5)
    assert result.share == 1
    assert result.count == 30
    assert 2 <= result.lag <= 4
    assert result.null < 0.2
    assert result.p_value < 0.005


def test_independent_transitions_have_uniform_p_values():
    rng = np.random.default_rng(1)
    p = [align(transitions(rng), transitions(rng), tolerance=60, shuffles=100).p_value for _ in range(200)]
    assert stats.kstest(p, "uniform", alternative="greater").pvalue > 1e-3
    assert 0.4 < np.mean(p) < 0.65
    assert np.mean(np.array(p) < 0.1) < 0.17


def test_a_lag_is_signed_and_one_beyond_the_tolerance_is_no_coincidence():
    one, other = [[10], [30], [50], [70]], [[4], [24], [44], [64]]
    assert align(one, other, tolerance=5).share == 0
    assert align(one, other, tolerance=6)[:3] == (1.0, 4, -6.0)


def test_runs_without_transitions_are_counted_as_misses():
    result = align([[10], [20], []], [[10], [], [30]], tolerance=2)
    assert (result.share, result.count) == (0.5, 2)
    assert np.isnan(np.array(align([[], []], [[1], [2]], tolerance=2))).tolist() == [True, False, True, True, True]


def test_unequal_numbers_of_runs_are_refused():
    with pytest.raises(ValueError, match="2 runs and of 1"):
        align([[1], [2]], [[1]], tolerance=1)
