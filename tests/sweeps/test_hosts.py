"""Several processes are one run: the same numbers as one process, each batch written once, killed or not."""

import importlib.util
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import chex
import numpy as np
import pytest
import test_sweep as small
import xarray as xr

from experiments import sweep
from experiments.cli import main
from toymodels.store import DIGEST

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {
    "JAX_NUM_CPU_DEVICES": "2",
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests/experiments")]),
}
GIVEN, DEFAULT = {"block": 2, "batch": 2}, {}
TRAINED = {f"steps/{batch}/{step}" for batch in range(3) for step in (2, 9, 12)}
EVALUATED = {f"points/{batch}" for batch in range(5)}
TIMEOUT = 120  # seconds for a process that should come to its end

DRIVER = """
import json, os, pickle, signal, sys
from pathlib import Path

import jax

settings = json.loads(sys.argv[1])
if settings["processes"] > 1:
    jax.distributed.initialize(settings["coordinator"], settings["processes"], settings["process"])

import test_sweep as small
from experiments import record, sweep

place, me, done = Path(settings["place"]), settings["process"], 0
resume = record.store.resume

def logged(directory, step, like, compute):
    series = directory.relative_to(place / "run")

    def computed():
        global done
        done += 1
        if done == settings["dies_at"]:
            os.kill(os.getpid(), signal.SIGKILL)
        with open(place / f"computed-{me}", "a") as log:
            log.write(f"{series}/{step}\\n")
        return compute()

    return resume(directory, step, like, computed)

record.store.resume = logged
with record.recording(place / "run"):
    trained = sweep.train(
        small.train_point, small.RUNS, small.begin(small.RUNS), small.CHECKPOINTS, chunk=3, **settings["cut"]
    )
    evaluated = sweep.run(small.point, small.GRID, name="points", **settings["cut"])
(place / f"result-{me}").write_bytes(pickle.dumps((jax.device_count(), tuple(trained), evaluated)))
"""


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def start(place: Path, processes: int = 1, *, cut: dict[str, int] = GIVEN, dies: tuple[int, int] = (0, 0), devices=2):
    """The processes of a run in `place`; process `dies[0]` kills itself when asked to compute its `dies[1]`-th step."""
    place.mkdir(exist_ok=True)
    common, environment = dict(place=str(place), processes=processes, cut=cut, coordinator=free_address()), ENVIRONMENT
    started = []
    for process in range(processes):
        settings = json.dumps(common | {"process": process, "dies_at": dies[1] if process == dies[0] else 0})
        with open(place / f"output-{process}", "wb") as output:
            started.append(
                subprocess.Popen(
                    [sys.executable, "-c", DRIVER, settings],
                    env=environment | {"JAX_NUM_CPU_DEVICES": str(devices)},
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            )
    return started


def finish(place: Path, processes: int = 1, **how: Any) -> list[tuple[int, tuple, xr.Dataset]]:
    """Run to the end; what each process returned: devices, trajectory, data set."""
    started = start(place, processes, **how)
    try:
        codes = [process.wait(TIMEOUT) for process in started]
    finally:
        end(started)
    assert not any(codes), "\n".join((place / f"output-{process}").read_text() for process in range(processes))
    return [pickle.loads((place / f"result-{process}").read_bytes()) for process in range(processes)]


def end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()
        process.wait()


def interrupted(place: Path, processes: int, dies: tuple[int, int], patience: float = 5) -> None:
    """A run one of whose processes kills itself; the others are ended when they have waited for it long enough."""
    started = start(place, processes, dies=dies)
    try:
        assert started[dies[0]].wait(TIMEOUT) == -signal.SIGKILL, (place / f"output-{dies[0]}").read_text()
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and any(process.poll() is None for process in started):
            time.sleep(0.05)
    finally:
        end(started)
    assert not any((place / f"result-{process}").exists() for process in range(processes)), "nobody may finish alone"


def computed(place: Path, processes: int = 2) -> list[str]:
    """Steps computed so far, by all processes, with repetitions."""
    logs = [place / f"computed-{process}" for process in range(processes)]
    return [line for log in logs if log.exists() for line in log.read_text().split()]


def on_disk(place: Path) -> dict[str, int]:
    """The finished steps of a run, and when each was written."""
    found = (place / "run").rglob(DIGEST)
    return {str(path.parent.relative_to(place / "run")): path.stat().st_mtime_ns for path in found}


def assert_same(found: tuple[int, tuple, xr.Dataset], expected: tuple[tuple, xr.Dataset], devices: int) -> None:
    assert found[0] == devices
    chex.assert_trees_all_equal(found[1], expected[0])
    assert found[2].identical(expected[1])


@pytest.fixture(scope="module")
def one_process():
    """The trajectory and the data set of this process, which has four devices."""

    def compute(**cut: int) -> tuple[tuple, xr.Dataset]:
        trained = sweep.train(small.train_point, small.RUNS, small.begin(small.RUNS), small.CHECKPOINTS, chunk=3, **cut)
        return tuple(trained), sweep.run(small.point, small.GRID, name="points", **cut)

    given, default = compute(**GIVEN), compute()
    chex.assert_trees_all_equal(given[0], default[0])
    assert given[1].identical(default[1])
    return given


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """Where two processes of two devices have run, and what each returned."""
    place = tmp_path_factory.mktemp("two")
    return place, finish(place, 2)


def test_every_process_returns_the_bits_of_one_process_with_as_many_devices(two_processes, one_process):
    for returned in two_processes[1]:
        assert_same(returned, one_process, devices=4)


def test_two_devices_give_the_bits_of_four(one_process, tmp_path):
    assert_same(finish(tmp_path / "one")[0], one_process, devices=2)


def test_each_batch_is_computed_once_by_its_process_and_written_once(two_processes):
    place = two_processes[0]
    assert Counter(computed(place)) == Counter(TRAINED | EVALUATED)
    for process in range(2):
        assert {int(step.split("/")[1]) % 2 for step in computed_by(place, process)} == {process}
    assert set(on_disk(place)) == TRAINED | EVALUATED
    assert {path.name for path in (place / "run").iterdir()} == {"steps", "points"}
    steps = {str(path.relative_to(place / "run")) for path in (place / "run").glob("steps/*/*")}
    assert steps == TRAINED, "something half-written was left"
    assert {path.name for path in (place / "run" / "points").iterdir()} == {"layout.json", *"01234"}


def computed_by(place: Path, process: int) -> list[str]:
    return (place / f"computed-{process}").read_text().split()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begun_by", "dies", "ended_by"),
    [(2, (1, 5), 2), (2, (0, 8), 2), (2, (1, 2), 1), (1, (0, 6), 2)],
)
def test_a_run_whose_process_is_killed_goes_on_with_any_number(begun_by, dies, ended_by, one_process, tmp_path):
    place = tmp_path / "run"
    interrupted(place, begun_by, dies)
    before, first = on_disk(place), Counter(computed(place))
    assert 0 < len(before) < len(TRAINED | EVALUATED)
    for returned in finish(place, ended_by):
        assert_same(returned, one_process, devices=2 * ended_by)
    after = on_disk(place)
    assert set(after) == TRAINED | EVALUATED
    assert {step: after[step] for step in before} == before, "a finished step was written again"
    assert not set(Counter(computed(place)) - first) & set(before), "a finished step was computed again"


@pytest.mark.slow
def test_the_block_and_batch_that_a_run_chooses_change_no_bit(one_process, tmp_path):
    for processes, devices in ((1, 4), (2, 2)):
        for returned in finish(tmp_path / str(processes), processes, cut=DEFAULT, devices=devices):
            assert_same(returned, one_process, devices=4)


def command(*flags: str, out: Path) -> list[str]:
    return [sys.executable, "-m", "experiments", "tms", "--preset=smoke", f"--out={out}", *flags]


@pytest.mark.parametrize(
    ("flags", "say"),
    [
        (["--coordinator", "127.0.0.1:1"], "--coordinator, --processes and --process go together"),
        (["--distributed", "--processes", "2"], "--coordinator, --processes and --process go together"),
        (["--memory", "3 apples"], "got --memory 3 apples: write a size such as 500MB or 12GB"),
        (["--memory", "1"], "and the bound is 0 MB: write --memory"),
        (["--slurm", "nodes"], "write KEY=VALUE"),
    ],
)
def test_bad_settings_of_a_run_are_refused_with_what_to_write(flags, say, capsys, tmp_path):
    assert main(["tms", "--preset", "smoke", *flags, "--out", str(tmp_path / "run")]) == 2
    assert say in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "run").exists()


def test_without_a_cluster_distributed_alone_is_refused_with_what_to_write(tmp_path):
    done = subprocess.run(
        command("--distributed", out=tmp_path / "run"), env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "no cluster was detected" in (printed := " ".join(done.stdout.split()))
    assert "write --coordinator HOST:PORT --processes N --process I as well" in printed
    assert not (tmp_path / "run").exists()


def results(out: Path) -> xr.Dataset:
    with xr.open_dataset(out / "results.nc", engine="h5netcdf") as found:
        return found.load()


@pytest.mark.slow
def test_an_experiment_on_two_processes_is_the_experiment_on_one(tmp_path):
    assert main(["tms", "--preset", "smoke", "--out", str(tmp_path / "one")]) == 0
    together = ["--distributed", "--coordinator", free_address(), "--processes", "2", "--process"]
    started = [
        subprocess.Popen(
            command(*together, str(process), out=tmp_path / "two"),
            env=ENVIRONMENT,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for process in range(2)
    ]
    try:
        printed = [process.communicate(timeout=TIMEOUT)[0] for process in started]
    finally:
        end(started)
    assert [process.returncode for process in started] == [0, 0], printed
    assert "results" in printed[0]
    said = [line for line in printed[1].splitlines() if not line.startswith("[Gloo]")]
    assert not said, "only the first process prints; the transport says what it likes"
    assert results(tmp_path / "two").identical(results(tmp_path / "one"))
    assert (tmp_path / "two" / "claims.json").read_bytes() == (tmp_path / "one" / "claims.json").read_bytes()


@pytest.mark.slow
def test_a_job_submitted_to_the_local_machine_leaves_its_results(tmp_path):
    if importlib.util.find_spec("submitit") is None:  # not imported here, where it would take over the standard streams
        pytest.skip("submitit is not installed")
    out = tmp_path / "run"
    done = subprocess.run(
        command("--slurm", "cluster=local", out=out), env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "submitted" in done.stdout
    deadline = time.monotonic() + TIMEOUT
    while not (out / "figure.svg").exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert (out / "figure.svg").exists(), "\n".join(path.read_text() for path in (out / "slurm").glob("*.err"))
    assert np.isfinite(results(out).loss).all()
