"""The comparison of speeds: its peers' protocol, its verdicts, its own workloads. Times themselves are not tested."""

import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from experiments import speed
from experiments.costs import cost
from experiments.speed import internals, ours, peer, transformers
from experiments.speed.report import claims
from toymodels.models.autoencoder import Autoencoder
from toymodels.task import objective
from toymodels.tasks.superposition import sparse_features

WORKER = """
import json, sys
print(json.dumps({"ready": True, "version": "fake " + " ".join(sys.argv[1:])}), flush=True)
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "die":
        sys.exit(3)
    print(json.dumps({"error": "no"} if request["do"] == "fail" else request), flush=True)
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    (tmp_path / "notebook.py").write_text(WORKER)
    monkeypatch.setattr(peer, "WORKERS", tmp_path)
    monkeypatch.setattr(peer, "python", lambda _: sys.executable)
    worker = peer.Peer("notebook", 2, "--freeze")
    yield worker
    worker.close()


def test_a_peer_answers_line_by_line_and_its_failures_are_named(fake):
    assert fake.version == "fake --threads=2 --freeze"
    assert fake.ask(do="repeat", steps=3) == {"do": "repeat", "steps": 3}
    with pytest.raises(RuntimeError, match="notebook: no"):
        fake.ask(do="fail")
    with pytest.raises(RuntimeError, match="notebook: it ended with code 3"):
        fake.ask(do="die")


@pytest.mark.slow
def test_peers_that_are_missing_are_named_with_what_installs_them(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.warns(UserWarning, match=r"not installed .* `make peers` installs it"):
        results = speed.run(**speed.PRESETS["smoke"] | {"peers": "installed"})
    assert results.attrs["missing"] == "canonical, devinterp1, devinterp2, notebook, transformer"
    assert claims(results)[0].holds is None


@pytest.mark.parametrize("measure", ["", "rates,nothing"])
def test_unknown_parts_are_refused(measure):
    with pytest.raises(ValueError, match="write some of rates,curve"):
        speed.run(measure=measure)


def test_training_is_the_models_on_the_tasks_data():
    workload = ours.training(3, 2, 4, batch=64)
    one, later = workload.run(0), workload.run([5, 400])
    assert workload.count(10) == 40
    assert later.params["W"].shape == (4, 2, 2, 3)
    np.testing.assert_array_equal(one.params["W"][:, 0], ours.weights(3, 2, 4).transpose(0, 2, 1))
    loss = objective(Autoencoder(3, 2), sparse_features(np.ones(3, np.float32), 1.0))
    batch = sparse_features(np.ones(3, np.float32), 1.0).sample(ours.jax.random.key(0), 4096)
    before, after = (float(loss({k: v[0, -1] for k, v in t.params.items()}, batch).mean()) for t in (one, later))
    assert after < 0.7 * before


def test_chains_of_other_seeds_are_other_chains_of_the_same_law():
    workload = ours.chains(16, 4, 400)
    first, second = (np.asarray(workload.run(i).trace)[..., 100:].mean(-1).ravel() for i in (0, 1))
    assert len(np.unique(np.concatenate([first, second]))) == 32
    error = np.hypot(first.std(ddof=1), second.std(ddof=1)) / np.sqrt(16)
    assert abs(first.mean() - second.mean()) < 4 * error
    assert 3 < first.mean() < 12


TINY = transformers.Size(width=32, heads=2, layers=1, context=16, vocabulary=8, batch=8)


@pytest.mark.slow
def test_a_transformer_trains_the_same_with_its_examples_over_all_devices_and_its_products_are_counted():
    workload = transformers.training(TINY)
    spread = workload.run(4).params
    one = ours.jax.jit(workload.point)(0, np.array([4]))[1].params
    before = transformers.problem(TINY)[1]
    for got, expected, start in zip(*map(ours.jax.tree.leaves, (spread, one, before)), strict=True):
        np.testing.assert_allclose(got[0], expected, atol=1e-5)  # Adam's step is 1e-3, whatever the gradient
        assert np.abs(np.asarray(expected) - np.asarray(start)[None]).max() > 1e-3
    more, less = (cost(workload.point, 0, np.array([1]), trips=trips) for trips in (2, 1))
    assert 1 < (more.flops - less.flops) / TINY.products() < 1.6


def test_a_peer_gets_the_transformers_weights_head_by_head(tmp_path):
    asked = dict(do="chains", size=TINY._asdict(), chains=2, draws=100)
    request = transformers.request(asked, 0.1, 3, tmp_path)
    assert request["draws"] == 10
    arrays = np.load(request["problem"])
    assert arrays["W_Q_0"].shape == (2, 32, 16)
    assert arrays["W_O_0"].shape == (2, 16, 32)
    assert arrays["tokens"].shape == (transformers.SEQUENCES, 17)


def made_up(factor: float, shift: float, exponent: float) -> xr.Dataset:
    """Results in which we are `factor` times as fast, lambda-hat differs by `shift` errors, cost grows as ^exponent."""
    noise, label = np.random.default_rng(0), ["train 6/2/64: notebook", "transformer 128, training: other"]
    times = {
        "cold_curve": 4.0,
        "peer_curve": 4.0 * factor,
        "warm_curve": 2.0,
        "cold_step": 3.0,
        "warm_step": 300 / factor,
    }
    variables = {name: ((), value) for name, value in times.items()} | {
        "ours": (("comparison", "round"), factor * np.ones((2, 3))),
        "theirs": (("comparison", "round"), np.ones((2, 3))),
        "target": ("comparison", [40.0, np.nan]),
        "threads": ("comparison", [1, 2]),
        "rate": (("workload", "round"), np.ones((2, 3))),
        "load_average": ("round", np.ones(3)),
        "products": ("workload", [1.0, np.nan]),
        "share_operations": ("workload", [0.5, 0.5]),
        "share_products": ("workload", [factor / 200, np.nan]),
        "peak_flops": ((), 25.0),
        "loss_ours": (("curve_step", "instance"), np.ones((2, 9))),
        "loss_theirs": (("curve_step", "instance"), np.exp(0.01 * noise.normal(size=(2, 9)) + 0.02 * shift)),
        "llc": ("side", [8.0, 8.0 + 0.1 * shift]),
        "llc_error": ("side", [0.07, 0.07]),
        "transformer_loss": ("two", [4.0, 4.0 + 1e-3 * shift]),
        "transformer_llc": ("two", [8.0, 8.0 + 0.1 * shift]),
        "transformer_llc_error": ("two", [0.07, 0.07]),
        "growth": (("axis", "multiple"), np.array([[1.0, 2.0**exponent]])),
        "exponent": ("axis", [exponent]),
        "compilations": ("waves", [1, round(exponent)]),
        "memory_bound": ((), 100.0),
        "memory_used": ((), 100.0 * exponent),
        "checkpointing": ((), 0.05 * exponent**4),
    }
    coordinates = dict(
        comparison=label,
        workload=["transformer 128, training", "b"],
        curve_step=[1, 2],
        side=["ours", "other"],
        axis=["runs"],
    )
    return xr.Dataset(variables, coordinates | dict(multiple=[1, 2], waves=[1, 4]), attrs={"missing": "", "cores": 2})


@pytest.mark.parametrize(("good", "results"), [(True, made_up(120, 0, 0.99)), (False, made_up(20, 9, 1.6))])
def test_what_does_not_hold_is_said_not_to(good, results):
    found = [claim for claim in claims(results) if claim.holds is not None]
    assert len(found) == 12
    assert any("the peak itself would be 50.0 times" in claim.measured for claim in claims(results))
    assert all(claim.holds is good for claim in found), [claim for claim in found if claim.holds is not good]
    assert isinstance(speed.plot(results), Figure)


def test_a_sweep_compiles_one_program_whatever_its_size():
    assert [internals.compilations(waves) for waves in (1, 3)] == [1, 1]
