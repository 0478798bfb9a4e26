"""The README tells the truth: its example runs, its commands and files exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_example_runs_and_says_what_it_says(capsys):
    assert len(EXAMPLES[0].splitlines()) <= 25
    exec(compile(EXAMPLES[0], "README.md", "exec"), {"__name__": "readme"})
    polygons = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert polygons[0].startswith("4")
    assert polygons[-1].startswith("5")


@pytest.mark.slow
def test_the_example_of_a_calibrated_estimate_goes_on_from_the_first_and_has_the_value_of_theory(capsys):
    names = {"__name__": "readme"}
    exec(compile(EXAMPLES[0] + EXAMPLES[1], "README.md", "exec"), names)
    assert "step size" in capsys.readouterr().out
    assert 7.0 < names["llc"].value < 9.0  # 8.5, less what gamma takes
    assert names["llc"].stderr < 0.3


def test_the_example_of_a_sweep_runs_and_keeps_its_batches(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(EXAMPLES[2], "README.md", "exec"), {"__name__": "readme"})
    assert "(scale: 3)" in capsys.readouterr().out
    assert list((tmp_path / "checkpoints" / "noise" / "sweep").glob("*/digest.json"))


def test_every_file_it_links_to_exists_and_the_figure_is_small():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    pictures = re.findall(r'src="([^"]+)"', README)
    assert links
    assert pictures
    assert all((ROOT / link).exists() for link in [*links, *pictures])
    assert all(picture.stat().st_size < 300_000 for picture in (ROOT / "docs").glob("*.png"))


def test_it_is_at_most_150_lines_long():
    assert len(README.splitlines()) <= 150
