"""Curves of trajectories: exact values of Gaussians under every setting and block, and what is claimed of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from experiments import curves
from experiments.curves import Setting
from slt.phases import ChangePoint

H = np.array([1.0, 4.0], np.float32)
SETTINGS = {"loose": Setting(100.0, 10.0, 2e-3), "held": Setting(100.0, 400.0, 1e-3), "b": Setting(100.0, 10.0, 2e-3, "b")}  # fmt: skip


def quadratic(params, data):
    """(1/2) sum h w^2 about the point of each example, less which all are the same."""
    return 0.5 * (H[0] * params["a"] ** 2 + H[1] * params["b"] ** 2) + data


def exact(setting):
    """nbeta/2 sum h/(nbeta h + gamma), with the bias of a step of SGLD."""
    h = H if setting.block == "all" else H[1:]
    precision = setting.nbeta * h + setting.gamma
    return float(np.sum(setting.nbeta * h / precision / (1 - setting.step_size * precision / 4)) / 2)


@pytest.fixture(scope="module")
def found():
    params = {"a": np.zeros((2, 3), np.float32), "b": np.zeros((2, 3), np.float32)}
    return curves.curves(
        lambda seed: jax.random.key(seed), quadratic, params, lambda seed: jnp.linspace(-1, 1, 8) + seed,
        seeds=[0, 1], settings=SETTINGS, masks={"b": {"a": False, "b": True}}, chains=4, warmup=100, draws=2000,
        chance=3.0,
    )  # fmt: skip


def test_every_setting_has_its_exact_value(found):
    for name, setting in SETTINGS.items():
        here = found.sel(setting=name)
        assert here.value.values == pytest.approx(exact(setting), rel=0.1), name
        assert (np.abs(here.value.values - exact(setting)) < 5 * here.stderr.values).all(), name
        assert here.stderr.values.max() < 0.07 * exact(setting), name


def test_checkpoints_share_random_numbers_and_runs_have_their_own_data(found):
    held = found.sel(setting="held")
    assert np.ptp(held.value.values, axis=1) == pytest.approx(0, abs=1e-5)
    assert held.value.values[0, 0] != held.value.values[1, 0]
    assert held.loss_at_centre.values == pytest.approx(np.array([[0.0] * 3, [1.0] * 3]), abs=1e-6)


def test_a_block_without_a_mask_is_refused():
    with pytest.raises(ValueError, match="write one of all, or give its mask"):
        curves._moving({"a": np.zeros((1, 1))}, {}, {"b": SETTINGS["b"]})


def test_the_loss_in_disguise_is_told():
    rng = np.random.default_rng(0)
    loss = np.linspace(2, 0.5, 12)[None] + np.zeros((3, 1))
    disguised = 100 * (2 - loss) + 0.01 * rng.normal(size=loss.shape)
    results = found_like(np.stack([disguised, rng.normal(size=loss.shape)]), loss)
    assert curves.disguise(results, "loose", source="-", expected=True).holds is True
    assert curves.disguise(results, "held", source="-", expected=True).holds is False
    assert "-1.00" in curves.disguise(results, "loose", source="-").measured


def found_like(value, loss):
    shape = value.shape
    dims = ("setting", "run", "time")
    variables = {name: (dims, np.broadcast_to(x, shape)) for name, x in {"value": value, "loss_at_centre": loss[None], "saturation": 0.1}.items()}  # fmt: skip
    return xr.Dataset(variables | {"nbeta": ("setting", [100.0, 100.0])}, {"setting": ["loose", "held"]})


def test_transitions_are_found_where_they_are_and_coincide_with_themselves():
    rng = np.random.default_rng(1)
    at = [10, 20, 30, 15, 25, 35, 12, 22]
    steps = np.array([np.arange(48) >= t for t in at])
    changes = curves.transitions(5.0 * steps + rng.normal(size=steps.shape), 1.0)
    assert all(isinstance(run[0], ChangePoint) for run in changes)
    assert np.abs(np.array(curves.largest(changes))[:, 0] - at).max() <= 1
    assert curves.aligned("-", curves.largest(changes), curves.places(changes), tolerance=2, source="-").holds is True
    other = [[at[(i + 3) % 8]] for i in range(8)]
    assert curves.aligned("-", curves.largest(changes), other, tolerance=2, source="-").holds is False
    assert curves.aligned("-", [[]], [[1]], tolerance=2, source="-").holds is None
