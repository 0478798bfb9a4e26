"""Every example runs at its real size, and a sweep of one's own is short."""

import runpy
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from experiments.cli import main
from experiments.directory import read_claims, read_results

EXAMPLES = Path(__file__).parents[1] / "examples"
SLOW = "own_sweep.py", "own_sweep_flax.py"  # one of the three forms is quick to show that they run
NAMES = sorted(path.name for path in EXAMPLES.glob("own_sweep*.py"))
OWN = [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in NAMES]


def code(path: Path) -> list[str]:
    """The lines of a script that are neither empty, nor of its docstring, nor imports."""
    body = path.read_text().split('"""', 2)[2]
    return [line for line in body.splitlines() if line.strip() and not line.startswith(("import", "from", "#"))]


@pytest.mark.parametrize("name", OWN)
def test_a_sweep_of_ones_own_runs_and_goes_on_from_disk(name, tmp_path, monkeypatch):
    assert len(code(EXAMPLES / name)) <= 25
    monkeypatch.chdir(tmp_path)
    curve = runpy.run_path(str(EXAMPLES / name))["curve"]
    assert curve.value.dims[-1] == "step"
    assert np.isfinite(curve.value).any()
    figures = list(tmp_path.glob("runs/*/*.png"))
    assert figures
    assert all(matplotlib.image.imread(figure).std() > 0 for figure in figures)
    monkeypatch.setattr("sweeps.store.save", lambda *_: pytest.fail("what is on disk was computed again"))
    assert runpy.run_path(str(EXAMPLES / name))["curve"].identical(curve)


def test_an_experiment_of_ones_own_runs_like_a_shipped_one(tmp_path, capsys):
    command = [str(EXAMPLES / "mine.py"), "--rate", "0.2", "--out", str(tmp_path)]
    assert main(command) == 0
    assert read_results(tmp_path).distance.sizes == {"seed": 8, "step": 50}
    assert 4 < read_claims(tmp_path)[0].value < 5  # -1 / log(0.8)
    assert main(["results", str(tmp_path)]) == 0
    assert "mine.py --rate 0.2`" in capsys.readouterr().out
