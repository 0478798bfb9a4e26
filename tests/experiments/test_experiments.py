"""Battery over all experiments: the contract of `experiments.experiment`."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure
from typing_extensions import Doc

from experiments.experiment import EXPERIMENTS, Claim, find, question
from experiments.record import recording

ALL = pytest.mark.parametrize("name", EXPERIMENTS)
QUICK = ("tms", "wbic", "stages")  # to run and to compile; the others are run by the slow tests


@pytest.fixture(
    scope="module",
    params=[name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in EXPERIMENTS],
)
def smoke(request):
    module = find(request.param)
    return module, module.run(**module.PRESETS["smoke"])


@ALL
def test_the_first_line_is_the_question(name):
    assert question(name).endswith("?")


@ALL
def test_every_setting_is_a_keyword_with_a_default_and_a_description(name):
    run = find(name).run
    for parameter in inspect.signature(run).parameters.values():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is not inspect.Parameter.empty
        assert any(isinstance(about, Doc) for about in parameter.annotation.__metadata__)


@ALL
def test_the_presets_are_settings(name):
    module = find(name)
    assert set(module.PRESETS) == {"smoke", "default", "paper"}
    assert all(set(preset) <= set(inspect.signature(module.run).parameters) for preset in module.PRESETS.values())


def test_claims_and_figure_come_from_the_results_alone_even_when_read_back(smoke, tmp_path):
    module, results = smoke
    results.to_netcdf(tmp_path / "results.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "results.nc", engine="h5netcdf") as back:
        assert module.claims(back.load()) == module.claims(results)
        assert isinstance(module.plot(back), Figure)
    assert all(isinstance(claim, Claim) for claim in module.claims(results))


def test_a_run_without_a_record_writes_nothing(smoke, tmp_path, monkeypatch):
    module, results = smoke
    monkeypatch.chdir(tmp_path)
    again = module.run(**module.PRESETS["smoke"])
    if module.__name__ == "experiments.speed":  # what it measures is time
        assert again.sizes == results.sizes
    else:
        assert again.identical(results)
    assert not list(tmp_path.iterdir())


def test_runs_that_go_non_finite_are_named_and_the_report_still_comes(smoke):
    module, _ = smoke
    if "learning_rate" not in inspect.signature(module.run).parameters:
        pytest.skip("it has no learning rate to raise")
    with pytest.warns(UserWarning, match=r"non-finite at step \d+ of the sweep point .*seed="):
        results = module.run(**module.PRESETS["smoke"] | {"learning_rate": 1e3})
    assert np.isnan(results.loss.values[:, -1]).any()
    assert module.claims(results)
    assert isinstance(module.plot(results), Figure)


REFERENCE = Path(__file__).parents[2] / "checkpoints" / "reference"


def test_the_committed_reference_run_can_be_restored_and_analysed_again():
    description = json.loads((REFERENCE / "run.json").read_text())["identity"]
    module = find(description["experiment"])
    with pytest.MonkeyPatch.context() as patch, recording(REFERENCE):
        patch.setattr("toymodels.store.save", lambda *_: pytest.fail("a step of the reference run was not read"))
        results = module.run(**description["arguments"])
    with xr.open_dataset(REFERENCE / "results.nc", engine="h5netcdf") as committed:
        xr.testing.assert_allclose(results, committed.load(), rtol=1e-5, atol=1e-6)
    claims = json.loads((REFERENCE / "claims.json").read_text())
    assert [claim._asdict() for claim in module.claims(results)] == claims
