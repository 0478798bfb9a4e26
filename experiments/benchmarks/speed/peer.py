"""A peer as a process in an environment of its own (`make peers`): one JSON request a line, one JSON answer a line."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

WORKERS = Path(__file__).parent / "peers"
ENVIRONMENTS = {
    "notebook": "devinterp1",
    "devinterp1": "devinterp1",
    "devinterp2": "devinterp2",
    "canonical": "canonical",
    "transformer": "devinterp1",
}


def python(worker: str) -> Path | None:
    """The interpreter in whose environment a worker runs; None if it is not installed."""
    path = Path(sys.prefix) / "peers" / ENVIRONMENTS[worker] / "bin" / "python"
    return path if path.exists() else None


class Peer:
    """A running worker. `seconds_to_start` is what its imports took."""

    def __init__(self, worker: str, threads: int, *flags: str) -> None:
        self.name = worker
        start, command = time.perf_counter(), [str(python(worker)), "-u", str(WORKERS / f"{worker}.py")]
        self.process = subprocess.Popen(
            [*command, f"--threads={threads}", *flags],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=WORKERS,
        )  # fmt: skip
        self.version = self._read()["version"]
        self.seconds_to_start = time.perf_counter() - start

    def ask(self, **request: Any) -> dict[str, Any]:
        """The answer to a request. Raises RuntimeError with the peer's own words if it failed."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return self._read()

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
