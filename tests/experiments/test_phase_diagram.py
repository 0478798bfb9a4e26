"""The experiment `phase_diagram`: the closed form against quadrature, the boundaries, the fates, and what its claims catch."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from experiments.phase_diagram import _nodes, _train, fate, population_loss
from experiments.phase_diagram.report import claims, competitors, ends, rival, winners
from experiments.phase_diagram.theory import (
    CONFUSED,
    DEDICATED,
    IGNORED,
    NAMES,
    SUPERPOSED,
    TRIPLE_POINT,
    boundary,
    predicted,
    prototypes,
)

# (W, indices of the ignored features) of each prototype, in the order of `prototypes`
PROTOTYPES = {
    2: [([[1, 0]], [1]), ([[1, -1]], []), ([[0, 1]], [0])],
    3: [
        ([[1, 0, 0], [0, 1, 0]], [2]),
        ([[1, 0, 0], [0, 1, -1]], []),
        ([[1, 0, 0], [0, 0, 1]], [1]),
        ([[1, -1, 0], [0, 0, 1]], []),
    ],
}


@pytest.mark.parametrize("features", [2, 3])
@pytest.mark.parametrize(("s", "r"), [(0.05, 1.0), (0.3, 0.3), (0.8, 4.0), (1.0, 1.0)])
def test_the_losses_of_the_prototypes_are_those_of_the_models(features, s, r):
    exact = prototypes(features, np.array([s]), np.array([r]))[0]
    batch = _nodes(features, jnp.float32(s), jnp.float32(r), {2: 40, 3: 20}[features])
    for W, ignored in PROTOTYPES[features]:
        b = np.isin(np.arange(features), ignored) * s / 2
        loss = population_loss({"W": jnp.float32(W), "b": jnp.float32(b)}, batch).mean()
        assert loss == pytest.approx(
            exact[PROTOTYPES[features].index((W, ignored))], rel=4e-3
        )  # there is a kink at x_1 = x_2


def test_the_boundary_is_where_two_prototypes_cost_the_same():
    r = np.geomspace(0.1, 10, 41)
    losses = prototypes(2, boundary(r), r)
    np.testing.assert_allclose(losses[:, SUPERPOSED], np.minimum(losses[:, IGNORED], losses[:, DEDICATED]), rtol=1e-12)
    np.testing.assert_allclose(boundary(np.array([0.1, 0.3, 3, 10])), [0.16, 12 / 35, 4 / 11, 0.16], rtol=1e-12)
    np.testing.assert_allclose(boundary(r), boundary(1 / r), rtol=1e-12)  # its mirror


def test_the_triple_point():
    r, s = TRIPLE_POINT
    assert (r, s) == (1, 4 / 7)
    np.testing.assert_allclose(np.ptp(prototypes(2, np.array([s]), np.array([r]))[:, :3]), 0, atol=1e-16)
    assert boundary(np.array([r]))[0] == pytest.approx(s)


@pytest.mark.parametrize("features", [2, 3])
def test_which_prototype_is_least_on_either_side_of_the_boundaries(features):
    r = np.array([0.2, 0.2, 5.0, 5.0, 5.0])
    s = np.append(boundary(r[:4]) * [0.99, 1.01, 0.99, 1.01], 0.99 * 4 / 7)
    found, kept = predicted(features, s, r)
    if features == 2:
        assert found.tolist() == [SUPERPOSED, IGNORED, SUPERPOSED, DEDICATED, DEDICATED]
        assert kept.tolist() == [2, 1, 2, 1, 1]
    else:
        assert found.tolist() == [SUPERPOSED, IGNORED, DEDICATED, DEDICATED, DEDICATED]
        assert kept.tolist() == [3, 2, 3, 3, 3]
        assert predicted(3, np.array([1.01 * 4 / 7]), np.array([5.0]))[1].tolist() == [2]


@pytest.mark.parametrize(
    ("W", "expected"),
    [
        ([[1, 0]], IGNORED),
        ([[1, 0.2]], IGNORED),
        ([[1, -1]], SUPERPOSED),
        ([[0, 1.1]], DEDICATED),
        ([[1, 0.5]], CONFUSED),
        ([[0.5, 1]], CONFUSED),
        ([[1, 0, 0], [0, 1, -1]], SUPERPOSED),
        ([[1, -1, 0], [0, 0, 1]], DEDICATED),
        ([[1, 0, 0], [0, 1, 0]], IGNORED),
    ],
)
def test_the_fate_of_the_last_feature(W, expected):
    assert fate(jnp.float32(W)) == expected


def test_training_finds_the_minima_below_the_prototypes():
    """(s, r) = (0.3, 1) and (0.8, 1), with biases free: 0.02931 for 0.03 and 0.10552 for 0.10667."""
    at = {"s": np.float32([0.3, 0.8]), "r": np.float32([1, 1]), "index": np.arange(2, dtype=np.int32)}
    loss = _train(2, at, models=6, steps=400, rate=0.05, order=8, seed=0)["loss"].min("model").values
    np.testing.assert_allclose(loss, [0.02931, 0.10552], atol=3e-5)


def test_where_a_column_ends():
    density = np.array([1.0, 2, 4, 8])
    inside = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1], [1, 0, 0, 1]], bool)
    np.testing.assert_allclose(ends(density, inside), [8, 8**0.5, 2**0.5, np.nan])


def made_up(points: int = 25) -> xr.Dataset:
    """What theory says, as if it had been measured: two fates at each point, lambda-hat half the directions."""
    s, r = np.geomspace(0.01, 1, points), np.geomspace(0.1, 10, points)
    grid = [axis.ravel() for axis in np.meshgrid(s, r, indexing="ij")]
    return xr.concat([_plane(n, s, r, grid) for n in (2, 3)], xr.Variable("features", [2, 3])).assign(
        known_minimum=("known", [0.02931, 0.00083, 0.01826, 0.10552, 1 / 12])
    )


def _plane(n: int, s: np.ndarray, r: np.ndarray, grid: list[np.ndarray]) -> xr.Dataset:
    fold = lambda values: np.reshape(values, (len(s), len(r), *np.shape(values)[1:]))
    least = prototypes(n, *grid).min(axis=1)
    winner, kept = predicted(n, *grid)
    best = np.arange(len(NAMES)) == winner[:, None]
    confused = np.where((grid[0] > 0.5) & (grid[0] < 0.6), CONFUSED, winner) if n == 3 else winner
    confused = np.where(grid[0] > 0.9, CONFUSED, winner) if n == 2 else confused
    best = np.arange(len(NAMES)) == confused[:, None]
    second = np.arange(len(NAMES)) == (confused[:, None] + 1) % 4
    loss = np.where(best, 0.95 * least[:, None], np.where(second, least[:, None], np.inf))
    half, plane, each = {2: 2.0, 3: 4.0}[n], ("density", "importance"), ("density", "importance", "fate")
    number = np.where(np.isfinite(loss), half, np.nan)
    variables = {
        "loss": (each, fold(loss)), "winner": (plane, fold(confused)), "predicted": (plane, fold(winner)),
        "kept": (each, fold(np.repeat(kept[:, None], 4, 1))), "predicted_kept": (plane, fold(kept)), "prototype": (plane, fold(least)),
        "value": (each, fold(number)), "hessian": (each, fold(number)), "stderr": (each, fold(0.02 * number)),
    }  # fmt: skip
    return xr.Dataset(variables, {"density": s, "importance": r, "fate": list(NAMES)})


def failed(results: xr.Dataset) -> list[str]:
    return [claim.text for claim in claims(results) if claim.holds is False]


def test_claims_hold_of_what_is_known():
    assert failed(made_up()) == []


@pytest.mark.parametrize(
    ("name", "change", "caught"),
    [
        ("winner", lambda winner: np.roll(winner, 3, axis=1), ["n = 2, m = 1: fate", "n = 2, m = 1: superposition", "n = 3, m = 2: superposition", "triple point"]),
        ("winner", lambda winner: np.where(winner == CONFUSED, DEDICATED, winner), ["a third, confused"]),
        ("kept", lambda kept: np.roll(kept, 4, axis=1), ["n = 3, r > 1"]),
        ("known_minimum", lambda known: known + 2e-4, ["n = 2: least loss"]),
        ("value", lambda value: 0.8 * value, ["n = 2: lambda-hat", "n = 3: lambda-hat"]),
    ],
)  # fmt: skip
def test_what_is_false_is_caught(name, change, caught):
    results = made_up()
    results[name] = results[name].dims, change(results[name].values)
    texts = failed(results)
    assert all(any(text.startswith(start) for text in texts) for start in caught)
    assert len(texts) <= len(caught) + 2


def test_winners_and_competitors():
    plane = made_up(5).sel(features=2)
    assert np.all(winners(plane, "loss") < competitors(plane, "loss"))
    np.testing.assert_allclose(competitors(plane, "loss"), rival(plane).min("fate"))
    alone = plane.assign(loss=plane.loss.where(plane.fate == np.array(NAMES)[plane.winner[0, 0]], np.inf))
    assert np.isnan(competitors(alone, "value")[0, 0])
