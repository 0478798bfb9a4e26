"""SIGTERM, with which a machine that is wanted elsewhere asks a run to stop: what is under way is saved first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Preempted(SystemExit):
    """The run was asked to stop, and everything finished is on disk. Left alone it ends the process with code 143."""

    def __init__(self) -> None:
        super().__init__(143)

    def __str__(self) -> str:
        return "stopped on request (SIGTERM); everything finished is kept, run the same again to go on"


_asked = threading.Event()
_saving = threading.Event()


@contextmanager
def preemptible() -> Iterator[None]:
    """Inside the block SIGTERM raises `Preempted`: at once, or inside `saved` when that is left. A second one kills.

    Only the main thread can listen to signals; in another the block changes nothing.
    """

    def ask(*_: object) -> None:
        _asked.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if not _saving.is_set():
            raise Preempted

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _asked.clear()
    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _asked.clear()


@contextmanager
def saved() -> Iterator[None]:
    """What must end on disk before a request to stop is heard: a batch that is computed and written.

    Asked before: a request whose exception was swallowed (in a destructor, by a library) is heard here.
    """
    if _asked.is_set():
        raise Preempted
    _saving.set()
    try:
        yield
    finally:
        _saving.clear()
    if _asked.is_set():
        raise Preempted
