"""SIGTERM, with which a machine that is wanted elsewhere asks a run to stop: what is under way is saved first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_asked = threading.Event()


class Preempted(Exception):
    """The run was asked to stop, and what was under way has been saved; the message says where it stopped."""


@contextmanager
def preemptible() -> Iterator[None]:
    """Inside the block SIGTERM makes the next `stop_if_asked` raise; a second one ends the process at once.

    Only the main thread can listen to signals; in another the block changes nothing.
    """

    def ask(*_: object) -> None:
        _asked.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    _asked.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop_if_asked(at: str) -> None:
    """Raise Preempted if SIGTERM has come. Called where everything so far is on disk."""
    if _asked.is_set():
        raise Preempted(f"stopped on request after {at}")
