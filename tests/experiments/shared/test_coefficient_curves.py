"""Curves of trajectories: exact values of Gaussians under every setting and block, and what is told of them."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import slt
import sweeps
import toymodels as tm
from experiments.shared import tell
from experiments.shared.coefficient_curves import Setting, curves, largest, places, transitions

H = np.array([1.0, 4.0], np.float32)
SETTINGS = {
    "loose": Setting(100.0, 10.0, 2e-3),
    "held": Setting(100.0, 400.0, 1e-3),
    "b": Setting(100.0, 10.0, 2e-3, "b"),
}


def quadratic(params, data):
    """(1/2) sum h w^2, and what is the same at all w."""
    return 0.5 * (H[0] * params["a"] ** 2 + H[1] * params["b"] ** 2) + data


def exact(setting):
    """nbeta/2 sum h/(nbeta h + gamma), with the bias of a step of SGLD."""
    h = H if setting.block == "all" else H[1:]
    precision = setting.nbeta * h + setting.gamma
    return float(np.sum(setting.nbeta * h / precision / (1 - setting.step_size * precision / 4)) / 2)


@pytest.fixture(scope="module")
def runs():
    """Two runs whose three checkpoints are all at the minimum."""
    points = sweeps.Points(sweeps.product(seed=range(2)), None, {"seed": np.arange(2)})
    zero = np.zeros((2, 3), np.float32)
    return sweeps.Runs(points, np.array([0, 5, 10]), tm.Trajectory(zero, {"a": zero, "b": zero}, zero))


@pytest.fixture(scope="module")
def found(runs):
    return curves(
        quadratic,
        runs,
        lambda at: jnp.linspace(-1, 1, 8) + at["seed"],
        lambda at: tm.key(at["seed"], "chains"),
        settings=SETTINGS,
        sampling=slt.Sampling(chains=4, warmup=100, draws=2000),
        masks={"b": {"a": False, "b": True}},
        chance=3.0,
    )


def test_every_setting_has_its_exact_value_and_the_axes_of_the_runs(found):
    assert found.value.dims == ("setting", "seed", "step")
    assert found.step.values.tolist() == [0, 5, 10]
    for name, setting in SETTINGS.items():
        here = found.sel(setting=name)
        assert (np.abs(here.value.values - exact(setting)) < 5 * here.stderr.values).all(), name
        assert here.stderr.values.max() < 0.07 * exact(setting), name


def test_checkpoints_share_random_numbers_and_runs_have_their_own_data(found):
    held = found.sel(setting="held")
    assert np.ptp(held.value.values, axis=1) == pytest.approx(0, abs=1e-5)
    assert held.value.values[0, 0] != held.value.values[1, 0]
    assert held.loss_at_centre.values == pytest.approx(np.array([[0.0] * 3, [1.0] * 3]), abs=1e-6)


def test_a_block_without_a_mask_is_refused(runs):
    with pytest.raises(ValueError, match="write one of all, or give its mask"):
        curves(
            quadratic, runs, lambda at: None, lambda at: None, settings={"b": SETTINGS["b"]}, sampling=slt.Sampling()
        )


def made(value, loss, findings=""):
    """A curve under the settings "loose" and "held"."""
    dims = ("setting", "seed", "step")
    variables = {"value": value, "loss_at_centre": loss[None], "saturation": 0.1, "findings": np.array(findings)}
    each = {name: (dims, np.broadcast_to(values, value.shape)) for name, values in variables.items()}
    return xr.Dataset(each | {"nbeta": ("setting", [100.0, 100.0])}, {"setting": ["loose", "held"]})


def test_the_loss_in_disguise_is_told():
    rng = np.random.default_rng(0)
    loss = np.linspace(2, 0.5, 12)[None] + np.zeros((3, 1))
    disguised = 100 * (2 - loss) + 0.01 * rng.normal(size=loss.shape)
    results = made(np.stack([disguised, rng.normal(size=loss.shape)]), loss)
    assert [tell.disguise(results, name, expected=True)[0].holds for name in ("loose", "held")] == [True, False]
    assert tell.disguise(results, "held")[0].holds is None
    assert tell.fits(results, "loose")[1] == pytest.approx(-100, rel=1e-2)


def test_what_verdict_finds_is_counted_by_kind():
    findings = np.array([["", "negative"], ["negative, chains disagree", ""]])
    results = made(np.zeros((2, 2, 2)), np.zeros((2, 2)), findings)
    assert tell.has(results, "negative")[0].tolist() == [[False, True], [True, False]]
    assert not tell.has(results, "disagree").any()
    assert [claim.value for claim in tell.believed(results, "loose")] == [0.5, 0.5]


def test_transitions_are_found_where_they_are_and_coincide_with_themselves():
    rng = np.random.default_rng(1)
    at = [10, 20, 30, 15, 25, 35, 12, 22]
    steps = np.array([np.arange(48) >= t for t in at])
    changes = transitions(5.0 * steps + rng.normal(size=steps.shape), 1.0)
    assert np.abs(np.array(places(largest(changes)))[:, 0] - at).max() <= 1
    coincide = lambda other: tell.aligned("-", places(largest(changes)), other, tolerance=2)[0].holds
    assert coincide(places(changes)) is True
    assert coincide([[at[(i + 3) % 8]] for i in range(8)]) is False
    assert tell.aligned("-", [[]], [[1]], tolerance=2)[0].holds is None
