"""AUC and increments on planted data, where the answer is known."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from experiments.shared.statistics import UNKNOWN, added, auc


def planted(runs, shift, seed=0):
    """An outcome for a third of the runs, and a score that is higher by `shift` standard deviations with it."""
    rng = np.random.default_rng(seed)
    outcome = np.arange(runs) % 3 == 0
    return outcome, rng.normal(size=runs) + shift * outcome


def test_auc_of_two_gaussians_is_the_known_one():
    outcome, score = planted(3000, 1.0)
    found = auc(outcome, score)
    assert found.value == pytest.approx(stats.norm.cdf(1 / np.sqrt(2)), abs=0.03)
    assert found.low < found.value < found.high


def test_auc_is_that_of_the_roc_curve_ties_included():
    outcome, score = planted(200, 1.0)
    assert auc(outcome, score.round()).value == pytest.approx(roc_auc_score(outcome, score.round()))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    truth = stats.norm.cdf(1 / np.sqrt(2))
    covered = sum(low <= truth <= high for _, low, high in (auc(*planted(120, 1.0, seed)) for seed in range(30)))
    assert covered >= 25  # of 30 at 95 %: fewer than 25 has a probability below 1e-3


def test_what_knows_the_outcome_adds_and_noise_does_not():
    outcome, known = planted(300, 0.7)
    informative, noise = planted(300, 1.5, seed=1)[1], planted(300, 0.0, seed=2)[1]
    assert added(outcome, known[:, None], informative[:, None]).low > 0.05
    assert abs(added(outcome, known[:, None], noise[:, None]).value) < 0.02


def test_what_is_added_is_judged_on_runs_that_were_held_out():
    outcome, known = planted(90, 0.7)
    noise = np.random.default_rng(3).normal(size=(90, 20))  # in sample, twenty columns of noise seem to add a lot
    assert added(outcome, known[:, None], noise).value < 0.03


def test_too_few_of_one_kind_is_said_and_not_computed():
    outcome = np.arange(20) < 3
    assert auc(outcome, np.arange(20.0)) is UNKNOWN
    assert added(outcome, np.ones((20, 1)), np.ones((20, 1))) is UNKNOWN
