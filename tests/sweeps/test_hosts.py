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

import cases
import chex
import pytest

import sweeps
from sweeps import hosts

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}
CUT = {"block": 2, "batch": 2}
TRAINED = {f"steps/00000{batch}-00000{part}.npz" for batch in range(3) for part in range(3)}
MAPPED = {f"point/00000{batch}-000000.npz" for batch in range(5)}
TIMEOUT = 240  # seconds for a process that should come to its end

DRIVER = """
import json, os, pickle, signal, sys
from pathlib import Path

import sweeps
from sweeps import hosts, store

settings = json.loads(sys.argv[1])
if settings["processes"] > 1:
    hosts.join(settings["coordinator"], settings["processes"], settings["process"])

import jax
import cases

place, me, done, save = Path(settings["place"]), settings["process"], 0, store.save

def logged(path, *of):
    global done
    done += 1
    if done == settings["dies_at"]:
        os.kill(os.getpid(), signal.SIGKILL)
    save(path, *of)
    with open(place / f"saved-{me}", "a") as log:
        log.write(f"{path.relative_to(place / 'run')}\\n")

store.save = logged
with sweeps.run(place / "run"):
    trained = cases.trained(**settings["cut"])
    mapped = sweeps.map(cases.point, cases.GRID, **settings["cut"])
hosts.wait("the end")
(place / f"result-{me}").write_bytes(pickle.dumps((jax.device_count(), tuple(trained.outputs), mapped)))
"""


def free_address() -> str:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


def start(place: Path, processes: int = 1, *, dies: tuple[int, int] = (0, 0), devices: int = 2) -> list[Any]:
    """The processes of a run in `place`; process `dies[0]` kills itself before its `dies[1]`-th step is saved."""
    place.mkdir(exist_ok=True)
    common, started = dict(place=str(place), processes=processes, cut=CUT, coordinator=free_address()), []
    for process in range(processes):
        settings = json.dumps(common | {"process": process, "dies_at": dies[1] if process == dies[0] else 0})
        environment = ENVIRONMENT | {"JAX_NUM_CPU_DEVICES": str(devices)}
        with open(place / f"output-{process}", "wb") as output:
            command = [sys.executable, "-c", DRIVER, settings]
            started.append(subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT))
    return started


def finish(place: Path, processes: int = 1, **how: Any) -> list[tuple]:
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


def interrupted(place: Path, processes: int, dies: tuple[int, int]) -> None:
    """A run one of whose processes kills itself; the others are then ended."""
    started = start(place, processes, dies=dies)
    try:
        assert started[dies[0]].wait(TIMEOUT) == -signal.SIGKILL, (place / f"output-{dies[0]}").read_text()
        time.sleep(3)
    finally:
        end(started)
    assert not any((place / f"result-{process}").exists() for process in range(processes)), "nobody may finish alone"


def saved(place: Path, process: int) -> list[str]:
    log = place / f"saved-{process}"
    return log.read_text().split() if log.exists() else []


def on_disk(place: Path) -> dict[str, int]:
    """The finished steps of a run, and when each was written."""
    found = (place / "run").rglob("*.npz")
    return {str(path.relative_to(place / "run")): path.stat().st_mtime_ns for path in found}


@pytest.fixture(scope="module")
def one_process():
    """The trajectory and the data set of this process, which has four devices."""
    return tuple(cases.trained(**CUT).outputs), sweeps.map(cases.point, cases.GRID, **CUT)


def assert_same(found: tuple, expected: tuple, devices: int) -> None:
    assert found[0] == devices
    chex.assert_trees_all_equal(found[1], expected[0])
    assert found[2].identical(expected[1])


@pytest.mark.slow
def test_two_processes_give_the_bits_and_files_of_one(one_process, tmp_path):
    for returned in finish(tmp_path, 2):
        assert_same(returned, one_process, devices=4)
    assert Counter(saved(tmp_path, 0) + saved(tmp_path, 1)) == Counter(TRAINED | MAPPED)
    for process in range(2):
        assert {int(step.split("/")[1][:6]) % 2 for step in saved(tmp_path, process)} == {process}
    assert set(on_disk(tmp_path)) == TRAINED | MAPPED
    files = {str(path.relative_to(tmp_path / "run")) for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert files == TRAINED | MAPPED | {".lock"}, "something half-written was left"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("begun_by", "dies", "ended_by"),
    [(2, (1, 5), 2), (2, (0, 8), 2), (2, (1, 2), 1), (1, (0, 6), 2)],
)
def test_a_run_whose_process_is_killed_goes_on_with_any_number(begun_by, dies, ended_by, one_process, tmp_path):
    interrupted(tmp_path, begun_by, dies)
    before = on_disk(tmp_path)
    assert 0 < len(before) < len(TRAINED | MAPPED)
    for returned in finish(tmp_path, ended_by):
        assert_same(returned, one_process, devices=2 * ended_by)
    after = on_disk(tmp_path)
    assert set(after) == TRAINED | MAPPED
    assert {step: after[step] for step in before} == before, "a finished step was written again"


def test_half_an_address_is_refused():
    with pytest.raises(ValueError, match="--coordinator, --processes and --process go together"):
        hosts.join("127.0.0.1:1", None, None)
    with pytest.raises(ValueError, match="got --process 2 of --processes 2: write one from 0 to 1"):
        hosts.join("127.0.0.1:1", 2, 2)


def test_no_cluster_is_refused_with_what_to_write():
    code = "from sweeps import hosts; hosts.join(None, None, None)"
    done = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert "ValueError: no cluster was detected" in done.stderr
    assert "write --coordinator HOST:PORT --processes N --process I as well" in done.stderr


def command(argv: list[str]) -> int:
    """What a job calls."""
    Path(argv[0]).write_text(" ".join(argv[1:]))
    return 0


def test_settings_of_a_job_without_values_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got --slurm 'nodes': write KEY=VALUE"):
        hosts.submit(command, [], tmp_path, "nodes")


@pytest.mark.slow
def test_settings_of_a_job_that_are_none_are_refused(tmp_path):
    if importlib.util.find_spec("submitit") is None:
        pytest.skip("submitit is not installed")
    said = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path), "nonsense=3"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert said.stdout.startswith("refused: got --slurm"), said


JOB = """
import sys, test_hosts
from pathlib import Path
from sweeps import hosts
place = Path(sys.argv[1])
try:
    print(hosts.submit(test_hosts.command, [str(place / "done"), "--seeds", "3"], place, sys.argv[2]))
except ValueError as error:
    print("refused:", error)
"""


@pytest.mark.slow
def test_a_job_submitted_to_the_local_machine_calls_the_command(tmp_path):
    if importlib.util.find_spec("submitit") is None:  # not imported here, where it would take over the standard streams
        pytest.skip("submitit is not installed")
    job = [sys.executable, "-c", JOB, str(tmp_path), "cluster=local"]
    done = subprocess.run(job, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    deadline = time.monotonic() + TIMEOUT
    while not (tmp_path / "done").exists() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert (tmp_path / "done").read_text() == "--seeds 3", [p.read_text() for p in (tmp_path / "slurm").glob("*.err")]


def test_a_job_with_several_tasks_is_told_so_and_passes_its_code_on(monkeypatch):
    calls = []
    job = hosts.Job(lambda argv: calls.append(argv) or 3, ["tms"])
    for tasks in ("1", "4"):
        monkeypatch.setenv("SLURM_NTASKS", tasks)
        with pytest.raises(SystemExit) as stopped:
            job()
        assert stopped.value.code == 3
    assert calls == [["tms"], ["tms", "--distributed"]]
