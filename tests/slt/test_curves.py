"""A curve that is the loss in disguise is called so, one that is not is left alone, and findings are counted."""

import numpy as np

from slt.curves import curve_verdict, regress
from slt.estimate import LLC

LOSS = np.linspace(4.4, 1.9, 10)
TRACE = np.random.default_rng(0).gamma(1.0, size=(10, 4, 400))
KNOWN = dict(
    stderr=0.025, ess=1600, rhat=1.0, acceptance=0.99, exact=True, rejects=False, saturation=np.nan, step_bias=0.01
)


def curve(rise):
    """The estimates of checkpoints with L(w*) = LOSS and E[L] = LOSS + rise at nbeta = 100."""
    known = {name: np.full(10, value) for name, value in KNOWN.items()}
    losses = dict(loss_at_centre=LOSS, mean_loss=LOSS + rise)
    value, free = 100 * rise, np.full(10, 100.0)
    known |= dict(plain=value, plain_stderr=known["stderr"], held=free, held_stderr=np.ones(10), held_by={})
    return LLC(value=value, free=free, tilt=np.zeros(10), tilt_stderr=np.ones(10), trace=TRACE, **losses, **known)


def kinds(llc):
    return [finding.kind for finding in curve_verdict(llc)]


def test_a_curve_whose_chains_all_end_at_one_loss_is_saturated_and_its_regression_is_exact():
    saturated = curve(4.43 - LOSS)
    np.testing.assert_allclose(regress(saturated.loss_at_centre, saturated.value), (-100, 443, 1), rtol=1e-6)
    assert kinds(saturated) == ["saturated curve"]


def test_a_curve_that_is_the_loss_in_another_way_is_called_affine_and_one_that_is_not_is_left_alone():
    assert kinds(curve(0.1 * (5 - LOSS))) == ["affine in the loss"]
    assert kinds(curve(0.1 + 0.01 * np.cos(8 * LOSS))) == []
    assert np.isnan(regress(LOSS, np.zeros(10))).all()


def test_a_curve_counts_what_is_found_at_its_checkpoints():
    llc = curve(0.1 + 0.01 * np.cos(8 * LOSS))
    (finding,) = curve_verdict(llc._replace(value=np.where(np.arange(10) < 3, -1.0, llc.value)))
    assert finding.kind == "negative"
    assert finding.text.startswith("3 of 10 ")
