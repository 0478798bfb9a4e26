"""The command line as a user meets it: what it lists, refuses, writes and repeats."""

import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from experiments import cli
from experiments.cli import main

SMOKE = ["tms", "--preset", "smoke"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cli") / "run"
    assert main([*SMOKE, "--out", str(directory)]) == 0
    return directory


def test_without_arguments_it_lists_every_experiment_with_its_question(capsys):
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "tms" in printed
    assert "polygon?" in printed.replace("│", "").replace("\n", " ")


@pytest.mark.parametrize(
    ("argv", "say"),
    [
        (["nope"], "write one of tms"),
        (["tms", "--preset", "huge"], "smoke, default, paper"),
        (["tms", "--seeds", "0"], "write --seeds 1 or more"),
        (["tms", "--chains", "-1"], "write --chains 1 or more"),
        (["tms", "--draws", "3"], "write --draws 8 or more"),
        (["tms", "--batch-size", "0"], "write --batch-size 1 or more"),
        (["tms", "--read", "31"], "write a multiple of 30, such as --read 30"),
        (["tms", "--epochs", "60"], "write --epochs 240 or more"),
        (["tms", "--samples", "0"], "write --samples 2 or more"),
        (["tms", "--epochs", "90000000", "--horizon", "90000000"], "32-bit integer"),
        (["tms", "--learning-rate", "-1"], "positive number"),
        (["tms", "--step-size", "0"], "positive number"),
    ],
)
def test_bad_input_is_refused_with_what_to_write_and_leaves_nothing_behind(argv, say, capsys, tmp_path):
    out = ["--out", str(tmp_path / "run")] if argv != ["nope"] else []
    assert main([*argv, *out]) == 2
    assert say in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "run").exists()


def test_an_unknown_flag_is_refused_with_the_one_that_was_meant(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["tms", "--sedes", "3"])
    assert stopped.value.code == 2
    assert "--seeds" in capsys.readouterr().err


def test_a_run_leaves_everything_in_its_directory(finished):
    names = {path.name for path in finished.iterdir()}
    assert {"run.json", "steps", "llc", "results.nc", "claims.json", "figure.png", "figure.svg"} <= names
    run = json.loads((finished / "run.json").read_text())
    assert run["identity"]["arguments"]["seeds"] == 2
    assert {"versions", "commit", "devices"} <= run["circumstances"].keys()
    with xr.open_dataset(finished / "results.nc", engine="h5netcdf") as results:
        assert results.loss.dims == ("run", "epoch")
        assert np.isfinite(results.value).all()


def test_the_same_flags_give_identical_numbers(finished, tmp_path):
    assert main([*SMOKE, "--out", str(tmp_path / "again")]) == 0
    with (
        xr.open_dataset(finished / "results.nc", engine="h5netcdf") as one,
        xr.open_dataset(tmp_path / "again" / "results.nc", engine="h5netcdf") as other,
    ):
        assert one.identical(other)
    assert (finished / "claims.json").read_bytes() == (tmp_path / "again" / "claims.json").read_bytes()


def test_a_finished_run_is_repeated_from_disk(finished, monkeypatch):
    monkeypatch.setattr("toymodels.store.save", lambda *_: pytest.fail("a finished step was computed again"))
    before = (finished / "claims.json").read_bytes()
    assert main([*SMOKE, "--out", str(finished)]) == 0
    assert (finished / "claims.json").read_bytes() == before


def test_a_directory_that_holds_another_run_is_refused_with_the_difference(finished, capsys):
    assert main([*SMOKE, "--seeds", "3", "--out", str(finished)]) == 2
    assert "arguments.seeds is 2 there and 3 here" in " ".join(capsys.readouterr().out.split())
    assert (finished / "results.nc").exists()


def test_a_full_disk_stops_the_run_with_a_message(finished, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("toymodels.store.write_atomically", full)
    assert main([*SMOKE, "--out", str(finished)]) == 1
    assert "No space left on device" in (printed := " ".join(capsys.readouterr().out.split()))
    assert "repeat the command" in printed


def test_equal_results_are_equal_files(tmp_path):
    figure, axis = plt.subplots()
    axis.plot([0, 1], [1, 0], label="a line")
    axis.legend()
    plt.close(figure)
    written = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        cli._write(tmp_path / name, xr.Dataset({"x": 1.0}), [], figure)
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).glob("figure.*")})
    assert set(written[0]) == {"figure.png", "figure.svg"}
    assert written[0] == written[1]
    assert b">a line</text>" in written[0]["figure.svg"]
