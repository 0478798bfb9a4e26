"""How an experiment reaches its run directory and its progress bar, without a parameter threaded through the library.

`recording(directory)` opens a record; inside it `kept` reads what is on disk or computes and saves it, `bar` shows
progress, `memory` is the bound the user stated. Outside any record they do the obvious thing: compute, show nothing,
and know no bound.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from experiments.preemption import stop_if_asked
from toymodels import store

Tree = TypeVar("Tree")


class Layout(NamedTuple):
    """How a sweep is cut: points that a device takes at a time, and points that are saved together."""

    block: int
    batch: int


class Record(NamedTuple):
    """Where a run is written (None: nowhere), how it shows its progress (None: it does not), the bound on bytes a device,
    and where the sweeps leave what they would cost instead of running (None: they run).
    """

    directory: Path | None = None
    progress: Progress | None = None
    memory: int | None = None
    plan: list[Any] | None = None


NOWHERE = Record()
_current: ContextVar[Record] = ContextVar("record", default=NOWHERE)


@contextmanager
def recording(
    directory: Path | str | None,
    console: Console | None = None,
    *,
    memory: int | None = None,
    plan: list[Any] | None = None,
) -> Iterator[Record]:
    """Everything kept inside the block goes to `directory`; with a console, bars are drawn on it.

    `memory` bounds what a device is given at a time, in bytes. With `plan` the sweeps only plan: see `experiments.plan`.
    """
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    progress = Progress(*columns, console=console, disable=console is None)
    token = _current.set(Record(None if directory is None else Path(directory), progress, memory, plan))
    try:
        with progress:
            yield _current.get()
    finally:
        _current.reset(token)


def kept(series: str, step: int, like: Tree, compute: Callable[[], Tree]) -> Tree:
    """Step `step` of the named series of this run: from disk if it is there and whole, else computed and saved.

    `like` has its structure and shapes.
    """
    directory = _current.get().directory
    if directory is None:
        return compute()
    tree = store.resume(directory / series, step, like, compute)
    stop_if_asked(f"{series}/{step}")
    return tree


def layout(series: str, decide: Callable[[], Layout]) -> Layout:
    """How the named series of this run is cut: as it was begun, whatever the machine is now, else as `decide` says."""
    directory = _current.get().directory
    if directory is None:
        return decide()
    path = directory / series / "layout.json"
    try:
        return Layout(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        chosen = decide()
        store.write_atomically(path, json.dumps(chosen._asdict()) + "\n")
        return chosen


def memory() -> int | None:
    """Bytes that a device may be given at a time, if the user has stated a bound."""
    return _current.get().memory


def plan() -> list[Any] | None:
    """Where to leave the plan of a sweep, if it is to be planned and not run."""
    return _current.get().plan


def bar(description: str, total: int) -> Callable[[int], None]:
    """A progress bar of `total` units, drawn at once; call what it returns with the number of units done."""
    progress = _current.get().progress
    if progress is None:
        return lambda done: None
    task = progress.add_task(description, total=total)
    return lambda done: progress.advance(task, done)
