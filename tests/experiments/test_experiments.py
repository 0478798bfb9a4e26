"""Battery over all experiments: the contract of `experiments.experiment`."""

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from typing_extensions import Doc

from experiments import directory as kept
from experiments.cli import main
from experiments.experiment import cost, find, presets, question, sources
from experiments.shared.claims import checked
from experiments.shared.ranges import check

FOUND = [str(Path(__file__).parent / "example.py")]
FOUND += list(sources())
ALL = pytest.mark.parametrize("name", FOUND, ids=lambda name: Path(name).stem)
QUICK = ("example", "tms", "wbic", "stages")  # to run and to compile; the others are run by the slow tests
TIMES = ("speed",)  # what it measures is time, and differs each time


@pytest.fixture(
    scope="module",
    params=[name if Path(name).stem in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FOUND],
    ids=lambda name: Path(name).stem,
)
def smoke(request):
    module = find(request.param)
    return request.param, module, module.run(**module.PRESETS["smoke"])


@ALL
def test_the_first_line_is_the_question_and_the_list_says_what_it_takes(name):
    assert question(name).endswith("?")
    assert cost(name)


@ALL
def test_every_setting_is_a_keyword_with_a_default_in_its_range_and_a_description(name):
    run = find(name).run
    for parameter in inspect.signature(run).parameters.values():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        about = getattr(parameter.annotation, "__metadata__", [parameter.annotation])
        assert any(isinstance(each, Doc) or hasattr(each, "_fields") for each in about)
        check(run, {parameter.name: parameter.default})


@ALL
def test_the_presets_are_settings_in_their_ranges(name):
    module = find(name)
    assert set(presets(module)) == {"smoke", "default", "paper"}
    for preset in presets(module).values():
        assert set(preset) <= set(inspect.signature(module.run).parameters)
        check(module.run, preset)


def test_claims_and_figure_come_from_the_results_alone_even_when_read_back(smoke, tmp_path):
    _, module, results = smoke
    claims = checked(module.claims(results))
    assert any(claim.headline for claim in claims)
    kept.write(tmp_path, {}, results, claims, module.plot(results))
    back = kept.read_results(tmp_path)
    assert kept.as_json(checked(module.claims(back))) == kept.as_json(claims)
    assert kept.as_json(kept.read_claims(tmp_path)) == kept.as_json(claims)
    assert isinstance(module.plot(back), Figure)


def test_a_run_outside_a_directory_writes_nothing(smoke, tmp_path, monkeypatch):
    name, module, results = smoke
    monkeypatch.chdir(tmp_path)
    again = module.run(**module.PRESETS["smoke"])
    assert again.sizes == results.sizes if name in TIMES else again.identical(results)
    assert not list(tmp_path.iterdir())


def test_runs_that_go_non_finite_are_named_and_the_report_still_comes(smoke):
    _, module, _ = smoke
    if "learning_rate" not in inspect.signature(module.run).parameters:
        pytest.skip("it has no learning rate to raise")
    with pytest.warns(UserWarning, match=r"non-finite at step \d+ of the sweep point .*seed"):
        results = module.run(**module.PRESETS["smoke"] | {"learning_rate": 1e3})
    loss = results["loss" if "loss" in results else "loss_at_centre"]
    assert np.isnan(loss.values[..., -1]).any()
    assert checked(module.claims(results))
    assert isinstance(module.plot(results), Figure)


REFERENCE = Path(__file__).parents[2] / "checkpoints" / "reference"


def test_the_committed_reference_run_is_what_the_code_makes(capsys):
    assert main(["results", str(REFERENCE)]) == 0
    run = json.loads((REFERENCE / "run.json").read_text())
    assert f"`{run['command']}`" in capsys.readouterr().out
