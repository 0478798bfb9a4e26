"""Several processes as one run (`jax.distributed`), and a run as a SLURM job."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import multihost_utils


def join(coordinator: str | None, processes: int | None, process: int | None) -> None:
    """Make this process one of a run. SLURM, Kubernetes, Open MPI and Cloud TPU are detected where nothing is given.

    Must come before JAX touches a device. Raises ValueError if nothing is given and nothing is detected.
    """
    given = (coordinator, processes, process)
    if any(value is not None for value in given) and any(value is None for value in given):
        raise ValueError(
            "--coordinator, --processes and --process go together: write for example --distributed "
            "--coordinator 10.0.0.1:1234 --processes 4 --process 0, or only --distributed where the cluster is detected"
        )
    if processes is not None and process is not None and not 0 <= process < processes:
        raise ValueError(f"got --process {process} of --processes {processes}: write one from 0 to {processes - 1}")
    try:
        jax.distributed.initialize(coordinator, processes, process)
    except ValueError as error:
        raise ValueError(
            f"no cluster was detected ({error}): write --coordinator HOST:PORT --processes N --process I as well"
        ) from error
    except RuntimeError as error:
        raise ValueError(f"the processes did not find each other: {error}") from error


def is_first() -> bool:
    """Whether this is the process that prints, and writes what is there once."""
    return jax.process_index() == 0


def wait(what: str) -> None:
    """Until all processes have come here."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)


def submit(command: Callable[[list[str]], int], argv: Sequence[str], directory: Path, settings: str) -> str:
    """Send `command(argv)` to SLURM, which gets `--distributed` too if the job has several tasks; the job's number.

    `settings` are submitit's, "nodes=4,tasks_per_node=1,gpus_per_node=8,slurm_partition=gpu,timeout_min=600". A job
    that is preempted or out of time saves (SIGTERM), is queued again by submitit, and goes on. "cluster=local" runs it
    here.
    """
    parameters = dict(item.split("=", 1) for item in settings.split(",") if "=" in item)
    if len(parameters) != len(settings.split(",")):
        raise ValueError(f'got --slurm {settings!r}: write KEY=VALUE,..., such as "nodes=2,slurm_partition=gpu"')
    try:
        import submitit  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("--slurm needs submitit: pip install -c constraints.txt -e '.[slurm]'") from None

    try:
        executor = submitit.AutoExecutor(directory / "slurm", cluster=parameters.pop("cluster", None))
        executor.update_parameters(**{key: int(v) if v.isdigit() else v for key, v in parameters.items()})
    except (NameError, ValueError, RuntimeError) as error:
        raise ValueError(f"got --slurm {settings!r}: {error}") from error
    return executor.submit(Job(command, list(argv))).job_id


class Job(NamedTuple):
    """One run of the command line inside a SLURM job; what submitit pickles, and queues again."""

    command: Callable[[list[str]], int]
    argv: list[str]

    def __call__(self) -> int:
        distributed = ["--distributed"] if int(os.environ.get("SLURM_NTASKS", "1")) > 1 else []
        if code := self.command([*self.argv, *distributed]):
            sys.exit(code)
        return 0

    def checkpoint(self, *_: Any) -> Any:
        """What to queue in place of a job that was stopped: the same, which goes on from what is on disk."""
        from submitit.helpers import DelayedSubmission  # pyright: ignore[reportMissingImports]

        return DelayedSubmission(self)
