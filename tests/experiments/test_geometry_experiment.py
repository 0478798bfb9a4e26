"""The experiment `geometry`: training beside others is training alone, both initialisations, lines and names."""

import functools

import jax
import numpy as np
import pytest
import xarray as xr

from experiments import geometry
from experiments.geometry import deviation, figures, points, train
from experiments.geometry.report import capacity, claims, is_line, line, regular, summary
from toymodels.prng import implementation

KEY = functools.partial(geometry._key, implementation("lowbias32"))
SETTINGS = dict(features=6, hidden=2, std=0.3, rate=3e-3, batch_size=32)
GRID = points(np.geomspace(1, 0.1, 5), seed=3)
CHECKPOINTS = np.array([0, 20, 40], np.int32)


def rows(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


@pytest.fixture(scope="module")
def joint():
    return train(KEY, GRID, CHECKPOINTS, **SETTINGS, block=5)


def test_models_trained_beside_others_are_those_trained_alone(joint):
    """Five in one program, against one at a time, and without the rest; a difference would grow at every step."""
    few = np.array([4, 1])
    alone = train(KEY, rows(GRID, few), CHECKPOINTS, **SETTINGS, block=1)
    for name in ("W", "b"):
        np.testing.assert_allclose(alone.params[name], joint.params[name][few], atol=1e-6)
    np.testing.assert_allclose(alone.loss, joint.loss[few], rtol=1e-5)


def test_models_begin_with_the_deviation_asked_for_and_differ(joint):
    W = joint.params["W"][:, 0]
    assert np.std(W) == pytest.approx(0.3, rel=0.25)  # sixty entries: 9 % is a standard error
    assert len(np.unique(W)) == W.size


def test_the_two_initialisations():
    """The notebook's 5-2 and 200-20; `xavier_normal_` of one model; only the first knows how many there are."""
    of = functools.partial(deviation, "notebook")
    assert of(features=5, hidden=2, instances=10) == pytest.approx((2 / 30) ** 0.5)
    assert of(features=200, hidden=20, instances=20) == pytest.approx((2 / 4400) ** 0.5)
    single = [deviation("xavier", features=200, hidden=20, instances=i) for i in (1, 20)]
    assert single == [pytest.approx((2 / 220) ** 0.5)] * 2


def test_a_line_stands_above_its_flanks():
    assert line(np.array([0.5, 0.504, 0.4875, 0.516, 0.52]), 0.5) == (2, 1, 1)
    assert is_line(10, 5, 5)
    assert not is_line(9, 0, 0)
    assert not is_line(20, 11, 0)
    assert not is_line(20, 0, 11)


DIGONS, PENTAGON = np.array([[1.0, -1, 0, 0], [0, 0, 1, -1]]), np.array([np.cos(t := 2 * np.pi * np.arange(5) / 5), np.sin(t)])  # fmt: skip


def test_blocks_are_named_for_each_feature_and_counted():
    W = np.zeros((4, 10), np.float32)
    W[:2, :4], W[2:, 4:9] = DIGONS, PENTAGON
    names = figures(W)
    assert names == ["digon"] * 4 + ["pentagon"] * 5 + [""]
    assert summary(np.array(names)) == "1 pentagon, 2 digon"
    assert summary(np.array(["7/3"] * 7)) == "1 7/3"


def test_capacity_of_a_regular_figure():
    np.testing.assert_allclose(capacity(1.3 * PENTAGON), 2 / 5, rtol=1e-12)
    np.testing.assert_allclose(capacity(np.append(DIGONS, np.zeros((2, 1)), axis=1)), [0.5] * 4 + [0], rtol=1e-12)


def made_up() -> xr.Dataset:
    """Four models of 24 features in 12 dimensions: 12 dedicated, and 12 digons at three densities; lambda-hat as in theory."""
    digons, dense = np.kron(np.eye(12), [[1.0, -1.0]]), np.append(np.eye(12), np.zeros((12, 12)), axis=1)
    W = np.stack([dense, digons, digons, digons]).astype(np.float32)
    D = np.stack([np.repeat([1.0, 0.0], 12), *np.full((3, 24), 0.5)])
    per, value = "density", np.array([51.0, 240, 240, 240])
    variables = {
        "W": ((per, "hidden", "feature"), W), "dimensionality": ((per, "feature"), D), "leverage": ((per, "feature"), D),
        "polytope": ((per, "feature"), np.array([figures(w) for w in W])),
        "dimensions_per_feature": ((per, "step"), np.array([[1.0], [0.5], [0.5], [0.5]])),
        "test_loss": (per, np.array([3.0, 2, 1.5, 1])), "chance": (per, np.full(4, 4.0)), "silent": (per, np.zeros(4, int)), "slope": (per, np.zeros(4)), "rhat": (per, np.ones(4)),
    }  # fmt: skip
    variables |= dict.fromkeys(("stderr", "gaussian_stderr"), (per, np.full(4, 0.1)))
    variables |= dict.fromkeys(("value", "gaussian"), (per, value))
    return xr.Dataset(variables, {"density": [1.0, 0.4, 0.3, 0.2], "step": [100]}, {"strength": 0.1})


def wrong(name: str, values) -> list[str]:
    """The claims that fail once a variable is another."""
    results = made_up()
    results[name] = results[name].dims, np.broadcast_to(values, results[name].shape)
    return [claim.text for claim in claims(results) if claim.holds is False]


def test_claims_hold_of_what_is_known():
    assert [claim.text for claim in claims(made_up()) if claim.holds is False] == []
    assert regular(made_up()) == ((78 + 24) / 2, (24 * 12 + 24 - 66) / 2)


@pytest.mark.parametrize(
    ("name", "values", "caught"),
    [
        ("dimensionality", 0.6, ["sum_i D_i <=", "leverage", "the capacity", "features on the line D_i = 1/2"]),
        ("leverage", 0.4, ["leverage"]),
        ("dimensions_per_feature", np.array([[0.8], [0.5], [0.5], [0.54]]), ["D* from", "D* sticks at 1/2"]),
        ("polytope", "5/4", ["where D* is at 1/2, live"]),
        ("value", np.array([240.0, 51, 51, 51]), ["lambda-hat where", "densities where lambda-hat is"]),
        ("value", np.array([52.0, 150, 300, 100]), ["densities where lambda-hat is"]),
        ("value", np.array([-50.0, 240, 240, 240]), ["densities whose lambda-hat"]),
    ],
)
def test_what_is_false_is_caught(name, values, caught):
    texts = wrong(name, values)
    assert len(texts) == len(caught)
    assert all(text.startswith(start) for text, start in zip(texts, caught, strict=True))
