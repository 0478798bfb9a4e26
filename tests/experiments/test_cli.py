"""The command line as a user meets it: what it lists, refuses, writes, repeats, and how it stops."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from experiments import directory as kept
from experiments.cli import main
from experiments.results import lines
from experiments.shared.claims import Claim

EXAMPLE = str(Path(__file__).parent / "example.py")
SMOKE = [EXAMPLE, "--preset", "smoke"]
ROOT = Path(__file__).parents[2]
FILES = {"run.json", "walk", "read", "results.nc", "claims.json", "figure.png", "figure.svg"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli") / "run"
    assert main([*SMOKE, "--out", str(directory)]) == 0
    return directory


@pytest.fixture
def copy(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


def said(capsys) -> str:
    """What was written to the error stream, in one line."""
    return " ".join(capsys.readouterr().err.split())


def test_without_arguments_it_lists_every_experiment_with_its_question(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "\ntms" in printed
    assert "polygon?" in printed
    assert max(map(len, printed.splitlines())) <= 86


@pytest.mark.parametrize(
    ("flags", "say"),
    [
        (["--preset", "huge"], "write one of default, smoke, paper"),
        (["--seeds", "0"], "error: got seeds=0: write --seeds with a whole number from 1 to 10,000,000"),
        (["--first", str(2**32)], "got first=4294967296: write --first"),
        (["--first", "9" * 400], "write --first"),
        (["--scale", "inf"], "got scale=inf: write --scale with a number above 0"),
        (["--pull", "nan"], "got pull=nan: write --pull with a number from 0 to 1"),
        (["--walk.steps", "-1"], "got walk.steps=-1: write --walk.steps"),
        (["--seeds", "inf"], "--seeds"),
        (["--sedes", "3"], "--seeds"),
        (["--memory", ""], "write a size such as 500MB"),
        (["--memory=-1GB"], "write a size such as 500MB"),
    ],
)
def test_bad_input_is_refused_with_what_to_write_and_leaves_nothing_behind(flags, say, capsys, tmp_path):
    assert main([EXAMPLE, *flags, "--out", str(tmp_path / "run")]) == 2
    assert say in said(capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argv", "say"),
    [
        (["nope"], "got the experiment 'nope': write one of"),
        (["nope.py"], "there is no such file"),
        (["plan", "nope"], "write one of"),
        (["plan"], "write toymodels plan NAME"),
        (["plan", EXAMPLE, "--devices", "0"], "got '0': write a whole number from 1 on"),
        (["plan", EXAMPLE, "--devices=-1"], "got '-1': write a whole number from 1 on"),
        (["plan", EXAMPLE, "--tflops", "nan"], "got 'nan': write a positive number"),
        (["plan", EXAMPLE, "--tflops", "0"], "got '0': write a positive number"),
        (["results"], "toymodels results DIR"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_write(argv, say, capsys):
    assert main(argv) == 2
    assert say in said(capsys)


def test_what_a_run_is_refused_for_later_leaves_nothing_behind_either(tmp_path, capsys):
    own = tmp_path / "mine.py"
    text = Path(EXAMPLE).read_text()
    own.write_text(text.replace('    """Walk, and', '    np.zeros(2) + np.zeros(3)\n    """Walk, and'))
    assert main([str(own), "--out", str(tmp_path / "run")]) == 2
    assert re.search(r"broadcast.*mine\.py, line \d+\)", said(capsys))
    assert not (tmp_path / "run").exists()


def test_a_link_and_the_present_folder_are_run_directories_like_others(tmp_path, monkeypatch, capsys):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert main([EXAMPLE, "--scale", "-1", "--out", str(tmp_path / "link")]) == 2
    assert "got scale=-1.0" in said(capsys)
    assert main([*SMOKE, "--out", str(tmp_path / "link")]) == 0
    monkeypatch.chdir(tmp_path / "real")
    assert main([*SMOKE, "--out", "."]) == 0
    assert main([*SMOKE, "--seeds", "3", "--out", "."]) == 2
    assert {path.name for path in (tmp_path / "real").iterdir()} >= FILES
    assert (tmp_path / "link").is_symlink()


def test_a_run_leaves_everything_in_its_directory(finished):
    assert {path.name for path in finished.iterdir()} >= FILES
    run = json.loads((finished / "run.json").read_text())
    assert run["arguments"]["walk"] == {"steps": 10, "thin": 1}
    assert run["command"] == f"toymodels {EXAMPLE} --preset smoke"
    assert {"versions", "commit", "devices"} <= run.keys()
    assert kept.read_results(finished).distance.dims == ("seed", "step")
    assert json.loads((finished / "claims.json").read_text())[-1]["value"] is None
    assert np.isnan(kept.read_claims(finished)[-1].value)


def test_flags_are_set_over_the_preset_in_nested_settings_too(tmp_path):
    assert main([*SMOKE, "--walk.thin", "2", "--out", str(tmp_path)]) == 0
    assert kept.read_description(tmp_path)["arguments"]["walk"] == {"steps": 10, "thin": 2}


def test_a_finished_run_is_repeated_from_disk_and_a_changed_claim_computes_nothing(copy, tmp_path, monkeypatch):
    monkeypatch.setattr("sweeps.store.save", lambda *_: pytest.fail("a finished step was computed again"))
    before = {path.name: path.read_bytes() for path in copy.glob("*.*")}
    assert main([*SMOKE, "--out", str(copy)]) == 0
    assert {path.name: path.read_bytes() for path in copy.glob("*.*")} == before
    own = tmp_path / "example.py"
    own.write_text(Path(EXAMPLE).read_text().replace("leaves the origin", "leaves its home"))
    assert main([str(own), "--preset", "smoke", "--out", str(copy)]) == 0
    assert kept.read_claims(copy)[0].text == "the walker leaves its home"


def test_other_settings_and_another_experiment_are_refused_in_its_directory_until_fresh(copy, tmp_path, capsys):
    other = [*SMOKE, "--scale", "2", "--out", str(copy)]
    before = {path.name: path.read_bytes() for path in copy.glob("*.*")}
    assert main(other) == 2
    assert "a constant of the program has changed" in said(capsys)
    (tmp_path / "mine.py").write_text(Path(EXAMPLE).read_text())
    assert main([str(tmp_path / "mine.py"), "--out", str(copy)]) == 2
    assert "holds a run of example.py" in said(capsys)
    assert {path.name: path.read_bytes() for path in copy.glob("*.*")} == before
    assert main([*other, "--fresh"]) == 0
    assert kept.read_description(copy)["arguments"]["scale"] == 2


def test_a_lost_description_does_not_make_old_numbers_those_of_other_settings(copy, capsys):
    (copy / "run.json").unlink()
    assert main([*SMOKE, "--scale", "2", "--out", str(copy)]) == 2
    assert "results of another computation" in said(capsys)
    assert main([*SMOKE, "--out", str(copy)]) == 0
    assert kept.read_description(copy)["arguments"]["scale"] == 1


@pytest.mark.parametrize("content", ["", "[1]", '{"experiment": 3}', "[" * 100_000, "{" * 9])
def test_a_damaged_description_gets_a_sentence(copy, content, capsys):
    (copy / "run.json").write_text(content)
    assert main([*SMOKE, "--out", str(copy)]) == 2
    assert "run.json" in (error := said(capsys))
    assert "remove it and repeat the command" in error


def test_a_full_disk_stops_the_run_with_a_message_and_leaves_what_was_there(copy, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = {path.name: path.read_bytes() for path in copy.glob("*.*")}
    monkeypatch.setattr("os.fsync", full)
    assert main([*SMOKE, "--out", str(copy)]) == 1
    assert "No space left on device" in (error := said(capsys))
    assert "repeat the command" in error
    assert {path.name: path.read_bytes() for path in copy.glob("*.*")} == before


def test_equal_results_are_equal_files(tmp_path):
    figure, axis = plt.subplots()
    axis.plot([0, 1], [1, 0], label="a line")
    axis.legend()
    plt.close(figure)
    written = []
    for name in ("one", "two"):
        kept.write(tmp_path / name, {}, xr.Dataset({"x": 1.0}), [], figure)
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert set(written[0]) == {"run.json", "results.nc", "claims.json", "figure.png", "figure.svg"}
    assert written[0] == written[1]
    assert b">a line</text>" in written[0]["figure.svg"]


def test_claims_fit_a_terminal_are_whole_in_a_pipe_and_headlines_come_first():
    claims = [
        Claim("x" * 80, "somebody and others 2023, section 4", "> .99", 0.5, 0.4, 0.6, 8, holds=False, headline=True),
        Claim("asked", "asked here", "-", np.nan),
    ]
    for width in (80, 100):
        text = lines(claims, all_of_them=True, width=width)
        assert max(map(len, text)) <= width
        assert [line.split()[0] for line in text if line[0] != " "] == ["holds", "NO", "open"]
    piped = lines(claims, all_of_them=False, width=None)
    assert len(piped) == 4
    assert "expected > .99, measured 0.5 [0.4, 0.6] (n = 8)" in piped[2]
    assert "other 1" in piped[3]


@pytest.mark.parametrize(
    ("where", "code", "signum"),
    [("import", 143, signal.SIGTERM), ("claims", 143, signal.SIGTERM), ("claims", 130, signal.SIGINT)],
)
def test_a_signal_outside_a_sweep_ends_the_run_with_its_code(where, code, signum, tmp_path):
    text, pause = Path(EXAMPLE).read_text(), "print('HERE', flush=True); import time; time.sleep(30)\n"
    at = {"import": "COST =", "claims": "    last, start ="}[where]
    (tmp_path / "mine.py").write_text(text.replace(at, " " * (len(at) - len(at.lstrip())) + pause + at))
    command = [sys.executable, "-m", "experiments", str(tmp_path / "mine.py"), "--preset", "smoke"]
    out = ["--out", str(tmp_path / "run")]
    with subprocess.Popen([*command, *out], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as run:
        assert run.stdout
        assert run.stderr
        assert any("HERE" in line for line in run.stdout)
        run.send_signal(signum)
        error = run.stderr.read()
    assert run.returncode == code
    assert "repeat the command" in error
    assert "Traceback" not in error


def test_it_runs_where_people_run_it(tmp_path):
    """No git, no home, a notebook's Matplotlib, a markup tag in the path, standard output closed."""
    os.chmod(tmp_path, 0o777)
    place = tmp_path / "a [b" / "x[/b]"
    hostile = {"PATH": str(tmp_path), "MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    environment = {key: value for key, value in os.environ.items() if key not in ("HOME", "XDG_CACHE_HOME")} | hostile
    command = [sys.executable, "-m", "experiments", *SMOKE, "--out", str(place)]
    code = f"import os, sys; os.close(1); os.execv(sys.executable, {command!r})"
    run = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert run.returncode == 0, run.stderr
    assert {path.name for path in place.iterdir()} >= FILES
    assert kept.read_description(place)["commit"] == "unknown"


def test_the_commit_is_that_of_the_package_and_not_of_what_surrounds_it(tmp_path, monkeypatch):
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "a thesis"]):
        subprocess.run([*git, *words], check=True)
    (tmp_path / "directory.py").touch()
    monkeypatch.setattr(kept, "__file__", str(tmp_path / "directory.py"))
    assert kept.circumstances()["commit"] == "unknown"
    subprocess.run([*git, "add", "directory.py"], check=True)
    assert re.match(r"[0-9a-f]{7,}-dirty$", kept.circumstances()["commit"])
