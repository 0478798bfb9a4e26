"""The page of results is what the run directories hold, and names every experiment."""

import json
from pathlib import Path

import pytest

from experiments.cli import main
from experiments.experiment import EXPERIMENTS
from experiments.results import page

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "checkpoints" / "reference"


def test_a_run_is_a_section_with_its_command_and_all_its_claims(capsys):
    assert main(["results", str(REFERENCE)]) == 0
    text = capsys.readouterr().out
    assert text == page([REFERENCE])
    assert "`python -m experiments tms --seeds 2 --epochs 1500" in text
    claims = json.loads((REFERENCE / "claims.json").read_text())
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == len(claims) > 0
    for row, claim in zip(rows, claims, strict=True):
        cells = row.replace("\\|", "/").strip("| ").split(" | ")
        assert len(cells) == 5
        assert cells[-1] == {True: "yes", False: "**no**", None: "open"}[claim["holds"]]


def test_a_directory_without_a_finished_run_is_refused(capsys, tmp_path):
    assert main(["results", str(tmp_path)]) == 2
    assert "holds no finished run" in " ".join(capsys.readouterr().out.split())
    assert main(["results"]) == 2
    assert "write results DIR" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if name != "speed"])  # it needs peers
def test_the_committed_page_has_every_experiment_and_its_figure(name):
    text = (ROOT / "docs" / "results.md").read_text()
    assert f"\n## {name}\n" in text
    assert f"![{name}]({name}.png)" in text
    assert (ROOT / "docs" / f"{name}.png").stat().st_size < 300_000
