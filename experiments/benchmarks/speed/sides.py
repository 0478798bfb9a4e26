"""The two sides of every comparison, made ready: our work, a peer in a process of its own, and a trial of each.

A peer runs in an environment of its own (`make peers`): one JSON request a line, one JSON answer a line.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.speed import work
from experiments.benchmarks.speed.comparisons import Comparison
from experiments.benchmarks.speed.measure import Measured, Side, cores
from experiments.benchmarks.speed.work import Work

WORKERS = Path(__file__).parent / "peers"
ENVIRONMENTS = {"training": "devinterp1"}  # of a worker, where its name is another
TRIAL = 1 / 3  # length of a peer's trial
PART = 5  # points of the curve that a peer computes; its time is scaled up


def python(worker: str) -> Path | None:
    """The interpreter in whose environment a worker runs; None if it is not installed."""
    path = Path(sys.prefix) / "peers" / ENVIRONMENTS.get(worker, worker) / "bin" / "python"
    return path if path.exists() else None


class Peer:
    """A running worker. `started`: seconds and processor time that its imports took."""

    def __init__(self, worker: str, threads: int) -> None:
        self.name, begin = worker, time.perf_counter()
        command = [str(python(worker)), "-u", str(WORKERS / f"{worker}.py"), f"--threads={threads}"]
        pipes: Any = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.process = subprocess.Popen(command, **pipes, text=True, cwd=WORKERS)
        ready = self._read()
        self.version, self.started = ready["version"], (time.perf_counter() - begin, ready["cpu"])

    def ask(self, **request: Any) -> Measured:
        """What a request measured. Raises RuntimeError with the peer's own words if it failed."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        return Measured(answer["steps"], answer["seconds"], answer["cpu"], np.array(answer["values"]))

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": f"it ended with code {self.process.wait()}"}
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the worker."""
        with self.process:  # closes its pipes and waits for it
            self.process.kill()


class Sides:
    """Both sides of comparisons. Each work is made once, each peer runs once for each number of threads."""

    def __init__(self, works: dict[str, Callable[[], Work]], folder: Path, stack: ExitStack) -> None:
        self.works, self.folder, self.stack = works, folder, stack
        self.made: dict[str, tuple[Work, Side]] = {}
        self.peers: dict[tuple[str, int], Peer] = {}

    def pair(self, comparison: Comparison) -> tuple[Side, Side, str, int]:
        """Ours, theirs, how their results are compared, and the threads of a peer (0 where there is none)."""
        ours, mine = self._own(comparison.work)
        if not comparison.worker:
            return mine, self._own(comparison.label)[1], ours.agree, 0
        file = self.folder / f"{comparison.work.replace('/', '-')}.npz"
        np.savez(file, **ours.arrays)  # pyright: ignore[reportArgumentType]
        request = ours.settings | (comparison.asked or {}) | dict(problem=str(file))
        if comparison.work.startswith("curve"):
            theirs = tried(lambda seed: curve_of_peer(comparison.worker, request | {"seed": seed}))
            return mine, theirs, ours.agree, 1
        sides = {threads: self._peer(comparison.worker, threads, request) for threads in sorted({1, cores()})}
        threads = min(sides, key=lambda number: sides[number].expected)
        return mine, sides[threads], ours.agree, threads

    def _own(self, name: str) -> tuple[Work, Side]:
        if name not in self.made:
            made = self.works[name]()
            if made.compiles:
                made.measure(0)
            self.made[name] = made, tried(made.measure)
        return self.made[name]

    def _peer(self, worker: str, threads: int, request: dict[str, Any]) -> Side:
        """The peer's side, from a trial at a third of the length; a short one first takes what the first call costs."""
        if (worker, threads) not in self.peers:
            self.peers[worker, threads] = Peer(worker, threads)
            self.stack.callback(self.peers[worker, threads].close)
        peer, length = self.peers[worker, threads], "steps" if "steps" in request else "draws"
        short = request | {length: max(2, int(request[length] * TRIAL)), "seed": 0}
        peer.ask(**short | {length: 2})
        begin = time.perf_counter()
        trial = peer.ask(**short)
        rest = time.perf_counter() - begin - trial.seconds
        expected = rest + trial.seconds * request[length] / short[length]
        return Side(lambda seed: peer.ask(**request, seed=seed), expected)


def tried(measure: Callable[[int], Measured]) -> Side:
    """A side that is expected to take as long as it takes now."""
    begin = time.perf_counter()
    measure(0)
    return Side(measure, time.perf_counter() - begin)


def curve_of_peer(worker: str, request: dict[str, Any]) -> Measured:
    """A whole curve by a peer that has to be started; some of its points, and their time scaled up."""
    peer, scale = Peer(worker, 1), work.POINTS / PART
    parts = [peer.ask(**request) for _ in range(PART)]
    peer.close()
    start, start_cpu = peer.started
    seconds, cpu = sum(part.seconds for part in parts), sum(part.cpu for part in parts)
    steps = scale * sum(part.steps for part in parts)
    return Measured(steps, start + scale * seconds, start_cpu + scale * cpu, np.zeros(0))
