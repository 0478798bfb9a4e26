"""The run directory: where the verbs keep what they compute, and how they reach it without a parameter.

Inside `with sweeps.run("runs/mine")` every finished batch is on disk and is not computed again, progress is drawn, and
SIGTERM saves. Outside it the verbs compute and keep nothing.
"""

import fcntl
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax

from sweeps import fingerprint, store
from sweeps.preemption import preemptible, saved

Tree = TypeVar("Tree")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_=+,-]*(\.[A-Za-z0-9_=+,-]+)*")
STEP = re.compile(r"\d{6}-\d{6}\.npz")


class DifferentRun(ValueError):
    """What is on disk was made by another computation; the message names the difference."""


class Run(NamedTuple):
    """directory: where results are kept (None: nowhere).  progress: a `rich` progress bar (None: none is drawn).
    memory: bytes that a device may be given at a time (None: what it has).  execute: what is done with a sweep in
    place of computing it (a plan; None: it is computed).  fresh: whether what is on disk is put aside.  readonly:
    whether what is not on disk is an error.  names: of the series so far.
    """

    directory: Path | None = None
    progress: Any = None
    memory: int | None = None
    execute: Callable[[Any], Any] | None = None
    fresh: bool = False
    readonly: bool = False
    names: tuple[str, ...] | list[str] = ()


NOWHERE = Run()
_current: ContextVar[Run] = ContextVar("run", default=NOWHERE)


def current() -> Run:
    """The run that is open here; one that keeps nothing where none is."""
    return _current.get()


@contextmanager
def run(
    directory: Path | str | None,
    *,
    fresh: bool = False,
    memory: int | None = None,
    console: Any = None,
    execute: Callable[[Any], Any] | None = None,
    readonly: bool = False,
) -> Iterator[Run]:
    """Keep everything that `map` and `scan` compute inside the block in `directory`, and read it where it is there.

    What is there is read only if it is of the very same computation: else ValueError names what differs, and `fresh`
    puts it aside and computes anew. `memory` bounds the bytes a device is given at a time. Bars are drawn on `console`
    (by default on the terminal, if there is one). One process at a time: a second one is refused. With `readonly`
    nothing is computed or written: ValueError names the first result that is not there.
    """
    with ExitStack() as stack:
        if directory is not None and jax.process_index() == 0 and not readonly:
            stack.enter_context(_locked(Path(directory)))
        if directory is not None:
            stack.enter_context(preemptible())
        progress = _progress(console) if directory is not None or console is not None else None
        if progress is not None:
            stack.enter_context(progress)
        opened = Run(None if directory is None else Path(directory), progress, memory, execute, fresh, readonly, [])
        token = _current.set(opened)
        try:
            yield opened
        finally:
            _current.reset(token)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep a second process out of the directory; leave no trace of a run that kept nothing."""
    existed = directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    lock = directory / ".lock"
    with open(lock, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another process is running in {directory}: wait for it, or write another directory"
            ) from None
        try:
            yield
        finally:
            if [entry.name for entry in os.scandir(directory)] == [".lock"] and not directory.is_symlink():
                lock.unlink()
                if not existed:
                    directory.rmdir()


def _progress(console: Any) -> Any:
    """Bars on the console, or on the terminal if there is one."""
    if console is None and not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<24.24}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(compact=True),
    )
    return Progress(*columns, console=console or Console(stderr=True))


def bar(description: str, total: int) -> Callable[[int], None]:
    """A progress bar of `total` units, drawn at once; call what it returns with the number of units done."""
    progress = current().progress
    if progress is None:
        return lambda done: None
    task = progress.add_task(description, total=total)
    return lambda done: progress.advance(task, done)


class Series(NamedTuple):
    """The steps of one sweep on disk. `description` is that of `fingerprint`; directory None: they are not kept."""

    directory: Path | None
    description: dict[str, Any]

    def kept(self, batch: int, part: int, like: Tree, rows: tuple[int, int], compute: Callable[[], Tree]) -> Tree:
        """Part `part` of batch `batch`, the points `rows[0]` to `rows[1]`: read if it is there, else computed and saved.

        A damaged file is named in a warning and made anew.
        """
        if self.directory is None:
            return compute()
        path = self.directory / f"{batch:06d}-{part:06d}.npz"
        about = {"rows": list(rows), "fingerprint": fingerprint.digest(self.description), "of": self.description}
        if path.exists():
            try:
                return self._read(path, like, about)
            except store.DamagedCheckpoint as error:
                if current().readonly:
                    raise
                warnings.warn(f"{error}; it is made anew", stacklevel=2)
        if current().readonly:
            raise ValueError(f"{path} is not there: repeat the command of its run")
        with saved():
            tree = jax.device_get(compute())
            store.save(path, tree, about)
        return tree

    def _read(self, path: Path, like: Tree, wanted: dict[str, Any]) -> Tree:
        """A step on disk. Raises DifferentRun, naming the difference, if it is of another computation."""
        found = store.about(path)
        if found.get("fingerprint") != wanted["fingerprint"]:
            lines = fingerprint.differences(found.get("of"), self.description)
            raise DifferentRun(
                f"{path.parent} holds results of another computation: {'; '.join(lines)}. Write another directory, "
                "or --fresh (sweeps.run(..., fresh=True)) to put them aside and compute anew"
            )
        if found.get("rows") != wanted["rows"]:
            raise store.DamagedCheckpoint(f"{path} holds the points {found.get('rows')}, not {wanted['rows']}")
        return store.load(path, like)


def claim(name: str) -> str:
    """Take a name for a series of this run. Raises ValueError if it is taken, or cannot be that of a folder."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"got the name {name!r} for a series: write letters, digits and any of _ = + , - with single dots between, "
            "such as name='llc'"
        )
    names = current().names
    if name in names:
        raise ValueError(
            f"two series of this run have the name {name!r}: write name=... in one of them, such as name='{name}-2'"
        )
    if isinstance(names, list):
        names.append(name)
    return name


def place(name: str) -> Path | None:
    """The folder of a series (None where nothing is kept); with `fresh` what is in it is put aside first."""
    here = current()
    if here.directory is None:
        return None
    path = here.directory / name
    if here.fresh and path.exists() and jax.process_index() == 0:
        number = 1
        while (aside := here.directory / f".{name}.old-{number}").exists():
            number += 1
        os.rename(path, aside)
    return path


def begun(directory: Path | None) -> dict[str, Any] | None:
    """How the series in `directory` was cut when it was begun: the layout that its first readable step carries."""
    if directory is None or not directory.is_dir():
        return None
    for path in sorted(entry.name for entry in os.scandir(directory) if STEP.fullmatch(entry.name)):
        try:
            return dict(store.about(directory / path)["of"]["layout"])
        except (store.DamagedCheckpoint, KeyError, TypeError, ValueError):
            continue
    return None
