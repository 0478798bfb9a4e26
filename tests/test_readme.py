"""The README tells the truth: its example runs, its commands and files exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_example_runs_and_says_what_it_says(capsys):
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    assert len(example.splitlines()) <= 25
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    polygons = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert polygons[0].startswith("4")
    assert polygons[-1].startswith("5")


def test_the_example_of_a_sweep_runs_and_keeps_its_batches(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[1]
    exec(compile(example, "README.md", "exec"), {"__name__": "readme"})
    assert "(scale: 3)" in capsys.readouterr().out
    assert list((tmp_path / "checkpoints" / "noise" / "sweep").glob("*/digest.json"))


def test_every_file_it_links_to_exists_and_the_figure_is_small():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    assert links
    assert all((ROOT / link).exists() for link in links)
    assert (ROOT / "docs" / "tms.png").stat().st_size < 300_000


def test_it_is_at_most_150_lines_long():
    assert len(README.splitlines()) <= 150
