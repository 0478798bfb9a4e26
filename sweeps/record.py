"""The run directory: where the verbs keep what they compute, and how they reach it without a parameter.

Inside `with sweeps.run("runs/mine")` every finished batch is on disk and is not computed again, progress is drawn, and
SIGTERM saves. Outside it the verbs compute and keep nothing.
"""

import fcntl
import itertools
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
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
    execute: what is done with a sweep in place of computing it.  names: of the series so far.  Others: see `run`.
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
    execute: Callable[[Any], Any] | None = None,
    readonly: bool = False,
) -> Iterator[Run]:
    """Keep everything that `map` and `scan` compute inside the block in `directory`, and read it where it is there.

    What is there is read only if it is of the very same computation: else DifferentRun names what differs, and `fresh`
    puts it aside (as `.NAME.old-1`) and computes anew. `memory` bounds the bytes a device is given at a time. One
    process at a time: a second one is refused. With `readonly` nothing is computed or written: ValueError names the
    first result that is not there.
    """
    with ExitStack() as stack:
        place, progress = None, None
        if directory is not None:
            place = Path(directory)
            if jax.process_index() == 0 and not readonly:
                stack.enter_context(_locked(place))
            stack.enter_context(preemptible())
            progress = stack.enter_context(_bars()) if sys.stderr.isatty() else None
        opened = Run(place, progress, memory, execute, fresh, readonly, [])
        token = _current.set(opened)
        stack.callback(_current.reset, token)
        yield opened


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


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True))


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

    def kept(self, step: tuple[int, int], rows: tuple[int, int], like: Tree, compute: Callable[[], Tree]) -> Tree:
        """Step (batch, part) of the points from `rows[0]` to `rows[1]`: read if it is there, else computed and saved.

        A damaged file is named in a warning and made anew.
        """
        if self.directory is None:
            return compute()
        path, readonly = self.directory / f"{step[0]:06d}-{step[1]:06d}.npz", current().readonly
        if path.exists():
            try:
                return self._read(path, rows, like)
            except store.DamagedCheckpoint as error:
                if readonly:
                    raise
                warnings.warn(f"{error}; it is made anew", stacklevel=2)
        if readonly:
            raise ValueError(f"{path} is not there: repeat the command of its run")
        with saved():
            tree = jax.device_get(compute())
            store.save(path, tree, {"rows": rows, "of": self.description})
        return tree

    def _read(self, path: Path, rows: tuple[int, int], like: Tree) -> Tree:
        found = store.read(path)
        self.recognise(found.about.get("of"))
        if found.about.get("rows") != list(rows):
            raise store.DamagedCheckpoint(f"{path} holds the points {found.about.get('rows')}, not {list(rows)}")
        return store.restore(found, like)

    def recognise(self, found: Any) -> None:
        """Raises DifferentRun, naming the difference, if what is on disk is of another computation."""
        if fingerprint.digest(found) != fingerprint.digest(self.description):
            differences = "; ".join(fingerprint.differences(found, self.description))
            raise DifferentRun(
                f"{self.directory} holds results of another computation: {differences}. Write another directory, "
                "or --fresh (sweeps.run(..., fresh=True)) to put them aside and compute anew"
            )


def claim(f: Callable[..., Any], name: str | None) -> str:
    """Take a name, by default the function's, for a series of this run. Raises ValueError if it cannot be had."""
    own: str = getattr(f, "__name__", "<lambda>") if name is None else name
    if not NAME.fullmatch(own):
        raise ValueError(
            f"got the name {own!r} for a series: write letters, digits and any of _ = + , - with single dots between, "
            "such as name='llc'"
        )
    names = current().names
    if own in names:
        raise ValueError(
            f"two series of this run have the name {own!r}: write name=... in one of them, such as name='{own}-2'"
        )
    if isinstance(names, list):
        names.append(own)
    return own


def place(name: str) -> Path | None:
    """The folder of a series (None where nothing is kept), without what a killed process left half-written.

    With `fresh` what is in it is put aside first.
    """
    here = current()
    if here.directory is None or here.readonly or jax.process_index() > 0:
        return here.directory and here.directory / name
    path = here.directory / name
    if here.fresh and path.exists():
        number = next(i for i in itertools.count(1) if not (here.directory / f".{name}.old-{i}").exists())
        path.rename(here.directory / f".{name}.old-{number}")
    for partial in path.glob(".*.partial"):
        partial.unlink()
    return path


def begun(directory: Path | None) -> Any:
    """The description that the first readable step of a series carries; None where there is none."""
    if directory is None or not directory.is_dir():
        return None
    for path in sorted(directory.iterdir()):
        if STEP.fullmatch(path.name):
            with suppress(store.DamagedCheckpoint, KeyError):
                return store.read(path).about["of"]
    return None
