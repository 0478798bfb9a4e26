"""Slopes, correlated noise, milestones and essential dynamics: exact laws, planted stages, false alarms."""

import numpy as np
import pytest

from slt.phases import (
    align_shifted,
    change_points,
    circles,
    essential,
    forms,
    gaussian_process,
    inflated,
    milestones,
    slope,
    slope_changes,
    stages,
    value,
    vertices,
)

T = 120


def ar1(seeds, rho, time=T):
    """Noise of variance one with correlation rho between neighbours, (seeds, time)."""
    rng = np.random.default_rng(0)
    noise = np.empty((seeds, time))
    noise[:, 0] = rng.normal(size=seeds)
    for t in range(1, time):
        noise[:, t] = rho * noise[:, t - 1] + np.sqrt(1 - rho**2) * rng.normal(size=seeds)
    return noise


def test_planted_kinks_are_found_with_their_slopes_and_within_their_intervals():
    x, rng, hits, inside = np.arange(T, dtype=float), np.random.default_rng(1), 0, 0
    for _ in range(40):
        curve = np.where(x < 50, 0.2 * x, 10 - 0.1 * (x - 50)) + rng.normal(size=T)
        found = slope_changes(x, curve, 1.0)
        hits += len(found) == 1
        inside += any(change.low <= 50 <= change.high for change in found)
        assert all(abs(change.before - 0.2) < 0.05 and abs(change.after + 0.1) < 0.05 for change in found[:1])
    assert hits >= 36
    assert 36 <= inside <= 40


def test_a_straight_line_has_no_kinks():
    x = np.log(1 + np.arange(T, dtype=float))
    assert sum(len(slope_changes(x, 3 * x + row, 1.0)) > 0 for row in ar1(50, 0.0)) <= 2


def test_correlated_errors_look_like_changes_unless_they_are_inflated():
    noise = ar1(50, 0.7)
    bare = sum(len(change_points(row, 1.0)) > 0 for row in noise)
    mended = sum(len(change_points(row, inflated(row, 1.0))) > 0 for row in noise)
    assert bare >= 25
    assert mended <= 6


def test_the_inflation_is_that_of_the_autoregression_and_does_not_see_jumps():
    for rho in (0.0, 0.5, 0.8):
        factor = np.sqrt((1 + rho) / (1 - rho))
        jumps = 30 * (np.arange(T) > 60)
        plain, jumped = ([inflated(row + extra, 1.0)[0] for row in ar1(200, rho)] for extra in (0, jumps))
        assert np.median(plain) == pytest.approx(factor, rel=0.15)
        assert np.median(jumped) == pytest.approx(np.median(plain), rel=0.1)


STEPS = np.unique(np.round(np.geomspace(1, 10_000, 60)).astype(int))
X = np.log(STEPS + 1.0)


def rises(places, noise, rng):
    """A curve that rises by 10 about each of the places in log(step + 1), flat between them."""
    return sum(10 / (1 + np.exp(-(X - at) / 0.2)) for at in places) + noise * rng.normal(size=len(X))


def test_the_derivative_of_the_process_is_that_of_its_mean_and_its_error_that_of_its_covariance():
    process = gaussian_process(STEPS, rises([3.0, 6.5], 0.1, np.random.default_rng(0)), 0.1)
    at, h = np.array([2.0, 3.0, 4.7, 8.0]), 1e-3
    mean, covariance = slope(process, at)
    around = value(process, np.concatenate([at - h, at + h]))
    np.testing.assert_allclose(mean, (around[0][4:] - around[0][:4]) / (2 * h), rtol=1e-3, atol=1e-4)
    step = np.hstack([-np.eye(4), np.eye(4)]) / (2 * h)
    np.testing.assert_allclose(np.diag(covariance), np.diag(step @ around[1] @ step.T), rtol=0.05, atol=1e-6)


def test_the_plateau_between_two_rises_is_a_milestone_and_noise_has_fewer_than_the_published_recipe():
    rng = np.random.default_rng(0)
    hits = inside = 0
    for _ in range(12):
        found = milestones(gaussian_process(STEPS, rises([3.0, 6.5], 0.3, rng), 0.3, restarts=0))
        near = [m for m in found if abs(np.log(m.step + 1) - 4.75) < 0.75]
        hits += len(near) >= 1  # the process rings beside a steep rise, and a plateau may come twice
        inside += all(np.log(m.low + 1) > 3.4 and np.log(m.high + 1) < 6.1 for m in near)  # of the plateau
    assert hits >= 10
    assert inside >= 11
    processes = [gaussian_process(STEPS, rng.normal(size=len(X)), 1.0, restarts=0) for _ in range(40)]
    alarms = [sum(len(milestones(p, support=support)) > 0 for p in processes) for support in (2.0, 0.0)]
    assert alarms[0] <= 6
    assert alarms[1] >= 2 * alarms[0]


def test_stages_have_the_types_of_the_paper():
    found = stages(
        [3, 6], loss=[5.0, 4.0, 3.0, 2.0, 1.8, 1.6, 1.5, 1.6, 1.7], llc=[0.0, 1.0, 2.0, 3.0, 2.0, 1.0, 0.5, 2.0, 3.0]
    )
    assert [(s.start, s.end, s.kind) for s in found] == [(0, 3, "A"), (3, 6, "B"), (6, 8, "-")]


def test_a_circle_is_its_own_osculating_circle_whatever_the_spacing():
    angle = np.sort(np.random.default_rng(0).uniform(0, 3, size=20))
    curve = np.stack([2 + 3 * np.cos(angle), -1 + 3 * np.sin(angle)], axis=1)
    for turned, sign in ((curve, 1), (curve[::-1], -1)):
        drawn = circles(turned)
        np.testing.assert_allclose(drawn.radius[1:-1], 3, rtol=1e-6)
        np.testing.assert_allclose(drawn.curvature[1:-1], sign / 3, rtol=1e-6)
        np.testing.assert_allclose(drawn.centre[1:-1], [[2, -1]] * 18, rtol=1e-5)
        assert np.isnan(drawn.radius[[0, -1]]).all()
    assert np.isinf(circles(np.stack([np.arange(4.0)] * 2, axis=1)).radius[1])


def planted(noise, rng, features=40):
    """Outputs that go straight from corner to corner in a plane: corners at checkpoints 40 and 80."""
    corners = np.array([[0, 0], [1, 0], [1.2, 1], [2.2, 1.1]])
    time = np.arange(T) / (T - 1) * 3
    path = np.stack([np.interp(time, np.arange(4), corners[:, k]) for k in range(2)], axis=1)
    basis = np.linalg.qr(rng.normal(size=(features, 2)))[0]
    return path @ basis.T + noise * rng.normal(size=(T, features)), basis


def test_components_do_not_depend_on_the_basis_of_the_outputs_and_carry_their_variance():
    rng = np.random.default_rng(0)
    outputs, _ = planted(0.02, rng)
    rotation = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    one, other = essential(outputs), essential(outputs @ rotation)
    np.testing.assert_allclose(one.scores, other.scores, atol=1e-8)
    np.testing.assert_allclose(one.explained, other.explained, rtol=1e-8)
    np.testing.assert_allclose(one.scores.var(axis=0) * T, one.explained * np.sum((outputs - outputs.mean(0)) ** 2))
    with pytest.raises(ValueError, match="more than the 3 components"):
        essential(outputs[:3], components=3)


def test_planted_corners_are_vertices_and_a_straight_path_has_none():
    rng, hits, inside, straight, walks = np.random.default_rng(0), 0, 0, 0, 0
    for _ in range(10):
        outputs, basis = planted(0.01, rng)
        found = sorted(vertices(outputs, resamples=10), key=lambda v: -v.support)[:2]
        hits += sorted(min((40, 80), key=lambda at: abs(v.index - at)) for v in found) == [40, 80]
        inside += sum(abs(v.index - at) <= 3 and v.found > 0.9 for v in found for at in (40, 80))
        line = np.arange(T)[:, None] / T * basis[:, :1].T + 0.01 * rng.normal(size=outputs.shape)
        straight += len(vertices(line, resamples=0)) > 0
        walks += len(vertices(np.cumsum(rng.normal(size=outputs.shape), axis=0), resamples=0)) > 0
    assert hits >= 8
    assert inside >= 15
    assert straight == 0
    assert walks <= 7  # a third


def test_a_helix_turns_about_its_form():
    """A curve in three dimensions that reverses at the middle: all planes have a cusp there."""
    t = np.linspace(-1, 1, 41)
    scores = np.stack([np.abs(t) + 1, 0.5 * np.abs(t), 2 - t**2], axis=1)
    found = forms(scores)
    assert any(abs(form.index - 20) <= 1 for form in found)


def test_shifted_alignment_of_one_run_is_uniform_under_the_null_and_small_when_planted():
    rng = np.random.default_rng(0)
    places = lambda: sorted(map(int, rng.choice(200, size=5, replace=False)))
    null = [align_shifted([places()], [places()], length=200, tolerance=3, shuffles=200).p_value for _ in range(200)]
    assert np.mean(np.array(null) <= 0.05) <= 0.1
    one = places()
    planted = align_shifted([one], [[min(at + 1, 199) for at in one]], length=200, tolerance=3, shuffles=1000)
    assert planted.share == 1
    assert planted.p_value < 0.06  # seven of the 200 shifts do as well
