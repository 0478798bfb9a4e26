"""The comparison of speeds: order, ratios, load, the peers' protocol, its own work. Times themselves are not tested."""

import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from experiments.benchmarks import speed
from experiments.benchmarks.speed import comparisons, measure, sides, work
from experiments.benchmarks.speed.measure import Measured, Side
from sweeps.costs import cost
from toymodels.prng import lowbias32
from toymodels.training import advance, start

WORKER = """
import json, sys
print(json.dumps({"version": "fake " + " ".join(sys.argv[1:]), "cpu": 0.5}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "die":
        sys.exit(3)
    answer = {"steps": 10 * request["steps"], "seconds": 2.0, "cpu": 1.0, "values": [1.0]}
    print(json.dumps({"error": "no"} if request["do"] == "fail" else answer), flush=True)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    (tmp_path / "training.py").write_text(WORKER)
    monkeypatch.setattr(sides, "WORKERS", tmp_path)
    monkeypatch.setattr(sides, "python", lambda _: sys.executable)
    peer = sides.Peer("training", 2)
    yield peer
    peer.close()


def test_a_peer_answers_line_by_line_and_its_failures_are_named(fake):
    assert fake.version == "fake --threads=2"
    assert fake.ask(do="train", steps=3)[:3] == (30, 2.0, 1.0)
    with pytest.raises(RuntimeError, match="training: no"):
        fake.ask(do="fail", steps=3)
    with pytest.raises(RuntimeError, match="training: it ended with code 3"):
        fake.ask(do="die")


def test_a_small_run_without_peers_names_those_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.warns(UserWarning, match=r"not installed .*: canonical, devinterp1, devinterp2; `make peers` installs"):
        results = speed.run(**speed.PRESETS["smoke"] | {"peers": "installed"})
    assert results.attrs["missing"] == "canonical, devinterp1, devinterp2"
    assert results.comparison.values.tolist() == ["chains: chains, threefry"]
    assert [claim.text for claim in speed.claims(results) if claim.holds is None] == ["kinds of peers left out"]
    assert isinstance(speed.plot(results), Figure)


def test_sides_are_timed_in_turn_and_the_promise_is_made_before(capsys):
    calls, said = [], []

    def side(name: str, seconds: float) -> Side:
        def once(seed: int) -> Measured:
            said.append(capsys.readouterr().err)
            calls.append((seed, name))
            return Measured(12.0, seconds, seconds, np.array([]))

        return Side(once, 50.0)

    pairs = [(side("ours", 1.0), side("peer", 4.0)), (side("other ours", 2.0), side("other peer", 3.0))]
    results = measure.in_turn(pairs, ["paired", "equal"], rounds=2)
    names = ["ours", "peer", "other ours", "other peer"]
    assert calls == [(r, name) for r in range(2) for name in names]
    assert "2 rounds of 4 measurements will take about 6.7 min" in said[0]
    assert "it took 0 s, for 6.7 min expected" in capsys.readouterr().err
    np.testing.assert_allclose(measure.ratios(results), [[4, 4, 4], [1.5, 1.5, 1.5]])
    assert results.disagreement.isnull().all()


def test_ratios_are_taken_within_a_round():
    results = made_up(2.0)
    slow = np.array([1.0, 10.0, 100.0])  # the machine slows down for both sides
    results["seconds"] = results.seconds * xr.DataArray(slow, dims="round")
    np.testing.assert_allclose(measure.ratios(results), 2.0)
    results.seconds[0, 1, 1] *= 3
    np.testing.assert_allclose(measure.ratios(results)[0], [2, 2, 6])


def test_the_machine_is_busy_if_it_is_loaded_or_takes_processor_time_away():
    results = made_up(2.0)
    assert not measure.busy(results).any()
    results.cpu[0, 1, 2] *= 0.8
    results.load_average[1, 0, 1] = 1.3 * results.attrs["cores"]
    assert np.argwhere(measure.busy(results).values).tolist() == [[0, 1, 2], [1, 0, 1]]
    found = speed.claims(results)
    assert found[0].source == "target of this project; machine busy in 1 of 3 rounds"
    disturbed = next(claim for claim in found if claim.text.startswith("measurements disturbed"))
    assert disturbed.value == pytest.approx(100 * 2 / 12)
    assert disturbed.holds is False


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_results_agree_if_they_have_one_law(shift):
    normal = np.random.default_rng(0).normal
    ours, theirs = normal(8, 1, 64), normal(8 + shift, 1, 512)
    weights = np.exp(normal(0, 3, 64))
    expected = shift == 0
    assert (measure.disagreement("independent", ours, theirs) <= 1) is expected
    assert (measure.disagreement("paired", weights, weights * np.exp(normal(0.05 * shift, 0.02, 64))) <= 1) is expected
    assert (measure.disagreement("equal", np.array([4.0]), np.array([4.0 + 1e-5 + 1e-3 * shift])) <= 1) is expected


def test_training_is_the_models_on_the_tasks_data():
    found = work.instances((3, 2, 4), steps=400, compared=1, batch=64)
    early = found.measure(0)
    late = work.instances((3, 2, 4), steps=400, compared=400, batch=64).measure(0)
    assert (early.steps, early.values.shape) == (1600, (4,))
    assert late.values.mean() < 0.7 * early.values.mean()
    start = {"W": found.arrays["W"].transpose(0, 2, 1)[:, None], "b": np.zeros((4, 1, 3))}
    np.testing.assert_allclose(early.values, work.losses(start, found.arrays["density"]), rtol=0.05)


def test_chains_of_other_seeds_are_other_chains_of_the_same_law():
    found = work.chains(work.pentagon(), 16, each=4, draws=400)
    first, second = found.measure(0).values, found.measure(1).values
    assert len(np.unique(np.concatenate([first, second]))) == 32
    assert measure.disagreement("independent", first, second) <= 1
    assert 3 < first.mean() < 12


TINY = work.Size(width=32, heads=2, layers=1, context=16, vocabulary=8, batch=8)


@pytest.mark.slow
def test_a_transformer_trains_the_same_on_all_devices_and_its_products_are_counted():
    problem, tx = work.transformer(TINY), work.optax.adamw(**work.ADAMW)
    fit, params = work.on_all_devices(problem, TINY.batch)
    key, settings = work.jax.random.key(0, impl=lowbias32), dict(loss=problem.loss, task=problem.task, tx=tx)
    one = advance(key, start(problem.params, tx), np.array([4]), batch_size=TINY.batch, **settings)[0].params
    for got, expected in zip(*map(work.jax.tree.leaves, (fit(params, np.array([4])).params, one)), strict=True):
        np.testing.assert_allclose(got[0], expected, atol=1e-5)  # Adam's step is 1e-3, whatever the gradient
    moved = work.jax.tree.map(lambda now, before: abs(now - before).max(), one, problem.params)
    assert min(work.jax.tree.leaves(moved)) > 1e-3
    batch = work.jax.tree.map(lambda leaf: leaf[: TINY.batch], problem.data)
    loss = lambda params: problem.loss(params, batch).mean()
    assert 1 < cost(work.jax.grad(loss), problem.params).flops / TINY.products() < 1.6


def test_a_peer_gets_the_transformers_weights_head_by_head():
    arrays = work.transformer(TINY).arrays
    assert arrays["W_Q_0"].shape == (2, 32, 16)
    assert arrays["W_O_0"].shape == (2, 16, 32)
    assert arrays["tokens"].shape == (work.SEQUENCES, 17)


def test_every_comparison_has_both_sides(tmp_path):
    works = comparisons.our_works(1.0, tmp_path)
    for comparison in comparisons.COMPARISONS:
        assert comparison.work in works
        if comparison.worker:
            assert (sides.WORKERS / f"{comparison.worker}.py").exists()
        else:
            assert comparison.label in works
    assert sum(comparison.headline for comparison in comparisons.COMPARISONS) <= 5


def made_up(factor: float, apart: float = 0.5) -> xr.Dataset:
    """Three quiet rounds of two comparisons in which we are `factor` times as fast."""
    shape, axes = (2, 2, 3), ("comparison", "side", "round")
    seconds = np.ones(shape)
    seconds[:, 1] = factor
    variables = {
        "steps": (axes, np.ones(shape)),
        "seconds": (axes, seconds),
        "cpu": (axes, seconds.copy()),
        "load_average": (axes, np.ones(shape)),
        "disagreement": ("comparison", [apart, np.nan]),
        "least": ("comparison", [40.0, 0.9]),
        "most": ("comparison", [np.inf, 100.0]),
        "headline": ("comparison", [1, 0]),
    }
    attributes = dict(cores=2, expected_seconds=10.0, took_seconds=10.0 * apart, missing="")
    return xr.Dataset(variables, {"comparison": ["a", "b"], "side": ["ours", "theirs"]}, attributes)


@pytest.mark.parametrize(("good", "results"), [(True, made_up(50)), (False, made_up(0.5, apart=2))])
def test_what_does_not_hold_is_said_not_to(good, results):
    found = speed.claims(results)
    judged = [claim for claim in found if not claim.text.startswith("measurements disturbed")]
    assert len(judged) == 4
    assert all(claim.holds is good for claim in judged)
    assert found[0].value == found[0].low == found[0].high == (50 if good else 0.5)
    assert all(len(claim.text) <= 80 for claim in found)
    assert isinstance(speed.plot(results), Figure)
