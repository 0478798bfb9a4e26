"""A curve that is the loss in disguise is called so, one that is not is left alone, and findings are counted."""

import jax.numpy as jnp
import numpy as np

from slt.chains import Chains
from slt.curves import curve_verdict, regress
from slt.estimate import summary

LOSS = np.linspace(4.4, 1.9, 10)


def curve(rise):
    """The estimates of checkpoints with L(w*) = LOSS and E[L] = LOSS + rise at nbeta = 100."""
    trace = jnp.asarray(np.random.default_rng(0).gamma(1.0, size=(4, 400)), jnp.float32)
    one = summary(
        Chains(trace, jnp.full(4, 0.99), ()),
        nbeta=1.0,
        loss_at_centre=jnp.zeros(()),
        exact=True,
        rejects=False,
        free=100,
    )
    every = one._make(np.stack([leaf] * len(LOSS)) for leaf in one)
    return every._replace(value=100 * rise, loss_at_centre=LOSS, mean_loss=LOSS + rise)


def kinds(llc):
    return [finding.kind for finding in curve_verdict(llc)]


def test_a_curve_whose_chains_all_end_at_one_loss_is_saturated_and_its_regression_is_exact():
    saturated = curve(4.43 - LOSS)
    np.testing.assert_allclose(regress(saturated), (-100, 443, 1), rtol=1e-6)
    assert kinds(saturated) == ["saturated curve"]


def test_a_curve_that_is_the_loss_in_another_way_is_called_affine_and_one_that_is_not_is_left_alone():
    assert kinds(curve(0.1 * (5 - LOSS))) == ["affine in the loss"]
    assert kinds(curve(0.1 + 0.01 * np.cos(8 * LOSS))) == []
    assert np.isnan(regress(curve(np.zeros(10)))).all()


def test_a_curve_counts_what_is_found_at_its_checkpoints():
    llc = curve(0.1 + 0.01 * np.cos(8 * LOSS))
    llc = llc._replace(value=np.where(np.arange(10) < 3, -1.0, llc.value))
    (finding,) = curve_verdict(llc)
    assert finding.kind == "negative"
    assert finding.text.startswith("3 of 10 ")
