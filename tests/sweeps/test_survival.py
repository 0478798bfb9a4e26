"""Runs that are killed, at any moment, end with the numbers of a run that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": str(ROOT)}

SAVES = """
import os, signal, sys, threading, time
import numpy as np
from pathlib import Path
from typing import Any
from toymodels import store

directory, delay = Path(sys.argv[1]), float(sys.argv[2])
value = lambda step: {"a": np.random.default_rng(step).normal(size=(400, 400)), "step": np.array(step)}
for step in range(12):
    if step == 4 and delay > 0:  # within this save, or soon after
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
    tree = store.resume(directory, step, value(step), lambda: value(step))
    assert np.array_equal(tree["a"], value(step)["a"])
"""


@pytest.mark.parametrize("delay", [0.002, 0.01, 0.03])
def test_killed_while_saving_it_goes_on_from_the_last_whole_step(tmp_path, delay):
    command = [sys.executable, "-c", SAVES, str(tmp_path / "series")]
    killed = subprocess.run([*command, str(delay)], env=ENVIRONMENT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    again = subprocess.run([*command, "0"], env=ENVIRONMENT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert sorted(int(path.name) for path in (tmp_path / "series").iterdir()) == list(range(12))


FLAGS = {"seeds": 2, "epochs": 1200, "watch": 8, "horizon": 1200, "chains": 2, "warmup": 20, "draws": 60, "patience": 2}


def start(out: Path) -> subprocess.Popen:
    flags = [f"--{name}={value}" for name, value in FLAGS.items()]
    command = [sys.executable, "-u", "-m", "experiments", "tms", *flags, f"--out={out}"]
    return subprocess.Popen(
        command, env=ENVIRONMENT, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_until_running(process: subprocess.Popen) -> None:
    """Imports are over, and the run directory has been announced."""
    assert process.stdout is not None
    for line in process.stdout:
        if "run directory" in line:
            return


def contents(out: Path) -> dict[str, Any]:
    with xr.open_dataset(out / "results.nc", engine="h5netcdf") as results:
        return {"results": results.load(), "claims": (out / "claims.json").read_bytes()}


def finish(out: Path) -> tuple[int, str]:
    """Run to the end: the exit code, and what was printed with white space folded."""
    with start(out) as process:
        output = " ".join(process.communicate()[0].split())
        return process.returncode, output


def kill(out: Path, after: float) -> bool:
    """Start a run and kill it some seconds after its imports; whether it was still running."""
    with start(out) as process:
        wait_until_running(process)
        time.sleep(after)
        process.kill()
        return process.wait() == -signal.SIGKILL


@pytest.mark.slow
def test_killed_at_twenty_random_moments_the_run_ends_with_the_same_bits(tmp_path):
    with start(tmp_path / "whole") as whole:
        wait_until_running(whole)
        begun = time.monotonic()
        assert whole.wait() == 0
        duration = time.monotonic() - begun
    expected, draw, kills = contents(tmp_path / "whole"), random.Random(0), 0
    for trial in range(5):
        out = tmp_path / str(trial)
        kills += sum(kill(out, draw.uniform(0, duration / 3)) for _ in range(4))
        code, output = finish(out)
        assert code == 0, output
        found = contents(out)
        assert found["results"].identical(expected["results"])
        assert found["claims"] == expected["claims"]
    assert kills >= 18, "the run is too short for the test to kill it"


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_room_lets_it_finish(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(disk)], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs privileges")
    try:
        code, output = finish(disk / "run")
        assert code == 1
        assert "no space left on the device" in output
        assert "repeat the command" in output
        subprocess.run(["mount", "-o", "remount,size=50M", str(disk)], check=True)
        code, output = finish(disk / "run")
        assert code == 0, output
        assert np.isfinite(contents(disk / "run")["results"].loss).all()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
