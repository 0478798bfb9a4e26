"""A long sweep in a storm of kills, requests to stop, full and read-only disks and damaged files ends with the same bits.

A driver trains 240 runs (24 saved steps) and estimates at each of them (40 more) on a small file system of its own; it
logs outside of it each step that it begins to compute and each that it has saved.
"""

import hashlib
import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import chex
import pytest

ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"JAX_NUM_CPU_DEVICES": "2", "PYTHONPATH": str(ROOT)}
STEPS = 4 * 6 + 40
PLAN = {"kill": 7, "kill in a save": 5, "term": 7, "full": 5, "read-only from the start": 2, "read-only": 4}  # stops
KINDS = random.Random(1).sample(list(PLAN), k=30, counts=list(PLAN.values()))
DAMAGED = 0.5  # of the restarts find a finished checkpoint damaged
PAGE = 4096
TIMEOUT = 60

DRIVER = """
import pickle, sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments import record, sweep
from experiments.preemption import Preempted, preemptible
from toymodels import train
from toymodels.task import Batch, Task

directory, log, result = map(Path, sys.argv[1:])
resume, save = record.store.resume, record.store.save
log = log.open("a", buffering=1)

def resumed(series, step, like, compute):
    def computed():
        print("begin", f"{series.relative_to(directory)}/{step}", file=log)
        tree = jax.device_get(compute())
        print("save", f"{series.relative_to(directory)}/{step}", file=log)
        return tree

    return resume(series, step, like, computed)

def saved(series, step, tree):
    save(series, step, tree)
    print("saved", f"{series.relative_to(directory)}/{step}", file=log)

record.store.resume, record.store.save = resumed, saved

task = Task(lambda key, n: Batch(jax.random.normal(key, (n, 16)), jnp.zeros(n)), lambda found, y: found - y)
tx = optax.adam(1e-2)

def advance(at, state, checkpoints):
    loss = lambda params, batch: jnp.mean((jnp.tanh(batch.x @ params) - at["shift"] * batch.x) ** 2)
    return train.advance(jax.random.key(at["seed"]), state, checkpoints, loss=loss, task=task, tx=tx, batch_size=16)

def estimate(at):
    def step(i, w):
        noise = jax.random.normal(jax.random.fold_in(jax.random.key(at["seed"]), i), w.shape)
        return w - 1e-2 * jnp.tanh(w @ w) + 1e-2 * noise

    end = jax.lax.fori_loop(0, 6000, step, at["W"])
    return {"energy": jnp.sum(end**2), "end": end}

grid = sweep.product(shift=np.linspace(0.1, 1, 24, dtype=np.float32), seed=range(10))
first = jax.vmap(lambda seed: train.start(jax.random.normal(jax.random.key(seed), (16, 16)) / 4, tx))(grid["seed"])
try:
    with record.recording(directory), preemptible():
        print("ready", file=log)
        state, checkpoints = first._replace(step=np.int32(0)), train.linear(3400, 200)
        found = sweep.train(advance, grid, state, checkpoints, chunk=3, block=30, batch=60)
        points = {"W": found.params[:, -1], "seed": grid["seed"], "shift": grid["shift"]}
        estimates = sweep.run(estimate, points, name="estimates", block=3, batch=6)
except OSError as error:
    print(f"stopped: {error}", flush=True)
    sys.exit(1)
except Preempted as stopped:
    print(stopped, flush=True)
    sys.exit(143)
result.write_bytes(pickle.dumps((tuple(found), estimates)))
"""


class Place(NamedTuple):
    """Where a sweep runs: `run` on a disk that may be full, the rest on one that never is."""

    run: Path
    log: Path
    result: Path
    output: Path

    def start(self) -> subprocess.Popen:
        self.log.write_text("")
        arguments = [str(path) for path in (self.run, self.log, self.result)]
        with self.output.open("w") as output:
            return subprocess.Popen(
                [sys.executable, "-u", "-c", DRIVER, *arguments], env=ENVIRONMENT, stdout=output, stderr=output
            )

    def logged(self, event: str) -> list[str]:
        """The steps of this start to which something happened; only whole lines count."""
        lines = self.log.read_text().rpartition("\n")[0].splitlines()
        return [line.partition(" ")[2] for line in lines if line.split()[0] == event]

    def finished(self, broken: Collection[str] = ()) -> dict[str, tuple[int, str]]:
        """The steps that the run calls whole: when each was, and its digest. Asserts that they are, but for `broken`."""
        found = {}
        for digest in self.run.rglob("digest.json"):
            step = str(digest.parent.relative_to(self.run))
            if agrees(digest):
                found[step] = (digest.stat().st_mtime_ns, digest.read_text())
            else:
                assert step in broken, f"{digest.parent} is corrupted"
        return found


def agrees(digest: Path) -> bool:
    """Whether a checkpoint holds the files that its digest lists."""
    try:
        wanted = json.loads(digest.read_text())
        return all(hashlib.sha256((digest.parent / name).read_bytes()).hexdigest() == wanted[name] for name in wanted)
    except (OSError, ValueError):
        return False


def place(directory: Path, run: Path) -> Place:
    return Place(run, directory / "log", directory / "result", directory / "output")


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A small file system of its own."""
    at = tmp_path / "disk"
    at.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=50M", "tmpfs", str(at)], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs privileges")
    yield at
    subprocess.run(["umount", "--lazy", str(at)], check=True)


def remount(disk: Path, options: str) -> bool:
    return not subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], capture_output=True).returncode


def used(disk: Path) -> int:
    found = os.statvfs(disk)
    return (found.f_blocks - found.f_bfree) * found.f_frsize


def await_event(process: subprocess.Popen, at: Place, event: str, count: int) -> None:
    """Until an event has happened `count` times in this start, or it has ended."""
    deadline = time.monotonic() + TIMEOUT
    while len(at.logged(event)) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def stop(kind: str, at: Place, disk: Path, draw: random.Random, duration: float) -> int:
    """Start the sweep and stop it once in the given way, at some moment; its exit code. `duration` is of one step."""
    if kind == "full":
        assert remount(disk, f"size={used(disk) + PAGE * draw.randrange(1, 24)}")
    if kind == "read-only from the start":
        assert remount(disk, "ro")
    process = at.start()
    try:
        await_event(process, at, "ready", 1)
        event, count, latest = ("save", 3, 0.1) if kind == "kill in a save" else ("begin", 4, duration)
        await_event(process, at, event, draw.randint(1, count))
        time.sleep(draw.uniform(0, latest))
        if kind.startswith("kill"):
            process.kill()
        elif kind == "term":
            process.terminate()
        elif kind == "read-only":
            deadline = time.monotonic() + TIMEOUT
            while not remount(disk, "ro") and time.monotonic() < deadline:  # refused while a file is being written
                time.sleep(0.001)
        return process.wait(TIMEOUT)
    finally:
        process.kill()
        process.wait()
        assert remount(disk, "rw,size=50M")


def damage(at: Place, step: str, draw: random.Random) -> str:
    """Truncate, alter or delete a random file of a checkpoint; which was done."""
    files = sorted(path for path in (at.run / step).rglob("*") if path.is_file() and path.stat().st_size)
    file, how = draw.choice(files), draw.choice(["truncated", "altered", "deleted"])
    content = bytearray(file.read_bytes())
    if how == "truncated":
        os.truncate(file, draw.randrange(len(content)))
    elif how == "altered":
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
    else:
        file.unlink()
    return how


def stage(at: Place) -> str:
    """What the sweep was doing when its log ended."""
    last = at.log.read_text().rpartition("\n")[0].splitlines()[-1].split()
    names = {"ready": "reading", "begin": "computing", "save": "saving", "saved": "between"}
    return f"{names[last[0]]} {last[1].split('/')[0] if len(last) > 1 else ''}".strip()


def check_end(kind: str, code: int, at: Place, whole: set[str]) -> None:
    """The exit code, what was said, and after a request to stop that nothing under way was lost."""
    output = at.output.read_text()
    if kind.startswith("kill"):
        assert code == -signal.SIGKILL, output
    elif kind == "term":
        assert code == 143, output
        assert "stopped on request after" in output
        assert set(at.logged("begin")) <= whole, "what was under way is lost"
    else:
        assert code == 1, output
        reasons = ("no space left on",) if kind == "full" else ("read-only file system",)
        assert any(reason in output.partition("stopped: ")[2].lower() for reason in reasons), output


def check_work(at: Place, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Of what was whole nothing was computed, written or lost; what was said to be saved is whole."""
    begun = at.logged("begin")
    assert not set(begun) & set(before), "a finished step was computed again"
    assert len(begun) == len(set(begun)), "a step was computed twice"
    assert {step: after.get(step) for step in before} == before, "a finished step was written again, or is gone"
    assert set(at.logged("saved")) <= set(after)
    assert set(after) <= set(before) | set(begun)


def result(at: Place) -> tuple:
    return pickle.loads(at.result.read_bytes())


def weather(at: Place, disk: Path, duration: float) -> tuple[dict[str, Any], str, Counter, list[tuple[str, str]]]:
    """All stops, and damage in between. What is whole afterwards, what was said, where it was stopped, the damage."""
    draw, whole, broken, said, stages, damaged = random.Random(0), {}, set(), "", Counter(), []
    for kind in KINDS:
        if whole and draw.random() < DAMAGED:
            step = draw.choice(sorted(whole))
            damaged.append((step, damage(at, step, draw)))
            broken.add(step)
            del whole[step]
        code = stop(kind, at, disk, draw, duration)
        said += at.output.read_text()
        stages[kind, stage(at)] += 1
        after = at.finished(broken)
        check_end(kind, code, at, set(after))
        check_work(at, whole, after)
        whole, broken = after, broken - set(after)
    return whole, said, stages, damaged


@pytest.mark.slow
def test_a_sweep_in_a_storm_ends_with_the_bits_of_one_that_was_let_alone(tmp_path, disk):
    (tmp_path / "calm").mkdir()
    calm, storm = place(tmp_path / "calm", tmp_path / "calm" / "run"), place(tmp_path, disk / "run")
    alone = calm.start()
    await_event(alone, calm, "saved", 1)
    begun = time.monotonic()
    assert alone.wait(TIMEOUT) == 0, calm.output.read_text()
    duration = (time.monotonic() - begun) / STEPS
    assert len(calm.finished()) == STEPS

    whole, said, stages, damaged = weather(storm, disk, duration)
    print(f"{duration:.2f} s a step; stops by stage: {dict(stages)}; damaged: {damaged}")
    assert {where for _, where in stages} >= {"computing steps", "saving steps", "computing estimates"}
    assert len(damaged) >= 8

    last = storm.start()
    assert last.wait(TIMEOUT) == 0, storm.output.read_text()
    check_work(storm, whole, storm.finished())
    assert set(storm.finished()) == set(calm.finished())
    said += storm.output.read_text()
    assert all(str(storm.run / step) in said for step, _ in damaged), "damage is passed over in silence"
    for found, expected in zip(*map(result, (storm, calm)), strict=True):
        equal = (
            found.identical(expected) if hasattr(found, "identical") else chex.assert_trees_all_equal(found, expected)
        )
        assert equal in (True, None)

    again = storm.start()
    assert again.wait(TIMEOUT) == 0
    assert storm.logged("begin") == []
