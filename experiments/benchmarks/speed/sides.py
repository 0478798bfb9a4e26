"""Makes the two sides of every comparison ready: builds our work, starts the peers, and tries each once."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.speed import work
from experiments.benchmarks.speed.comparisons import Comparison
from experiments.benchmarks.speed.measure import Measured, Side, cores
from experiments.benchmarks.speed.peer import Peer
from experiments.benchmarks.speed.work import Work

TRIAL = 0.1  # length of a peer's trial
PART = 5  # points of the curve that a peer computes; its time is scaled up


class Sides:
    """Both sides of comparisons. Each work is made once, each peer runs once for each number of threads."""

    def __init__(self, works: dict[str, Callable[[], Work]], folder: Path, stack: ExitStack) -> None:
        self.works, self.folder, self.stack = works, folder, stack
        self.made: dict[str, tuple[Work, Side]] = {}
        self.peers: dict[tuple[str, int], Peer] = {}

    def pair(self, comparison: Comparison) -> tuple[Side, Side, int]:
        """Ours, theirs, and the threads of a peer (0 where there is none)."""
        ours, mine = self._own(comparison.work)
        if not comparison.worker:
            return mine, self._own(comparison.label)[1], 0
        file = self.folder / f"{comparison.work.replace('/', '-')}.npz"
        np.savez(file, **ours.arrays)  # pyright: ignore[reportArgumentType]
        request = ours.settings | comparison.asked | dict(problem=str(file))
        if comparison.work.startswith("curve"):
            return mine, tried(lambda seed: curve_of_peer(comparison.worker, request | {"seed": seed})), 1
        sides = {threads: self._peer(comparison.worker, threads, request) for threads in sorted({1, cores()})}
        threads = min(sides, key=lambda number: sides[number].expected)
        return mine, sides[threads], threads

    def _own(self, name: str) -> tuple[Work, Side]:
        if name not in self.made:
            made = self.works[name]()
            if made.compiles:
                made.measure(0)
            self.made[name] = made, tried(made.measure)
        return self.made[name]

    def _peer(self, worker: str, threads: int, request: dict[str, Any]) -> Side:
        """The peer's side, from a trial at a tenth of the length after another whose time does not count."""
        if (worker, threads) not in self.peers:
            self.peers[worker, threads] = Peer(worker, threads)
            self.stack.callback(self.peers[worker, threads].close)
        peer = self.peers[worker, threads]
        length = "steps" if "steps" in request else "draws"
        short = request | {length: max(2, int(request[length] * TRIAL)), "seed": 0}
        peer.ask(**short)
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
    seconds, cpu = (start + scale * sum(part[i] for part in parts) for i, start in enumerate(peer.started, start=1))
    return Measured(scale * sum(part.steps for part in parts), seconds, cpu, np.zeros(0))
