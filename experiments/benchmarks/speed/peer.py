"""A peer as a process in an environment of its own (`make peers`): one JSON request a line, one JSON answer a line."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmarks.speed.measure import Measured

WORKERS = Path(__file__).parent / "peers"
ENVIRONMENTS = {
    "training": "devinterp1",
    "devinterp1": "devinterp1",
    "devinterp2": "devinterp2",
    "canonical": "canonical",
}


def python(worker: str) -> Path | None:
    """The interpreter in whose environment a worker runs; None if it is not installed."""
    path = Path(sys.prefix) / "peers" / ENVIRONMENTS[worker] / "bin" / "python"
    return path if path.exists() else None


class Peer:
    """A running worker. `started`: seconds and processor time that its imports took."""

    def __init__(self, worker: str, threads: int) -> None:
        self.name, self.threads = worker, threads
        begin = time.perf_counter()
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
