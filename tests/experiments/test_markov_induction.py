"""What `markov_induction` counts as a transition, and that its runs start and decay as they should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from experiments.markov_induction import _schedule, report
from experiments.markov_induction.runs import DECAYED, Case, begin


@pytest.fixture(scope="module")
def case():
    return Case.of(2, 8, learning_rate=0.5, batch_size=4)


@pytest.fixture(scope="module")
def state(case):
    return begin(jax.random.key(0), case)


def leaves(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def test_weights_start_with_the_scales_of_the_source(state):
    for name, leaf in leaves(state.params).items():
        scale = 0.01 if "W_O" in name else 0.02
        if "W_" in name and leaf.size >= 256:
            assert leaf.std() == pytest.approx(scale, rel=4 / np.sqrt(2 * leaf.size)), name


def test_only_linear_maps_decay(case, state):
    updates, _ = case.tx.update(jax.tree.map(jnp.zeros_like, state.params), state.opt_state, state.params)
    before = leaves(state.params)
    for name, update in leaves(updates).items():
        decayed = any(f"'{linear}'" in name for linear in DECAYED)
        np.testing.assert_allclose(
            update, -0.5 * 0.1 * before[name] if decayed else 0 * update, rtol=1e-5, err_msg=name
        )


def test_estimates_are_among_the_readings_and_are_evenly_spaced_but_for_one():
    fine, at = _schedule(1500, 12)
    assert fine[at][[0, 1, 2, 3, -1]].tolist() == [0, 42, 125, 250, 1500]
    assert len(at) == 14


@pytest.fixture(scope="module")
def made():
    """Two runs that cross at steps 400 and 600 with a peak of lambda-hat there, and one that never crosses."""
    fine, at = _schedule(1000, 10)
    step, cross = fine[at], [400, 600, None]
    later = np.array([np.full(len(fine), False) if c is None else fine >= c for c in cross])
    peak = np.array([np.where(step < 400, 7.0, 9.0) + (17.0 if c else 0.0) * (step == c) for c in cross])
    variables = {
        "kl_bigram": (("symbols", "run", "reading"), np.where(later, 0.01, 0.06)[None]),
        "kl_unigram": (("symbols", "run", "reading"), np.where(later, 0.06, 0.01)[None]),
        "value": (("symbols", "run", "time"), peak[None]),
        "reading_step": (("symbols", "reading"), fine[None]),
        "step": (("symbols", "time"), step[None]),
    }
    return xr.Dataset(variables, {"symbols": [2]}, {"nbeta": 1.0, "gamma": 1.0, "step_size": 1.0})


def test_the_crossing_is_the_first_reading_nearer_to_the_bigram(made):
    steps = [None if c is None else int(made.reading_step[0, c]) for c in report.crossing(made, 2)]
    assert steps == [400, 600, None]


def test_before_at_and_after_are_of_the_runs_that_cross(made):
    found = report.phases(made, 2)
    assert found.at.tolist() == [26.0, 26.0]
    assert found.after.tolist() == [9.0, 9.0]
    assert found.before[0] == 7.0
    up, down, lasting = report._peak(made, 2)
    assert (up.holds, down.holds) == (True, True)
    assert "+18" in up.measured
    assert lasting.measured.startswith("+1.")


def test_a_difference_needs_two_runs():
    assert report.difference(np.array([1.0, 3.0]), np.array([0.0, 0.0])) == (2.0, 1.0)
    assert np.isnan(report.difference(np.array([1.0]), np.array([0.0]))).all()
