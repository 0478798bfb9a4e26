"""How an experiment reaches its run directory and its progress bar, without a parameter threaded through the library.

`recording(directory)` opens a record; inside it `kept` reads what is on disk or computes and saves it, and `bar`
shows progress. Outside any record both do the obvious thing: compute, and show nothing.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
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

from toymodels import store

Tree = TypeVar("Tree")


class Record(NamedTuple):
    """Where a run is written (None: nowhere) and how it shows its progress (None: it does not)."""

    directory: Path | None = None
    progress: Progress | None = None


NOWHERE = Record()
_current: ContextVar[Record] = ContextVar("record", default=NOWHERE)


@contextmanager
def recording(directory: Path | None, console: Console | None = None) -> Iterator[Record]:
    """Everything kept inside the block goes to `directory`; with a console, bars are drawn on it."""
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
    token = _current.set(Record(directory, progress))
    try:
        with progress:
            yield _current.get()
    finally:
        _current.reset(token)


def kept(series: str, step: int, compute: Callable[[], Tree]) -> Tree:
    """Step `step` of the named series of this run: from disk if it is there and whole, else computed and saved."""
    directory = _current.get().directory
    if directory is None:
        return jax.device_get(compute())
    return store.resume(directory / series, step, jax.eval_shape(compute), compute)


def bar(description: str, total: int) -> Callable[[int], None]:
    """A progress bar of `total` units, drawn at once; call what it returns with the number of units done."""
    progress = _current.get().progress
    if progress is None:
        return lambda done: None
    task = progress.add_task(description, total=total)
    return lambda done: progress.advance(task, done)
