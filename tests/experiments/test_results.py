"""The page of results: what the run directories hold, and whether the code on disk would make it again."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from experiments import directory as kept
from experiments.cli import main
from experiments.experiment import sources

ROOT = Path(__file__).parents[2]
EXAMPLE = Path(__file__).parent / "example.py"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A finished run of a file of one's own, beside the file."""
    directory = tmp_path_factory.mktemp("results")
    shutil.copy(EXAMPLE, directory / "mine.py")
    assert (
        main([str(directory / "mine.py"), "--preset", "smoke", "--pull", "0.3", "--out", str(directory / "run")]) == 0
    )
    return directory


@pytest.fixture
def finished(original, tmp_path):
    """A copy of the run, whose file can be edited."""
    shutil.copytree(original, tmp_path, dirs_exist_ok=True)
    description = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(description | {"file": str(tmp_path / "mine.py")}))
    return tmp_path


def page(directory: Path, capsys, *flags: str) -> tuple[int, str, str]:
    """(exit code, page, errors) for one run directory."""
    capsys.readouterr()
    code = main(["results", str(directory), *flags])
    return code, *capsys.readouterr()


def edit(path: Path, old: str, new: str) -> None:
    """Change the code of an experiment."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_run_is_a_section_with_its_headlines_its_command_and_folded_all_its_claims(finished, capsys, monkeypatch):
    monkeypatch.setattr("sweeps.store.save", lambda *_: pytest.fail("something was computed"))
    code, text, _ = page(finished / "run", capsys)
    assert code == 0
    head, folded = text.split("<details>")
    assert "## mine.py\n\nDoes a walker" in head
    assert "mine.py --preset smoke --pull 0.3`" in head
    assert len([line for line in head.splitlines() if line.startswith("| ")]) == 2 + 1
    rows = [line for line in folded.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + 3
    assert rows[-1].startswith("| what cannot be measured | - | nothing to measure | open |")


@pytest.mark.parametrize(
    ("old", "new", "say"),
    [
        ("(1 - pull)", "(1.5 - pull)", "a constant of the program has changed"),
        ("jax.random.normal(key, (2,))", "jax.random.uniform(key, (2,))", "the code of the program has changed"),
        ("seeds=2", "seeds=3", "is [0, 1] there and [0, 1, 2] here"),
        ('name="read")', 'name="read") + 1', "results.nc is of other code"),
        ("leaves the origin", "leaves its home", "its claims are of other code"),
        ("    pull: Ann", "    push: Ann", "has other flags now"),
        ("def claims", "def other", "mine.py without claims"),
    ],
)
def test_a_run_that_the_code_on_disk_would_not_make_is_named_and_refused(old, new, say, finished, capsys):
    edit(finished / "mine.py", old, new)
    code, text, error = page(finished / "run", capsys)
    assert (code, text) == (2, "")
    assert say in error
    assert "--anyway" in error
    code, text, _ = page(finished / "run", capsys, "--anyway")
    assert code == 0
    assert "**Made by other code than is here:**" in text


def test_a_file_that_came_with_the_run_is_not_executed(finished, capsys):
    (finished / "run" / "evil.py").write_text("raise SystemExit('executed')")
    path = finished / "run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"file": str(finished / "run" / "evil.py")}))
    code, _, error = page(finished / "run", capsys)
    assert code == 2
    assert "is not run" in error


def test_a_missing_step_is_not_computed_for_the_page(finished, capsys):
    next((finished / "run" / "walk").glob("*.npz")).unlink()
    code, _, error = page(finished / "run", capsys)
    assert code == 2
    assert "is not there: repeat the command" in error
    assert not list((finished / "run" / "walk").glob("*.npz"))


def test_a_directory_without_a_finished_run_is_refused(capsys, tmp_path):
    code, _, error = page(tmp_path, capsys)
    assert code == 2
    assert "holds no finished run" in error


@pytest.mark.parametrize(
    "claims",
    ["", "{}", "[3]", '[{"text": 3}]', "[" * 100_000, b"\xff\xfe", "WITHOUT text", "WITH more"],
    ids=range(8),
)
def test_damaged_claims_get_a_sentence(claims, finished, capsys):
    path = finished / "run" / "claims.json"
    if claims[:4] == "WITH":
        whole = json.loads(path.read_text())
        whole[0].pop("text") if claims == "WITHOUT text" else whole[0].update(more=1)
        claims = json.dumps(whole)
    path.write_bytes(claims if isinstance(claims, bytes) else claims.encode())
    code, _, error = page(finished / "run", capsys)
    assert code == 2
    assert "claims.json" in error
    assert "repeat the command" in error


def _cut(path):
    path.write_bytes(path.read_bytes()[:3000])


def _text(path):
    path.write_text("no HDF5")


def _link(path):
    with h5py.File(path, "a") as file:
        file.create_group("more")["far"] = h5py.ExternalLink(str(path.parent.parent / "secret.nc"), "/secret")


def _external(path):
    with h5py.File(path, "a") as file:
        file.create_dataset("far", (8,), "u1", external=[("/etc/hostname", 0, 8)])


def _virtual(path):
    layout = h5py.VirtualLayout((8,), "u1")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (8,))
    with h5py.File(path, "a") as file:
        file.create_virtual_dataset("far", layout)


def _huge(path):
    with h5py.File(path, "a") as file:
        file.create_dataset("far", (10**15,), "f8", chunks=(1000,))


@pytest.mark.parametrize("damage", [_cut, _text, _link, _external, _virtual, _huge])
def test_damaged_results_and_those_that_lie_elsewhere_get_a_sentence(damage, finished):
    with h5py.File(finished / "secret.nc", "w") as file:
        file["secret"] = np.arange(3)
    damage(finished / "run" / "results.nc")
    with pytest.raises(ValueError, match=r"results\.nc cannot be read \(.*repeat the command"):
        kept.read_results(finished / "run")


LABORATORIES = [name for name, path in sources().items() if "benchmarks" not in path.parts and name != "speed"]


@pytest.mark.parametrize("name", LABORATORIES)
def test_the_committed_page_has_every_experiment_and_its_figure(name):
    text = (ROOT / "docs" / "results.md").read_text()
    assert f"\n## {name}\n" in text
    assert f"![{name}]({name}.png)" in text
    assert (ROOT / "docs" / f"{name}.png").stat().st_size < 300_000
