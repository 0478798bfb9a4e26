"""A run is a directory: `run.json` says what it is, and every series of checkpoints in it is a folder of Orbax steps.

Dense checkpoints of small models are written in chunks: one step holds the stacked trajectory since the previous one
and the state to continue from. A chunk is whole when its digest, written last, matches its files; anything less is
named and made anew.
"""

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint._src.multihost import multihost

Tree = TypeVar("Tree")
DIGEST = "digest.json"


class DamagedCheckpoint(Exception):
    """A checkpoint whose files are missing, truncated or altered, or hold other shapes; the message names them."""


class DifferentRun(ValueError):
    """The directory already holds a run of another description; the message names the difference."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a restart, sees either the old content or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content.encode() if isinstance(content, str) else content)
    os.replace(partial, path)


def describe(directory: Path, identity: dict[str, Any], **circumstances: Any) -> None:
    """Claim `directory` for the run `identity` (experiment, arguments), or check that it holds that very run.

    `circumstances` (versions, commit) are recorded beside it; where they have changed since, a warning says so.
    """
    path = Path(directory) / "run.json"
    wanted = json.loads(json.dumps({"identity": identity, "circumstances": circumstances}))
    if not path.exists():
        write_atomically(path, json.dumps(wanted, indent=2) + "\n")
        return
    try:
        found = json.loads(path.read_text())
        changed = _differences(found["identity"], wanted["identity"])
        moved = _differences(found["circumstances"], wanted["circumstances"])
    except (ValueError, KeyError, TypeError) as error:
        raise DifferentRun(
            f"{path} cannot be read ({error!r}): move {directory} away, or give another --out"
        ) from error
    if changed:
        raise DifferentRun(
            f"{directory} holds another run ({'; '.join(changed)}): give another --out, or repeat its arguments"
        )
    for line in moved:
        warnings.warn(f"{directory} was begun under other circumstances: {line}", stacklevel=2)


def _differences(found: Any, wanted: Any, name: str = "") -> list[str]:
    """Where two descriptions differ, leaf by leaf: `seeds is 4 there and 8 here`."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = sorted(found.keys() | wanted.keys())
        return [
            line for key in keys for line in _differences(found.get(key), wanted.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [] if found == wanted else [f"{name} is {found!r} there and {wanted!r} here"]


def save(directory: Path, step: int, tree: Any) -> None:
    """Write `tree` as step `step` of the series `directory`, whole or not at all; a damaged such step is replaced."""
    directory = Path(directory).absolute()
    _remove_partial(directory, step)  # what a killed run may have left
    try:
        with _checkpointer() as checkpointer:
            checkpointer.save(directory / str(step), jax.device_get(tree), force=True)
        write_atomically(directory / str(step) / DIGEST, json.dumps(_digest(directory / str(step))))
    except (OSError, ValueError) as error:  # a ValueError is how Orbax passes on what the file system refused
        _remove_partial(directory, step)
        reason = "no space left on the device" if "No space left" in str(error) else str(error).splitlines()[0]
        raise OSError(f"checkpoint {step} could not be written to {directory}: {reason}") from error


def _remove_partial(directory: Path, step: int) -> None:
    for path in directory.glob(f"{step}.*"):
        shutil.rmtree(path)


def load(directory: Path, step: int, like: Tree | None = None) -> Tree:
    """Step `step` of the series `directory`, as numpy arrays in the structure of `like` (or nested dictionaries).

    Raises DamagedCheckpoint, naming the files, if any is missing, truncated or altered, or if the shapes are not
    those of `like`.
    """
    place = Path(directory).absolute() / str(step)
    _verify(place)
    empty = lambda leaf: np.empty(leaf.shape, leaf.dtype) if hasattr(leaf, "shape") else leaf  # numbers stay numbers
    target = None if like is None else jax.tree.map(empty, like)
    try:
        with _checkpointer() as checkpointer:
            tree = checkpointer.restore(place, target)
    except (ValueError, KeyError, FileNotFoundError) as error:  # whole, and yet not what Orbax can read as `like`
        raise DamagedCheckpoint(f"{place} cannot be read: {str(error).splitlines()[0]}") from error
    shapes = lambda tree: [np.shape(leaf) for leaf in jax.tree.leaves(tree)]
    if like is not None and shapes(tree) != shapes(like):  # Orbax returns the shapes it finds, whatever was asked for
        raise DamagedCheckpoint(
            f"{place} holds arrays of shapes {shapes(tree)}, not {shapes(like)}: it was written with other settings"
        )
    return tree


def steps(directory: Path) -> list[int]:
    """The steps of the series `directory` whose files are whole, in order; a warning names each damaged one."""
    found = sorted(int(path.name) for path in Path(directory).glob("*") if path.name.isdigit())
    return [step for step in found if _whole(directory, step)]


def resume(directory: Path, step: int, like: Tree, compute: Callable[[], Tree]) -> Tree:
    """Step `step` of the series `directory`: read if it is there and whole, else computed and saved.

    A damaged step is named in a warning before it is made anew, so nothing is lost silently and nothing finished is
    repeated.
    """
    if (Path(directory) / str(step)).exists():
        try:
            return load(directory, step, like)
        except DamagedCheckpoint as error:
            warnings.warn(str(error), stacklevel=2)
    tree = compute()
    save(directory, step, tree)
    return jax.device_get(tree)


def _whole(directory: Path, step: int) -> bool:
    try:
        _verify(Path(directory) / str(step))
    except DamagedCheckpoint as error:
        warnings.warn(str(error), stacklevel=3)
        return False
    return True


@contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    """Orbax's, of this process alone: in a run of several each writes what it has computed, and waits for no other.

    Whatever host it is told to take for the first, Orbax writes NumPy arrays in process 0 only, and the checkpoints of
    the others hold none. Inside the block it takes this process for the only one.
    """
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix=f"{me}")
    seen = multihost.process_index, multihost.process_count
    multihost.process_index, multihost.process_count = lambda: 0, lambda: 1
    try:
        handler = ocp.StandardCheckpointHandler(multiprocessing_options=alone)
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            yield checkpointer
    finally:
        multihost.process_index, multihost.process_count = seen


def _digest(place: Path) -> dict[str, str]:
    """The SHA-256 of every file of a checkpoint. Orbax notices most truncated files but reads some altered ones."""
    files = sorted(
        path for path in place.rglob("*") if path.is_file() and path.name not in (DIGEST, f".{DIGEST}.partial")
    )
    return {str(path.relative_to(place)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _verify(place: Path) -> None:
    try:
        wanted = json.loads((place / DIGEST).read_text())
    except FileNotFoundError:
        raise DamagedCheckpoint(
            f"{place} is incomplete: {DIGEST} is missing, the run was stopped while it was written"
        ) from None
    except ValueError:
        raise DamagedCheckpoint(f"{place / DIGEST} is damaged") from None
    found = _digest(place)
    bad = [
        f"{name} is {'altered or truncated' if name in found else 'missing'}"
        for name in wanted
        if found.get(name) != wanted[name]
    ]
    if bad:
        raise DamagedCheckpoint(f"checkpoint {place} does not agree with its {DIGEST}: {'; '.join(bad)}")
