"""The exact empirical loss, sequential Monte Carlo against a known evidence, the naming of phases, the prediction."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import toymodels as tm
from experiments.tms_bayes import posterior, prediction
from experiments.tms_bayes.prediction import A_PRIORI, FEATURES, LOSS, PHASES

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
N, MOST = 300, 400


@pytest.fixture(scope="module")
def models():
    key_W, key_b = jax.random.split(jax.random.key(0))
    return {"W": jax.random.normal(key_W, (100, 2, FEATURES)), "b": jax.random.normal(key_b, (100, FEATURES))}


def test_empirical_loss_and_its_gradient_are_the_direct_sum(models):
    key = jax.random.key(1)
    cell = jax.random.randint(key, (MOST,), 0, FEATURES * posterior.CELLS)[:N]
    mu = (cell % posterior.CELLS + 0.5) / posterior.CELLS
    x = jax.nn.one_hot(cell // posterior.CELLS, FEATURES) * mu[:, None]
    data = posterior.data_set(jax.random.clone(key), FEATURES, jnp.array(N), MOST)

    def direct(p):
        return jnp.mean(jnp.sum((x - jax.nn.relu(x @ p["W"].T @ p["W"] + p["b"][None])) ** 2, axis=1))

    def compare(p):
        return jax.value_and_grad(direct)(p), jax.value_and_grad(
            lambda p: posterior.empirical_loss(data, p["W"], p["b"])
        )(p)

    expected, found = quick(jax.vmap(compare))(models)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


def test_the_loss_of_all_cells_is_the_population_loss(models):
    data = posterior.population(FEATURES)
    compare = lambda p: (posterior.empirical_loss(data, p["W"], p["b"]), tm.potential(p["W"], p["b"]))
    found, expected = quick(jax.vmap(compare))(models)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_smc_gives_the_evidence_and_posterior_of_a_gaussian():
    """Prior N(0, 1), likelihood exp(-a |w - m|^2/2): log Z = sum -log(1 + a)/2 - a m^2/(2 (1 + a))."""
    a, m, particles = np.array([5.0, 50.0, 0.5], np.float32), np.array([1.0, -0.5, 2.0], np.float32), 2000
    key_prior, key = jax.random.split(jax.random.key(2))
    begin = jax.random.normal(key_prior, (particles, 3))
    log_likelihood = lambda w: -jnp.sum(a * (w - m) ** 2) / 2
    run = functools.partial(posterior.smc, log_likelihood=log_likelihood, moves=3, leapfrogs=5)
    ladder = jnp.linspace(0, 1, 21) ** 3
    found, log_evidence, ess, _ = quick(run)(key, begin, ladder=ladder)
    evidence = float(np.sum(-np.log(1 + a) / 2 - a * m**2 / (2 * (1 + a))))
    assert float(log_evidence) == pytest.approx(evidence, abs=0.12)
    np.testing.assert_allclose(found.mean(axis=0), a * m / (1 + a), atol=0.07)
    np.testing.assert_allclose(found.var(axis=0) * (1 + a), 1, atol=0.17)
    assert float(ess.min()) > 0.5


def test_each_planted_polygon_is_named_and_no_other():
    """Turned, mirrored, its features permuted, shaken a little and descended: the phase it was planted as."""
    names, rng, planted = list(PHASES), np.random.default_rng(0), []
    for k, plus in PHASES.values():
        W, b = tm.polygon(k, FEATURES, plus)
        order, angle = rng.permutation(FEATURES), rng.uniform(0, 2 * np.pi)
        turn = np.array([[np.cos(angle), np.sin(angle)], [np.sin(angle), -np.cos(angle)]], np.float32)
        planted.append({"W": (turn @ np.asarray(W))[:, order], "b": np.asarray(b)[order]})
    planted.append(dict(zip(("W", "b"), map(np.asarray, tm.polygon(3, FEATURES)), strict=True)))
    planted.append(planted[-2] | {"b": planted[-2]["b"] + np.float32(0.1)})  # a hexagon off its level
    shaken = jax.tree.map(lambda *leaf: np.stack(leaf), *planted)
    shaken["W"] = shaken["W"] + 0.01 * rng.standard_normal(shaken["W"].shape).astype(np.float32)
    name = functools.partial(posterior.phase, phases=PHASES, levels=tm.levels(FEATURES))
    descended = quick(jax.vmap(lambda p: name(posterior.descend(p, 200))))(shaken)
    assert descended.tolist() == [*range(len(names)), len(names), names.index("6")]
    assert quick(jax.vmap(name))(shaken).tolist()[-1] == len(names) + 1


def test_the_prediction_crosses_where_chen_et_al_say():
    F, names = prediction.free_energy(), list(PHASES)
    five, six = names.index("5"), names.index("6")
    assert prediction.crossing(F.sel(predictor=A_PRIORI).values, five, six) == pytest.approx(601.0, abs=0.5)
    low, high = prediction.occupancy(F.sel(predictor=A_PRIORI).values, np.array([500.0, 700.0]))
    assert (low.argmax(), high.argmax()) == (five, six)
    by_loss = prediction.occupancy(F.sel(predictor=LOSS).values, np.array([10.0, 1000.0]))
    assert (by_loss.argmax(axis=1) == six).all()


def test_occupancy_and_crossing_of_two_phases_are_those_of_their_formula():
    F = np.array([[0.2, 1.0, 0.0], [0.1, 1.0, 5.0]])
    assert prediction.crossing(F, 0, 1) == pytest.approx(50, rel=1e-4)
    odds = np.exp(0.1 * 30 - 5)
    np.testing.assert_allclose(prediction.occupancy(F, np.array([30.0])), [[1 / (1 + odds), odds / (1 + odds)]])
    assert np.isnan(prediction.crossing(F, 1, 1))
    assert np.isnan(prediction.crossing(F, 1, 0))


def test_shares_cross_where_their_odds_are_even_for_the_last_time():
    n, odds = np.array([10.0, 100.0, 1000.0, 10_000.0]), np.array([-1.0, 1.0, -1.0, 3.0])
    assert prediction.takeover(n, odds) == pytest.approx(10**3.25)
    assert np.isnan(prediction.takeover(n, -odds[::-1] - 5))
