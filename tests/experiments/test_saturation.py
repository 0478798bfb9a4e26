"""The claims of `saturation` on curves made up from what is known of a deep linear network, true ones and false ones."""

import numpy as np
import pytest
import xarray as xr

from experiments.saturation.report import claims, exact, learned_at, rank, share, shares, transitions
from slt.curves import curve_verdict
from slt.estimate import LLC

TARGET, STRENGTHS, NBETA = np.array([4.0, 2.0, 1.0, 0, 0, 0]), [0.1, 10.0], (1.0, 3e4)
STARTS = ((6, 12, 18), (4, 11, 19))  # of the plateaus of 1, 2 and 3 learned values, of two runs
LAMBDA, SHRUNKEN, TRACE = [0, 5.5, 10, 13.5], [0, 2.31, 3.55, 4.22], [0, 82.5, 123.3, 144.5]


def _findings(value, loss, nbeta, noise):
    """What `curve_verdict` says of chains with these means, and which single estimates are negative."""
    time, rng = len(value), np.random.default_rng(0)
    rest = dict(ess=np.full(time, 1000.0), rhat=np.ones(time), acceptance=np.ones(time), saturation=np.zeros(time), baseline_noise=np.zeros(time), step_bias=np.zeros(time), free=np.full(time, 54.0), stderr=np.full(time, noise))  # fmt: skip
    trace = value[:, None, None] + noise * rng.normal(size=(time, 2, 200))
    llc = LLC(value=value, loss_at_centre=loss, mean_loss=loss + value / nbeta, trace=trace, **rest)  # type: ignore[arg-type]
    each = np.where(value < -2 * noise, "negative", "")
    return ", ".join(line.split(":")[0] for line in curve_verdict(llc)), each


def made_up(level=SHRUNKEN):
    """Two runs of 25 checkpoints; localised curves with these levels and a negative value before each transition."""
    runs, time = len(STARTS), 25
    ranks = np.array([np.sum(np.arange(time)[:, None] >= starts, axis=1) for starts in STARTS])
    loss = np.array([10.5, 2.5, 0.5, 0.0])[ranks]
    before = np.array([np.isin(np.arange(time), np.array(starts) - 1) for starts in STARTS])
    rng = np.random.default_rng(1)
    value = np.empty((runs, time, 2, 2))
    value[:, :, 0, :] = (NBETA[0] * (9.5 - loss) + 0.01 * rng.normal(size=loss.shape))[..., None]
    value[:, :, 1, 0] = np.where(before, -2e4, np.array(LAMBDA)[ranks])
    value[:, :, 1, 1] = np.where(before, -50.0, np.array(level, float)[ranks]) + 0.02 * rng.normal(size=loss.shape)
    every, noise = ("run", "time", "temperature", "strength"), 0.03
    texts = [[[_findings(value[r, :, t, s], loss[r], NBETA[t], noise) for s in range(2)] for t in range(2)] for r in range(runs)]  # fmt: skip
    smooth = np.broadcast_to(np.array(SHRUNKEN)[ranks][..., None, None], value.shape)
    variables = {
        "value": (every, value),
        "stderr": (every, np.full(value.shape, noise)),
        "mean_loss": (every, loss[..., None, None] + value / np.array(NBETA)[:, None]),
        "findings": (every, np.array([[[s[1] for s in t] for t in r] for r in texts]).transpose(0, 3, 1, 2)),
        "curve_findings": (("run", *every[2:]), np.array([[[s[0] for s in t] for t in r] for r in texts])),
        "hessian_sum": (every, smooth),
        "quadratic": (every, np.where(before[..., None, None], -50.0, smooth)),
        "loss": (every[:2], loss),
        "trace": (every[:2], np.array(TRACE)[ranks]),
        "learned": ((*every[:2], "value_of"), np.where(np.arange(6) < ranks[..., None], TARGET, 0.0)),
        "target": ("value_of", TARGET),
        "nbeta": ("temperature", np.array(NBETA)),
    }
    coordinates = {"temperature": ["loose", "localised"], "strength": STRENGTHS}
    return xr.Dataset(variables, coordinates, {"strength": 10.0, "chance": 10.5, "calibration": "gamma 3e5: as given"})


def mislabelled(results):
    """The loose chains under the name of the localised ones."""
    wrong = results.copy(deep=True)
    for name in ("value", "stderr", "mean_loss", "findings", "curve_findings"):
        wrong[name].loc[{"temperature": "localised"}] = results[name].sel(temperature="loose").values
    return wrong


def failed(results):
    return {claim.text.split(":")[0].split(",")[0] for claim in claims(results) if claim.holds is False}


def test_the_claims_hold_of_what_is_known():
    assert failed(made_up()) == set()


def test_loose_chains_that_are_called_localised_are_caught():
    texts = [claim.text for claim in claims(mislabelled(made_up())) if claim.holds is False]
    caught = ("localised: R^2", "curve_verdict calls", "share of the whole change made as each singular value is learned: localised", "localised, gamma", "gamma = 0.1 nbeta: lambda-hat of the minimum")  # fmt: skip
    assert all(any(text.startswith(one) for text in texts) for one in caught)


def test_localised_chains_that_are_called_loose_are_no_saturated_curve():
    right = made_up()
    wrong = right.copy(deep=True)
    for name in ("value", "mean_loss", "curve_findings"):
        wrong[name].loc[{"temperature": "loose"}] = right[name].sel(temperature="localised").values
    texts = [claim.text for claim in claims(wrong) if claim.holds is False]
    assert all(any(text.startswith(one) for text in texts) for one in ("loose: R^2", "curve_verdict calls"))


def test_levels_that_the_loss_gives_as_well_are_told_from_the_coefficients():
    assert "share of the whole change made as each singular value is learned" in failed(made_up([0, 3.2, 4.0, 4.2]))


def test_plateaus_shares_and_times():
    results = made_up()
    assert rank(results)[0, [0, 7, 13, 24]].tolist() == [0, 1, 2, 3]
    assert learned_at(results) == [list(starts) for starts in STARTS]
    assert transitions(results)["loss"] == learned_at(results)
    np.testing.assert_allclose(exact(results), LAMBDA)
    np.testing.assert_allclose(shares(results, results.loss.values), [8 / 10.5, 2 / 10.5, 0.5 / 10.5])
    np.testing.assert_allclose(share(exact(results)), [5.5 / 13.5, 4.5 / 13.5, 3.5 / 13.5])


@pytest.mark.parametrize("lost", [0, 1])
def test_a_transition_that_the_localised_curve_does_not_show_is_missed(lost):
    level = list(SHRUNKEN)
    level[lost + 1] = level[lost]
    missing = [claim for claim in claims(made_up(level)) if "change point of localised" in claim.text]
    assert missing[0].holds is False
