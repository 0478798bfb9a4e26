"""What `geometry` counts as a line and a plateau, how its models start, and that their places do not matter."""

import jax
import numpy as np
import pytest
import xarray as xr

import sweeps
from experiments.geometry import claims, figures, over
from experiments.geometry.case import Case, deviation
from experiments.geometry.report import line, regular

CASE = Case(6, 2, std=0.3, rate=3e-3, steps=40, batch_size=32, seed=3)
GRID = over(np.geomspace(1, 0.1, 5))


def trained(grid, block):
    return sweeps.scan(CASE.onward, grid, CASE.begin, [0, 40], name="train", block=block).outputs


@pytest.fixture(scope="module")
def joint():
    return trained(GRID, 5)


def test_models_trained_beside_others_are_those_trained_alone(joint):
    few = np.array([4, 1])
    at = {name: values[few] for name, values in GRID.at.items()}
    alone = trained(sweeps.Points(at, None, {"density": at["density"]}), 1)
    expected = jax.tree.map(lambda leaf: leaf[few], joint)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), alone, expected)


def test_models_begin_with_the_deviation_asked_for_and_differ(joint):
    W = joint.params["W"][:, 0]
    assert np.std(W) == pytest.approx(0.3, rel=0.25)  # sixty entries: 9 % is a standard error
    assert len(np.unique(W)) == W.size


def test_the_notebook_starts_smaller_the_more_models_there_are():
    assert deviation(features=5, hidden=2, instances=10) == pytest.approx((2 / 30) ** 0.5)
    assert deviation(features=200, hidden=20, instances=20) == pytest.approx((2 / 4400) ** 0.5)


def test_a_line_needs_ten_features_and_twice_its_flanks():
    assert line(np.array([0.5, 0.504, 0.4875, 0.516, 0.52]), 0.5) == (2, 10)
    assert line(np.repeat([0.4, 0.3875, 0.4125], [19, 14, 3]), 0.4) == (19, 28)
    assert line(np.repeat([0.4, 0.3875, 0.4125], [19, 3, 6]), 0.4) == (19, 12)


def test_features_are_named_after_the_figure_of_their_block():
    W, t = np.zeros((4, 10), np.float32), 2 * np.pi * np.arange(5) / 5
    W[:2, :4], W[2:, 4:9] = np.kron(np.eye(2), [[1.0, -1.0]]), np.array([np.cos(t), np.sin(t)])
    assert figures(W).tolist() == ["digon"] * 4 + ["pentagon"] * 5 + [""]


def planted() -> xr.Dataset:
    """Four models of 24 features in 12 dimensions: 12 dedicated, and three of 12 digons; lambda-hat as in theory."""
    digons, dense = np.kron(np.eye(12), [[1.0, -1.0]]), np.append(np.eye(12), np.zeros((12, 12)), axis=1)
    W = np.stack([dense, digons, digons, digons]).astype(np.float32)
    D = np.stack([np.repeat([1.0, 0.0], 12), *np.full((3, 24), 0.5)])
    feature = "density", "feature"
    each = dict(loss_at_centre=1.0, chance=4.0, stderr=0.1, gaussian_stderr=0.1, slope=0.0)
    variables = {name: ("density", np.full(4, value)) for name, value in each.items()} | {
        "dimensionality": (feature, D),
        "polytope": (feature, np.stack([figures(w) for w in W])),
        "dimensions_per_feature": (("density", "step"), np.array([[1.0], [0.5], [0.5], [0.5]])),
        "value": ("density", np.array([51.0, 110, 110, 110])),
        "gaussian": ("density", np.array([51.0, 110, 110, 110])),
        "findings": ("density", np.full(4, "", "<U20")),
    }
    about = {"features": 24, "hidden": 12, "strength": 0.3}
    return xr.Dataset(variables, {"density": [1.0, 0.4, 0.3, 0.2], "step": [100]}, about)


def failed(**changed) -> list[str]:
    """The claims that fail, but for the pentagon's line, once variables are others."""
    results = planted()
    for name, values in changed.items():
        results[name] = results[name].dims, np.broadcast_to(values, results[name].shape)
    return [claim.text for claim in claims(results) if claim.holds is False and "pentagon" not in claim.text]


def test_claims_hold_of_what_is_known():
    assert failed() == []
    assert regular(planted()) == (51, 123)


def test_a_line_that_is_not_there_is_a_failed_prediction():
    assert [claim.holds for claim in claims(planted()) if "line D_i" in claim.text] == [True, False]


@pytest.mark.parametrize(
    ("changed", "caught"),
    [
        (dict(dimensionality=0.6), ["features on the line D_i = 1/2"]),
        (dict(dimensions_per_feature=[[0.8], [0.5], [0.5], [0.54]]), ["densities", "densities"]),
        (dict(polytope="5/4"), ["where D* is at 1/2, live"]),
        (dict(value=[110.0, 51, 51, 51]), ["lambda-hat where", "least lambda-hat", "lambda-hat within"]),
        (dict(value=[52.0, 60, 70, 120]), ["lambda-hat within"]),
        (dict(findings=["negative, escaped", "", "", ""]), ["models whose"]),
    ],
)
def test_what_is_false_is_caught(changed, caught):
    texts = failed(**changed)
    assert len(texts) == len(caught), texts
    assert all(text.startswith(start) for text, start in zip(texts, caught, strict=True))
