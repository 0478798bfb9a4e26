"""What `markov_induction` counts as a transition, and that its runs start and decay as they should."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from experiments.markov_induction import FINE, schedule
from experiments.markov_induction.case import DECAYED, Case
from experiments.markov_induction.report import SETTLE, crossing, localised, peak, phases


@pytest.fixture(scope="module")
def case():
    return Case.of(2, 8, learning_rate=0.5, batch_size=4)


@pytest.fixture(scope="module")
def state(case):
    return jax.jit(case.begin)({"seed": jnp.int32(0)})


def leaves(tree):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(tree)}


def test_weights_start_with_the_scales_of_the_source(state):
    for name, leaf in leaves(state.params).items():
        scale = 0.01 if "W_O" in name else 0.02
        if "W_" in name and leaf.size >= 256:
            assert leaf.std() == pytest.approx(scale, rel=4 / np.sqrt(2 * leaf.size)), name


def test_only_linear_maps_decay(case, state):
    still = jax.tree.map(jnp.zeros_like, state.params)
    updates, before = leaves(jax.jit(case.tx.update)(still, state.opt_state, state.params)[0]), leaves(state.params)
    for name, update in updates.items():
        rate = 0.5 * 0.1 if any(f"'{linear}'" in name for linear in DECAYED) else 0
        np.testing.assert_allclose(update, -rate * before[name], rtol=1e-5, err_msg=name)


def test_estimates_are_among_the_readings_and_are_evenly_spaced_but_for_one():
    fine, at = schedule(1500, 12)
    assert fine[at][[0, 1, 2, 3, -1]].tolist() == [0, 42, 125, 250, 1500]
    assert (len(fine), len(at)) == (12 * FINE + 1, 14)


@pytest.fixture(scope="module")
def planted():
    """Two runs that cross at steps 400 and 600 with a peak of lambda-hat there, and one that never crosses."""
    fine, at = schedule(1000, 10)
    step, cross = fine[at], np.array([[400], [600], [2000]])
    later = fine[None] >= cross
    value = np.where(step[None] < 400, 7.0, 9.0) + 17 * (step[None] == cross)
    reading, estimate = ("symbols", "seed", "reading"), ("symbols", "seed", "estimate")
    unused = ("stderr", "loss_at_centre", "mean_loss", "saturation")
    variables = {
        "kl_bigram": (reading, np.where(later, 0.01, 0.06)[None]),
        "kl_unigram": (reading, np.where(later, 0.06, 0.01)[None]),
        "value": (estimate, value[None]),
        "findings": (estimate, np.full((1, *value.shape), "")),
        "reading_step": ("reading", fine),
        "estimate_step": ("estimate", step),
    }
    variables |= {name: (estimate, np.zeros((1, *value.shape))) for name in unused}
    return xr.Dataset(variables, {"symbols": [2]}, {"nbeta": 1.0})


def test_the_crossing_is_the_first_reading_from_which_on_the_bigram_is_nearer(planted):
    steps = [None if place is None else int(planted.reading_step[place]) for place in crossing(planted, 2)]
    assert steps == [400, 600, None]


def test_a_run_that_goes_back_has_not_crossed(planted):
    back = planted.copy(deep=True)
    back["kl_bigram"][0, 0, -1] = 0.07
    assert crossing(back, 2)[0] is None


def test_before_at_and_after_are_of_the_runs_that_cross(planted):
    before, at, after = phases(planted, 2, localised(planted, 2).isel(setting=0))
    assert (at.tolist(), after.tolist(), before[0]) == ([26, 26], [9, 9], 7)
    assert len(planted.estimate_step) - SETTLE == localised(planted, 2).sizes["step"]


def test_a_peak_rises_and_falls_and_a_step_only_rises(planted):
    assert [claim.holds for claim in peak(planted, 2)[:2]] == [True, True]
    flat = planted.assign(value=xr.where(planted.estimate_step < 400, 7.0, 26.0).broadcast_like(planted.value))
    up, down, lasting = peak(flat, 2)
    assert (up.holds, down.holds, lasting.holds) == (True, False, True)
