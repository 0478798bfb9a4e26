"""The command line `toymodels` (or `python -m experiments`), which lists the experiments and runs them.

toymodels NAME [--flags]           run it; the same command again goes on where it was stopped
toymodels path/to/mine.py          the same for a file of your own, with run, plot and claims
toymodels plan NAME [--flags]      what the run would take
toymodels results DIR ...          a page of what finished runs claimed and measured, as Markdown

Exit codes: 0 done, 1 stopped by the machine, 2 bad input, 130 interrupted, 143 preempted (SIGTERM).
Heavy imports happen inside functions, so that the list is there at once.
"""

import argparse
import hashlib
import logging
import os
import shlex
import shutil
import signal
import sys
import textwrap
import traceback
import warnings
from pathlib import Path
from types import ModuleType
from typing import Any

PREEMPTED = 143


def command() -> None:
    """The console script."""
    signal.signal(signal.SIGTERM, _preempt)  # a sweep, which has something to save, listens itself
    sys.exit(main(sys.argv[1:]))


def main(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    verbs = {"plan": _plan, "results": _results}
    try:
        if not argv or argv[0] in ("-h", "--help"):
            _list()
        elif argv[0] in verbs:
            verbs[argv[0]](argv[1:])
        else:
            _experiment(argv)
    except ValueError as error:
        return _failed(2, f"error: {error}{_place(error, argv[0])}")
    except BrokenPipeError:  # whoever read the output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, MemoryError) as error:
        return _failed(1, f"stopped: {error}\nWhat was finished is kept. Make room, and repeat the command.")
    except KeyboardInterrupt:
        return _failed(130, "interrupted: what was finished is kept; repeat the command to go on.")
    except RuntimeError as error:
        if "Gloo" not in str(error) and "coordination" not in str(error).lower():
            raise
        reason = str(error).splitlines()[0]
        return _failed(1, f"stopped: another process of this run has ended ({reason})\nStart all again to go on.")
    except SystemExit as stopped:  # of a parser, or preempted
        if stopped.code == PREEMPTED:
            _failed(PREEMPTED, "preempted: what was finished is kept; repeat the command to go on.")
        return stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    return 0


def _preempt(*_: object) -> None:
    raise SystemExit(PREEMPTED)


def _failed(code: int, text: str) -> int:
    print(text, file=sys.stderr)
    return code


def _place(error: ValueError, name: str) -> str:
    """Where in a file of the user's own an error came from, if it does not say what to write."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if name.endswith(".py") and frame.filename == str(Path(name).resolve())]
    return f" ({name}, line {own[-1].lineno})" if own and "write" not in str(error) else ""


def _list() -> None:
    from experiments.experiment import cost, question, sources

    print("toymodels [plan] NAME|FILE.py [--flags] [--preset smoke|default|paper] [--out DIR]")
    print("toymodels results DIR ...: what finished runs claimed and measured, as Markdown\n")
    for name in sources():
        print(f"{name:<19}{cost(name)}".rstrip())
        print(textwrap.indent(textwrap.fill(question(name), 76), "    "))


def _configure(how: Any) -> None:
    """One CPU device per core, so that a sweep uses them all, and compiled programs kept between runs.

    Several processes find each other here: JAX wants it before anything is computed, and imports already do that.
    """
    os.environ["MPLBACKEND"] = "agg"  # a notebook exports one that is there only inside it
    import jax

    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs the traceback of what it raises as well
    if "JAX_NUM_CPU_DEVICES" not in os.environ:
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and not cache.startswith("~"):  # a user without a home
        jax.config.update("jax_compilation_cache_dir", f"{cache}/toymodels-slt")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if how and (how.distributed or (how.coordinator, how.processes, how.process) != (None, None, None)):
        from sweeps import hosts

        hosts.join(how.coordinator, how.processes, how.process)


def _load(name: str, argv: list[str], *, plan: bool = False) -> tuple[ModuleType, dict[str, Any], Any, list[str]]:
    """An experiment, its settings, how to run it, and its own flags."""
    from experiments import experiment, flags

    how, rest = flags.how(name, argv, plan=plan)
    experiment.source(name)  # a wrong name is told before anything heavy is imported
    _configure(how)
    module = experiment.find(name)
    return module, flags.settings(module, name, how.preset, rest), how, rest


def _experiment(argv: list[str]) -> None:
    """Run an experiment, or submit it."""
    from experiments.experiment import question, source

    name = argv[0]
    module, arguments, how, rest = _load(name, argv[1:])
    directory = how.out or Path("checkpoints") / f"{Path(name).stem}-{_short(arguments)}"
    if how.slurm:
        _submit(argv, directory, how.slurm)
        return
    preset = [] if how.preset == "default" else ["--preset", how.preset]
    description = {
        "experiment": Path(name).name,
        "file": str(source(name)) if name.endswith(".py") else None,
        "command": shlex.join(["toymodels", name, *preset, *rest]),
        "arguments": arguments,
    }
    print(f"{name}: {question(name)}\nrun directory {directory}", flush=True)
    _run(module, description, directory, how)


def _run(module: ModuleType, description: dict[str, Any], directory: Path, how: Any) -> None:
    """Run an experiment in its directory, write what it found, and tell its claims."""
    import jax

    import sweeps
    from experiments import directory as kept
    from experiments.results import lines
    from experiments.shared.claims import checked

    with warnings.catch_warnings(), sweeps.run(directory, fresh=how.fresh, memory=how.memory):
        warnings.showwarning = lambda message, *_: print(f"warning: {message}", file=sys.stderr)
        description |= kept.circumstances()
        with kept.begun(directory, description):
            results = module.run(**description["arguments"])
        if jax.process_index():
            return
        claims = checked(module.claims(results))
        kept.write(directory, description, results, claims, module.plot(results))
    width = shutil.get_terminal_size().columns if sys.stdout and sys.stdout.isatty() else None
    print(*lines(claims, all_of_them=how.all_claims, width=width), sep="\n")
    print(f"figure  {directory}/figure.png\nresults {directory}/results.nc")


def _submit(argv: list[str], directory: Path, settings: str) -> None:
    from sweeps import hosts

    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--slurm")
    rest = early.parse_known_args(argv)[1]
    job = hosts.submit(main, [*rest, "--out", str(directory)], directory, settings)
    print(f"job {job} submitted: its output is in {directory}/slurm, its results will be in {directory}")


def _plan(argv: list[str]) -> None:
    """What a run would take: every sweep is replaced by a probe of it."""
    if not argv:
        raise ValueError("got no experiment: write toymodels plan NAME [--flags] [--devices N] [--tflops X]")
    module, arguments, how, _ = _load(argv[0], argv[1:], plan=True)
    import jax
    from rich.console import Console

    import sweeps
    from sweeps.costs import peak

    planner = sweeps.plan.Planner()
    with warnings.catch_warnings(), sweeps.run(None, memory=how.memory, execute=planner), planner.until_stopped():
        warnings.simplefilter("ignore")  # of what is made up
        module.run(**arguments)
    devices = how.devices or jax.device_count()
    table = sweeps.plan.table(argv[0], planner, peak(), devices=devices, tflops=how.tflops, latency=how.latency)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _results(argv: list[str]) -> None:
    """The page of finished runs."""
    from experiments.flags import Parser

    parser = Parser(usage="toymodels results DIR ... [--anyway]", allow_abbrev=False, description=_results.__doc__)
    parser.add_argument("directories", nargs="+", type=Path, metavar="DIR", help="where runs have finished")
    parser.add_argument("--anyway", action="store_true", help="also runs that the code on disk would not make")
    found = parser.parse_args(argv)
    _configure(None)
    from experiments.results import page

    print(page(found.directories, anyway=found.anyway), end="")


def _short(arguments: dict[str, Any]) -> str:
    return hashlib.sha256(repr(sorted(arguments.items())).encode()).hexdigest()[:8]
