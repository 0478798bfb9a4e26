"""The README tells the truth: its example is the one that is executed, its names, commands and files exist."""

import re
from pathlib import Path

import pytest

import slt
import sweeps
import toymodels as tm
from experiments.experiment import sources

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_its_example_is_the_one_in_examples():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert example.strip() in (ROOT / "examples" / "own_sweep.py").read_text()


def test_every_name_it_mentions_is_at_the_front_door():
    found = re.findall(r"`(tm|slt|sweeps)\.(\w+)", README)
    assert len(found) > 20
    doors = {"tm": tm, "slt": slt, "sweeps": sweeps}
    assert not [f"{door}.{name}" for door, name in found if not hasattr(doors[door], name)]


@pytest.mark.parametrize("page", ["README.md", "docs/scale.md", "checkpoints/README.md"])
def test_every_experiment_in_a_command_exists(page):
    found = re.findall(r"toymodels (?:plan )?([a-z_]+) --", (ROOT / page).read_text())
    assert found
    assert set(found) <= set(sources()), found


def test_every_file_it_links_to_exists_and_figures_are_small():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if not link.startswith("http")]
    pictures = re.findall(r'src="([^"]+)"', README)
    assert links
    assert pictures
    assert all((ROOT / link).exists() for link in [*links, *pictures])
    assert all(picture.stat().st_size < 300_000 for picture in (ROOT / "docs").glob("*.png"))


def test_it_is_at_most_150_lines_long():
    assert len(README.splitlines()) <= 150
