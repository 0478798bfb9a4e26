"""What `phase_diagram` says of fates and boundaries: the closed form against quadrature, and planted planes."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import sweeps
from experiments.phase_diagram import best
from experiments.phase_diagram.case import Case, fate, population_loss
from experiments.phase_diagram.report import claims, competitors, ends, winners
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
from experiments.shared.claims import checked

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
@pytest.mark.parametrize(("s", "r"), [(0.3, 0.3), (0.8, 4.0)])
def test_the_losses_of_the_prototypes_are_those_of_the_models(features, s, r):
    exact = prototypes(features, np.array([s]), np.array([r]))[0]
    order = {2: 40, 3: 20}[features]
    batch = Case(features, order, 0).nodes(jnp.float32(s), jnp.float32(r), order)
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
    third = {2: SUPERPOSED, 3: DEDICATED}[features]
    assert predicted(features, s, r).tolist() == [SUPERPOSED, IGNORED, third, DEDICATED, DEDICATED]


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
    at = sweeps.product(index=np.arange(2, dtype=np.int32), model=np.arange(6, dtype=np.int32))
    at |= {"s": np.float32([0.3, 0.8])[at["index"]], "r": np.ones(12, np.float32)}
    grid = sweeps.Points(at, None, {"point": np.arange(2), "model": np.arange(6)})
    loss = Case(2, 8, 0).train(grid, 400, 0.05).loss.min("model").values
    np.testing.assert_allclose(loss, [0.02931, 0.10552], atol=3e-5)


def test_the_best_model_of_each_fate_is_kept_and_a_fate_that_none_has_is_infinite():
    numbers = {"loss": [3.0, 1.0, 2.0], "own_fate": [IGNORED, IGNORED, DEDICATED], "b": [10.0, 20.0, 30.0]}
    trained = xr.Dataset({name: (("density", "model"), [values]) for name, values in numbers.items()})
    kept = best(trained.assign_coords(model=range(3))).isel(density=0)
    np.testing.assert_array_equal(kept.loss, [1, np.inf, 2, np.inf])
    assert kept.b.values[[IGNORED, DEDICATED]].tolist() == [20, 30]


def test_where_a_column_ends():
    density = np.array([1.0, 2, 4, 8])
    inside = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1], [1, 0, 0, 1]], bool)
    np.testing.assert_allclose(ends(density, inside), [8, 8**0.5, 2**0.5, np.nan])


def planted() -> xr.Dataset:
    """What theory says, as if it had been measured: two fates at each point, lambda-hat half the directions.

    One point of each plane is of the third phase, in which a feature is half kept.
    """
    s, r = np.geomspace(0.01, 1, 25), np.geomspace(0.1, 10, 25)
    return xr.concat([plane(2, 2.0, s, r), plane(3, 4.0, s, r)], xr.Variable("features", [2, 3]))


def plane(n: int, half: float, s: np.ndarray, r: np.ndarray) -> xr.Dataset:
    fold = lambda values: np.reshape(values, (len(s), len(r), *np.shape(values)[1:]))
    grid = [axis.ravel() for axis in np.meshgrid(s, r, indexing="ij")]
    fates, losses = predicted(n, *grid), prototypes(n, *grid)
    least, kept = losses.min(axis=1), n - 1 + np.isin(losses.argmin(axis=1), [SUPERPOSED, 3])
    winner = fates.copy()
    winner[-1] = CONFUSED
    away = (np.arange(len(NAMES))[None] - winner[:, None]) % len(NAMES)  # 0: the winner, 1: its competitor
    loss = np.select([away == 0, away == 1], [0.95 * least[:, None], least[:, None]], np.inf)
    over, each = ("density", "importance"), ("density", "importance", "fate")
    number = np.where(np.isfinite(loss), half, np.nan)
    variables = {
        "loss": (each, fold(loss)),
        "kept": (each, fold(np.repeat(kept[:, None], len(NAMES), axis=1))),
        "winner": (over, fold(winner)),
        "predicted": (over, fold(fates)),
        "value": (each, fold(number)),
        "stderr": (each, fold(0.02 * number)),
    }
    return xr.Dataset(variables, {"density": s, "importance": r, "fate": list(NAMES)})


def failed(results: xr.Dataset) -> list[str]:
    return [claim.text for claim in checked(claims(results)) if claim.holds is False]


def test_claims_hold_of_what_is_known():
    assert failed(planted()) == []


@pytest.mark.parametrize(
    ("name", "change", "caught"),
    [
        ("winner", lambda winner: np.roll(winner, 3, axis=1), {"trained fate", "up to", "triple point", "third phase"}),
        ("winner", lambda winner: np.where(winner == CONFUSED, DEDICATED, winner), {"a third phase"}),
        ("kept", lambda kept: np.roll(kept, 4, axis=1), {"r > 1: the two others"}),
        ("value", lambda value: 0.8 * value, {"lambda-hat of the winner is half"}),
    ],
)
def test_what_is_false_is_caught(name, change, caught):
    results = planted()
    results[name] = results[name].dims, change(results[name].values)
    texts = failed(results)
    assert {part for part in caught if any(part in text for text in texts)} == caught
    assert [text for text in texts if not any(part in text for part in caught)] == []


def test_a_competitor_is_the_second_best_fate_where_there_is_one():
    here = planted().sel(features=2)
    assert np.all(winners(here, "loss") < competitors(here, "loss"))
    alone = here.assign(loss=here.loss.where(here.fate == np.array(NAMES)[here.winner[0, 0]], np.inf))
    assert np.isnan(competitors(alone, "value")[0, 0])
