"""Runs that are killed or asked to stop, at any moment, end with the numbers of a run that was not."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

import sweeps
from sweeps.preemption import preemptible, saved

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {
    "JAX_NUM_CPU_DEVICES": "2",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)]),
}
TIMEOUT = 240

SMALL = """
import pickle, sys, time
from pathlib import Path

import cases, sweeps

directory, until = Path(sys.argv[1]), sys.argv[2:]
with sweeps.run(directory):
    print("ready", flush=True)
    trained = cases.trained(chunk=1, block=1, batch=2)
    mapped = sweeps.map(cases.point, cases.GRID, block=1, batch=1)
    (directory / "result").write_bytes(pickle.dumps((tuple(trained.outputs), mapped.to_dict())))
"""

TRANSFORMER = """
import pickle, sys
from pathlib import Path

import jax, optax, sweeps
import toymodels as tm

directory = Path(sys.argv[1])
task = tm.markov_chains(2, 12)
model = tm.Transformer(vocabulary=2, outputs=2, context=12, layers=2, heads=1, width=8)
loss, tx = tm.objective(model, task), optax.adamw(1e-3)
data = task.sample(jax.random.key(0), 16)

def begin(at):
    return tm.start(model.init(jax.random.key(at["seed"]), data.x[0])["params"], tx)

def fit(at, state, times):
    return tm.advance(jax.random.key(at["seed"]), state, times, loss=loss, task=task, tx=tx, batch_size=8)

with sweeps.run(directory):
    print("ready", flush=True)
    runs = sweeps.scan(fit, sweeps.product(seed=range(4)), begin, range(0, 41, 4), chunk=2, batch=2)
    sweeps.map(lambda at, checkpoint: {"loss": loss(checkpoint.params, data).mean()}, runs, name="losses")
    (directory / "result").write_bytes(pickle.dumps(tuple(runs.outputs)))
"""


def start(directory: Path, script: str = SMALL) -> subprocess.Popen:
    command = [sys.executable, "-u", "-c", script, str(directory)]
    return subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until_running(process: subprocess.Popen) -> None:
    """Imports are over."""
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()


def finish(directory: Path, script: str = SMALL) -> bytes:
    """Run to the end: its result."""
    with start(directory, script) as process:
        output = process.communicate(timeout=TIMEOUT)
        assert process.returncode == 0, output
    return (directory / "result").read_bytes()


def stop(directory: Path, sign: signal.Signals, after: float, script: str = SMALL) -> int:
    """Start a run and stop it some seconds after its imports; its exit code."""
    with start(directory, script) as process:
        wait_until_running(process)
        time.sleep(after)
        process.send_signal(sign)
        output = process.communicate(timeout=TIMEOUT)
        ended = (directory / "result").exists()  # then the interpreter, which is leaving, hears it as any other does
        assert process.returncode in (0, 143, -signal.SIGKILL, *([-signal.SIGTERM] if ended else [])), output
        return process.returncode


def storm(place: Path, sign: signal.Signals, count: int, script: str) -> int:
    """Stop runs `count` times at random moments, four in each directory, and let them end; how many were stopped.

    How long a run takes is measured on a second one: the first compiles what all the others find compiled.
    """
    finish(place / "first", script)
    with start(place / "whole", script) as process:
        wait_until_running(process)
        begun = time.monotonic()
        assert process.wait(TIMEOUT) == 0
    longest, expected = (time.monotonic() - begun) / 2, (place / "whole" / "result").read_bytes()
    draw, stopped = random.Random(int(sign)), 0
    for trial in range(count // 4):
        directory = place / str(trial)
        codes = [stop(directory, sign, draw.uniform(0, longest), script) for _ in range(4)]
        stopped += sum(code != 0 for code in codes)
        before = {path: path.stat().st_mtime_ns for path in directory.rglob("*.npz")}
        assert finish(directory, script) == expected
        assert {path: path.stat().st_mtime_ns for path in before} == before, "a finished step was written again"
        assert not list(directory.rglob("*.partial"))
    return stopped


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize(("script", "count"), [(SMALL, 20), (TRANSFORMER, 4)])
def test_stopped_at_random_moments_a_sweep_ends_with_the_same_bits(tmp_path, sign, script, count):
    assert storm(tmp_path, sign, count, script) >= count // 3, "the run is too short for the test to stop it"


LITTLE_ROOM = """
import resource, shutil, subprocess, sys
from pathlib import Path

from experiments.cli import main
from sweeps import store

kind, place, example, last, *sizes = sys.argv[1:]
place = Path(place)
place.mkdir()
if kind == "disk":
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "none", place], check=True)
for size in sizes:
    if kind == "disk":
        subprocess.run(["mount", "-o", f"remount,size={size}", place], check=True)
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), resource.RLIM_INFINITY))
    code = main([example, "--preset", "smoke", "--out", str(place / "run")])
    kept = [store.read(path).path for path in place.rglob("*.npz")]  # raises where one is not whole
    print("room", size, code, len(kept), sum(1 for _ in place.rglob("*.partial")), flush=True)
shutil.copytree(place / "run", last)
"""


def runs_in_little_room(kind: str, place: Path, sizes: list[int]) -> tuple[list[list[int]], list[str]]:
    """One run begun with each of these sizes: exit code, steps kept and partial files of each; the error stream."""
    example = HERE.parent / "experiments" / "example.py"
    command = [sys.executable, "-c", LITTLE_ROOM, kind, place / "small", example, place / "last", *map(str, sizes)]
    if kind == "disk":
        command = ["unshare", "--user", "--map-root-user", "--mount", *command]
    environment = ENVIRONMENT | {"JAX_ENABLE_COMPILATION_CACHE": "false"}  # whose files would be refused as well
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [line.split()[2:] for line in done.stdout.splitlines() if line.startswith("room")]
    return [[int(number) for number in numbers] for numbers in found], done.stderr.splitlines()


def may_mount() -> bool:
    """Whether this user can have a file system of its own."""
    wanted = ["unshare", "--user", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") is not None and subprocess.run(wanted, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("kind", "sizes", "reason"),
    [
        ("files", [100, 1500, 6000, 10**8], "File too large"),
        pytest.param("disk", [4096, 8192, 24576, 10**8], "No space left on device", marks=pytest.mark.slow),
    ],
)
def test_without_room_a_run_stops_with_a_sentence_and_ends_when_there_is_some(tmp_path, kind, sizes, reason):
    if kind == "disk" and not may_mount():
        pytest.skip("no file system of one's own here")
    found, said = runs_in_little_room(kind, tmp_path, sizes)
    assert [code for code, *_ in found] == [1, 1, 1, 0]
    steps = [kept for _, kept, _ in found]
    assert steps == sorted(steps)
    assert 0 == steps[0] < steps[-2] <= steps[-1]
    assert not any(partial for *_, partial in found)
    assert len(said) == 6
    for stopped, what_to_do in zip(said[::2], said[1::2], strict=True):
        assert stopped.startswith("stopped: ")
        assert stopped.endswith(f"could not be written: {reason}")
        assert what_to_do == "What was finished is kept. Make room, and repeat the command."
    assert {"results.nc", "claims.json", "figure.png"} <= {path.name for path in (tmp_path / "last").iterdir()}


COMPILES = """
import sys, jax, jax.numpy as jnp, sweeps

def slow(at):
    x = at["x"] * jnp.ones((8, 8))
    for i in range(400):
        x = jnp.tanh(x @ x) + jnp.sort(x, axis=i % 2)
    return x

print("ready", flush=True)
with sweeps.run(sys.argv[1]):
    sweeps.map(slow, sweeps.product(x=[1.0, 2.0]), block=1)
"""

OUTSIDE = """
import sys, time, sweeps
with sweeps.run(sys.argv[1]):
    print("ready", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(("script", "after"), [(COMPILES, 2.0), (OUTSIDE, 0.1)])
def test_a_request_to_stop_is_heard_in_a_compilation_and_between_sweeps(tmp_path, script, after):
    assert stop(tmp_path / "run", signal.SIGTERM, after, script) == 143


def test_a_request_inside_a_save_is_heard_when_it_is_over(tmp_path):
    done = []
    with pytest.raises(sweeps.Preempted) as stopped, preemptible():  # noqa: PT012
        with saved():
            signal.raise_signal(signal.SIGTERM)
            done.append("saved")
        done.append("went on")
    assert done == ["saved"]
    assert stopped.value.code == 143
    assert "everything finished is kept" in str(stopped.value)


def test_a_request_that_was_swallowed_is_heard_at_the_next_batch():
    with pytest.raises(sweeps.Preempted), preemptible():  # noqa: PT012
        with suppress(sweeps.Preempted):
            signal.raise_signal(signal.SIGTERM)
        with saved():
            pytest.fail("it went on")
    with preemptible(), saved():  # another run of the same process is not asked to stop
        pass


def test_in_another_thread_nothing_listens():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def inside() -> None:
        with preemptible():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before]
    assert signal.getsignal(signal.SIGTERM) == before
