"""The command line: `python -m experiments` lists the experiments, `python -m experiments NAME [--flags]` runs one.

A run writes run.json, its checkpoints, results.nc, claims.json and the figure into its directory; the same command
again goes on where it was stopped. Heavy imports happen inside functions, so that something shows from the first
second.
"""

import argparse
import dataclasses
import fcntl
import functools
import hashlib
import inspect
import io
import itertools
import json
import logging
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typing_extensions import Doc

from experiments.experiment import EXPERIMENTS, Claim, find, question
from experiments.preemption import Preempted, preemptible


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code.

    0 done, 1 stopped by the machine, 2 bad input, 130 interrupted, 143 preempted (SIGTERM).
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    if not argv or argv[0] in ("-h", "--help"):
        _list(console)
        return 0
    directory = None
    try:
        if argv[0] == "plan":
            _plan(console, argv[1:])
            return 0
        if argv[0] == "results":
            _results(argv[1:])
            return 0
        with console.status("importing"):
            _configure(argv)
            module = find(argv[0])
        arguments, how = _parse(module, argv[0], argv[1:])
        directory = how["out"] or Path("checkpoints") / f"{argv[0]}-{_short(arguments)}"
        if how["slurm"]:
            _submit(console, argv, how["slurm"], directory)
        else:
            _run(console, module, argv[0], arguments, directory, how)
    except ValueError as error:
        console.print(f"[bold red]error:[/] {escape(str(error))}")
        return 2
    except OSError as error:
        console.print(f"[bold red]stopped:[/] {escape(str(error))}")
        console.print(
            f"What was finished is intact in {directory}. Make room or mend the path, and repeat the command."
        )
        return 1
    except KeyboardInterrupt:
        console.print(f"[bold]interrupted:[/] what was finished is kept in {directory}; repeat the command to go on.")
        return 130
    except RuntimeError as error:
        if "Gloo" not in str(error) and "coordination" not in str(error).lower():
            raise
        console.print(
            f"[bold red]stopped:[/] another process of this run has ended ({escape(str(error).splitlines()[0])})"
        )
        console.print(f"What was finished is kept in {directory}; start all processes again to go on.")
        return 1
    except Preempted as stopped:
        console.print(f"[bold]preempted:[/] {stopped}; everything is kept in {directory}, repeat the command to go on.")
        return 143
    return 0


def _list(console: Console) -> None:
    table = Table(
        title=escape("python -m experiments [plan] NAME [--flags] [--preset smoke|default|paper] [--out DIR]"),
        caption="python -m experiments results DIR ...: what finished runs claimed and measured, as Markdown",
    )
    for column in ("name", "question", "cost"):
        table.add_column(column)
    for name, cost in EXPERIMENTS.items():
        table.add_row(name, question(name), cost)
    console.print(table)


def _configure(argv: list[str]) -> None:
    """One CPU device per core, so that a sweep uses them all, and compiled programs kept between runs.

    Several processes find each other here, since imports (BlackJAX's) already compute, and JAX wants it before that.
    """
    import jax

    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs the traceback of what it raises as well
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "toymodels-slt"
        jax.config.update("jax_compilation_cache_dir", str(cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--distributed", action="store_true")
    for flag, kind in (("--coordinator", str), ("--processes", int), ("--process", int)):
        early.add_argument(flag, type=kind)
    found = early.parse_known_args(argv)[0]
    if found.distributed or (found.coordinator, found.processes, found.process) != (None, None, None):
        from experiments import hosts

        hosts.join(found.coordinator, found.processes, found.process)


def _parse(module: ModuleType, name: str, argv: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The arguments of `module.run` from the flags, and how to run it. A preset is another set of defaults."""
    import tyro

    presets = module.PRESETS
    chosen = next((value for flag, value in itertools.pairwise(argv) if flag == "--preset"), "default")
    chosen = next((a.removeprefix("--preset=") for a in argv if a.startswith("--preset=")), chosen)
    if chosen not in presets:
        raise ValueError(f"unknown preset {chosen!r} of {name}: write --preset with one of {', '.join(presets)}")
    settings = _settings(functools.partial(module.run, **presets[chosen]), chosen)
    parsed = tyro.cli(settings, args=argv, prog=f"python -m experiments {name}", description=question(name))
    arguments = dataclasses.asdict(parsed)
    how = {key: arguments.pop(key) for key, _, _ in HOW}
    return arguments, how | {"memory": how["memory"] and _bytes(how["memory"])}


HOW = [
    ("preset", Annotated[str, Doc("smoke (seconds), default (minutes on two cores) or paper (the published size)")], ""),
    ("out", Annotated[Path | None, Doc("the run directory; by default one under checkpoints/ named by the arguments")], None),
    ("memory", Annotated[str | None, Doc("bound on what a device is given at a time, such as 500MB or 12GB")], None),
    ("distributed", Annotated[bool, Doc("this is one of several processes (jax.distributed)")], False),
    ("coordinator", Annotated[str | None, Doc("HOST:PORT of process 0, where the cluster is not detected")], None),
    ("processes", Annotated[int | None, Doc("number of processes, where it is not detected")], None),
    ("process", Annotated[int | None, Doc("number of this process, from 0, where it is not detected")], None),
    ("slurm", Annotated[str | None, Doc("submit as a SLURM job instead, with submitit's KEY=VALUE,...")], None),
]  # fmt: skip
"""Flags of every experiment that change no number: name, what it is, default."""


def _bytes(text: str) -> int:
    """500MB -> 500000000."""
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
    number = text.upper().rstrip("KMGB")
    unit = text.upper()[len(number) :].strip()
    try:
        return int(float(number) * units[unit])
    except (ValueError, KeyError, OverflowError):
        raise ValueError(f"got --memory {text}: write a size such as 500MB or 12GB") from None


def _settings(run: functools.partial, preset: str) -> type:
    """What the command line is parsed into: the keywords of `run` with their defaults, and how to run it."""
    keywords = [(p.name, p.annotation, p.default) for p in inspect.signature(run).parameters.values()]
    how = [(key, kind, preset if key == "preset" else default) for key, kind, default in HOW]
    settings = dataclasses.make_dataclass("Settings", [*keywords, *how], kw_only=True)
    settings.__doc__ = run.func.__doc__
    return settings


def _plan(console: Console, argv: list[str]) -> None:
    """`plan NAME [flags of NAME] [--devices N] [--tflops X]`: what the run would cost."""
    early = argparse.ArgumentParser(prog="python -m experiments plan", allow_abbrev=False, description=_plan.__doc__)
    early.add_argument("name", help="the experiment; its own flags and --preset follow")
    early.add_argument("--devices", type=int, help="number of devices to plan for; as many as here by default")
    early.add_argument("--tflops", type=float, help="peak of such a device, in TFLOP/s; as measured here by default")
    wanted, rest = early.parse_known_args(argv)
    with console.status("importing"):
        _configure([])
        module = find(wanted.name)
        from experiments import costs, plan
        from experiments.record import recording
    arguments, how = _parse(module, wanted.name, rest)
    stages: list[Any] = []
    with (
        console.status("probing each sweep"),
        recording(None, memory=how["memory"], plan=stages),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of what is made up
        module.run(**arguments)
        peak = costs.peak()
    import jax

    console.print(plan.table(wanted.name, stages, wanted.devices or jax.device_count(), peak, wanted.tflops))


def _results(directories: list[str]) -> None:
    from experiments import results

    if not directories:
        raise ValueError("got no run directory: write results DIR ...")
    print(results.page([Path(directory) for directory in directories]), end="")


def _submit(console: Console, argv: list[str], settings: str, directory: Path) -> None:
    from experiments import hosts

    at = next(i for i, argument in enumerate(argv) if argument.split("=")[0] == "--slurm")
    rest = argv[:at] + argv[at + (1 if "=" in argv[at] else 2) :]
    job = hosts.submit([*rest, *(() if "--out" in " ".join(rest) else ("--out", str(directory)))], directory, settings)
    console.print(f"job {job} submitted: its output is in {directory}/slurm, its results will be in {directory}")


def _run(
    console: Console, module: ModuleType, name: str, arguments: dict[str, Any], directory: Path, how: dict[str, Any]
) -> None:
    from experiments import hosts
    from experiments.record import recording
    from toymodels import store

    first = hosts.is_first()
    say = console if first else Console(quiet=True)
    with _locked(directory) if first else nullcontext(), warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: console.print(f"[yellow]warning:[/] {escape(str(message))}")
        if not first:
            hosts.wait("described")
        store.describe(directory, {"experiment": name, "arguments": arguments}, **_circumstances())
        if first:
            hosts.wait("described")
        say.print(f"[bold]{name}[/]: {question(name)}\nrun directory {directory}")
        with recording(directory, say, memory=how["memory"]), preemptible(), _unused_removed(directory, first):
            results = module.run(**arguments)
        claims = module.claims(results)
        if first:
            _write(directory, results, claims, module.plot(results))
    say.print(_table(name, claims))
    say.print(f"figure  {directory}/figure.png\nresults {directory}/results.nc")


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep a second process out of the run directory."""
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"another process is running in {directory}: wait for it, or give another --out") from None
        yield


@contextmanager
def _unused_removed(directory: Path, first: bool) -> Iterator[None]:
    """Leave no directory behind for a run that was refused before it wrote anything (the first process does)."""
    try:
        yield
    except ValueError:
        if first and {path.name for path in directory.iterdir()} <= {"run.json", ".lock"}:
            shutil.rmtree(directory)
        raise


def _write(directory: Path, results: Any, claims: list[Claim], figure: Any) -> None:
    import matplotlib  # here: it takes half a second

    from experiments.plots import SAVED
    from toymodels.store import write_atomically

    partial = directory / ".results.nc.partial"
    results.to_netcdf(partial, engine="h5netcdf")
    os.replace(partial, directory / "results.nc")
    write_atomically(directory / "claims.json", json.dumps([claim._asdict() for claim in claims], indent=2) + "\n")
    for kind in ("png", "svg"):
        picture = io.BytesIO()
        with matplotlib.rc_context(SAVED):
            figure.savefig(picture, format=kind, metadata={"Date": None} if kind == "svg" else None)
        write_atomically(directory / f"figure.{kind}", picture.getvalue())


def _table(name: str, claims: list[Claim]) -> Table:
    table = Table(title=f"{name}: what was claimed, and what was measured", show_lines=True)
    table.add_column("claim", min_width=36)
    table.add_column("source")
    table.add_column("expected", justify="right")
    table.add_column("measured", justify="right")
    table.add_column("holds", justify="center")
    verdicts = {True: "[green]yes[/]", False: "[red]NO[/]", None: "open"}
    for claim in claims:
        table.add_row(
            escape(claim.text),
            escape(claim.source),
            escape(claim.expected),
            escape(claim.measured),
            verdicts[claim.holds],
        )
    return table


def _short(arguments: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:8]


def _circumstances() -> dict[str, Any]:
    """Versions, commit and devices: what a run's numbers may depend on besides its arguments."""
    import jax

    packages = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")
    git = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"], capture_output=True, text=True
    )
    return {
        "versions": {name: metadata.version(name) for name in packages} | {"python": sys.version.split()[0]},
        "commit": git.stdout.strip() or "unknown",
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }
