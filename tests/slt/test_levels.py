"""Levels, jumps and falls on planted curves."""

import numpy as np
import pytest

from slt.phases import fall, flats, jumps


def planted(at=30, length=60, low=0.0, high=0.5, noise=0.004):
    curve = np.where(np.arange(length) < at, low, high) + noise * np.random.default_rng(0).standard_normal(length)
    curve[at - 1] = low + 0.3 * (high - low)
    return curve


def test_a_jump_is_found_where_it_is_with_its_interval_and_size():
    (found,) = jumps(planted(), width=0.03, hold=4, least=0.1)
    assert (found.low, found.index, found.high) == (28, 30, 30)
    assert found.jump == pytest.approx(0.5, abs=0.01)


def test_noise_short_excursions_and_small_steps_are_no_jumps_and_a_long_drift_is_one():
    flat = planted(high=0.0)
    flat[40:42] = 0.4
    assert jumps(flat, width=0.03, hold=4, least=0.1) == []
    assert jumps(planted(high=0.08), width=0.03, hold=4, least=0.1) == []
    drift = np.linspace(0, 0.35, 60)
    assert [round(j.jump, 2) for j in jumps(drift, width=0.03, hold=4, least=0.2)] == [pytest.approx(0.23, abs=0.05)]


def test_a_curve_that_is_lost_has_no_levels_after():
    curve = planted()
    curve[32:] = np.nan
    assert [(level.first, level.last) for level in flats(curve, width=0.03, hold=4)] == [(0, 28)]
    assert jumps(np.full(20, np.nan), width=0.03, hold=4, least=0.1) == []


@pytest.mark.parametrize(("size", "there"), [(0.2, True), (0.0, False)])
def test_falls_are_told_from_windows_at_random(size, there):
    rng, runs, time = np.random.default_rng(1), 8, 100
    at = rng.integers(20, 80, runs)
    curves = -size * (np.arange(time)[None] >= at[:, None]) + 0.01 * rng.standard_normal((runs, time))
    found = fall(curves, [[(i - 1, i + 1)] for i in at.tolist()])
    assert found.count == 8
    assert found.mean == pytest.approx(size, abs=0.02)
    assert (found.p_value < 0.01) if there else (found.p_value > 0.05)
