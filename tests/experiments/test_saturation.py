"""The claims of `saturation` on curves made up from what is known of a deep linear network, true and false."""

import numpy as np
import pytest
import xarray as xr

from experiments.saturation.report import claims, exact, learned_at, rank, shares, steps, transitions

TARGET, NBETA = np.array([4.0, 2.0, 1.0, 0, 0, 0]), np.array([1.0, 3e4, 3e4])
STARTS = ((6, 12, 18), (4, 11, 19))  # of the plateaus of 1, 2 and 3 learned values, of two runs
LAMBDA, SHRUNKEN, TRACE = [0, 5.5, 10, 13.5], [0, 2.31, 3.55, 4.22], [0, 82.5, 123.3, 144.5]
EVERY = ("setting", "seed", "step")
CHAINS = ("value", "stderr", "mean_loss", "findings")


def made_up(level=SHRUNKEN):
    """Two runs of 25 checkpoints; localised curves with these levels and a negative value before each transition."""
    time, noise = np.arange(25), 0.03
    ranks = np.array([np.sum(time[:, None] >= starts, axis=1) for starts in STARTS])
    loss = np.array([10.5, 2.5, 0.5, 0.0])[ranks]
    before = np.array([np.isin(time, np.array(starts) - 1) for starts in STARTS])
    rng = np.random.default_rng(1)
    value = np.empty((3, *loss.shape))
    value[0] = NBETA[0] * (9.5 - loss) + 0.01 * rng.normal(size=loss.shape)
    value[1] = np.where(before, -50.0, np.array(level, float)[ranks]) + 0.02 * rng.normal(size=loss.shape)
    value[2] = np.where(before, -2e4, np.array(LAMBDA)[ranks])
    variables = {
        "value": (EVERY, value),
        "stderr": (EVERY, np.full(value.shape, noise)),
        "mean_loss": (EVERY, loss + value / NBETA[:, None, None]),
        "saturation": (EVERY, np.zeros(value.shape)),
        "findings": (EVERY, np.where(value < -2 * noise, "negative", "")),
        "hessian_sum": (EVERY[1:], np.array(SHRUNKEN)[ranks]),
        "loss": (EVERY[1:], loss),
        "trace": (EVERY[1:], np.array(TRACE)[ranks]),
        "learned": ((*EVERY[1:], "value_of"), np.where(np.arange(6) < ranks[..., None], TARGET, 0.0)),
        "target": ("value_of", TARGET),
        "nbeta": ("setting", NBETA),
        "loss_at_centre": (EVERY, np.broadcast_to(loss, value.shape)),
    }
    coordinates = {"setting": ["loose", "localised", "weak"], "seed": [0, 1], "step": time}
    return xr.Dataset(variables, coordinates, {"strength": 10.0, "chance": 10.5})


def renamed(results, *, one, other):
    """The chains of `one` setting under the name of the `other` as well."""
    wrong = results.copy(deep=True)
    for name in CHAINS:
        wrong[name].loc[{"setting": other}] = results[name].sel(setting=one).values
    return wrong


def failed(results):
    return {claim.text for claim in claims(results) if claim.holds is False}


def test_the_claims_hold_of_what_is_known():
    assert failed(made_up()) == set()


def test_loose_chains_that_are_called_localised_are_caught():
    texts = failed(renamed(made_up(), one="loose", other="localised"))
    assert {text for text in texts if text.startswith("localised: R^2")}
    assert "localised: share of the whole change made by the last value" in texts


def test_localised_chains_that_are_called_loose_are_no_saturated_curve():
    texts = failed(renamed(made_up(), one="localised", other="loose"))
    assert {text for text in texts if text.startswith("loose: R^2")}


def test_levels_that_the_loss_gives_as_well_are_told_from_the_coefficients():
    assert "localised: share of the whole change made by the last value" in failed(made_up([0, 3.2, 4.0, 4.2]))


@pytest.mark.parametrize("lost", [0, 1])
def test_a_transition_that_the_localised_curve_does_not_show_is_missed(lost):
    level = list(SHRUNKEN)
    level[lost + 1] = level[lost]
    assert {text for text in failed(made_up(level)) if "change point of localised" in text}


def test_plateaus_shares_and_times():
    results = made_up()
    assert rank(results)[0, [0, 7, 13, 24]].tolist() == [0, 1, 2, 3]
    assert learned_at(results) == [list(starts) for starts in STARTS]
    assert transitions(results)["the loss"] == learned_at(results)
    np.testing.assert_allclose(exact(results), LAMBDA)
    np.testing.assert_allclose(shares(results)["the loss"], [8 / 10.5, 2 / 10.5, 0.5 / 10.5])
    np.testing.assert_allclose(steps(exact(results)), [5.5 / 13.5, 4.5 / 13.5, 3.5 / 13.5])
