"""Checkpoints: a pytree of arrays with a description, in one file that is whole or not there.

A file is a NumPy archive (`numpy.load` reads it): a member for each leaf, named by its path, the description as JSON,
and a SHA-256 of both. A leaf keeps its type and shape; nothing is cast.
"""

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import jax
import ml_dtypes
import numpy as np

Tree = TypeVar("Tree")
LEAF, ABOUT, DIGEST = "leaf", "about", "digest"
UNREADABLE = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zlib.error)


class DamagedCheckpoint(Exception):
    """A checkpoint that is truncated, altered, or holds other arrays than those asked for; the message says which."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a restart, sees the old content or the new one, never a part of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"{path} could not be written: {error.strerror or error}") from error


def save(path: Path, tree: Any, about: dict[str, Any] | None = None) -> None:
    """Write the arrays of `tree`, and what `about` says of them (JSON), as one file. Raises OSError if it cannot be."""
    path = Path(path)
    leaves = {LEAF + jax.tree_util.keystr(at): np.asarray(leaf) for at, leaf in jax.tree.leaves_with_path(tree)}
    note = {"about": about or {}, "types": {name: str(leaf.dtype) for name, leaf in leaves.items()}}
    text = json.dumps(note)
    plain = {name: leaf.view(np.uint8) if _is_extended(leaf.dtype) else leaf for name, leaf in leaves.items()}
    digest = _digest(text, plain.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with open(partial, "wb") as file:
            members: Any = {**plain, ABOUT: np.array(text), DIGEST: np.array(digest)}
            np.savez(file, **members)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OSError(f"the checkpoint {path} could not be written: {error.strerror or error}") from error


def about(path: Path) -> dict[str, Any]:
    """What the checkpoint says of itself, without its arrays. Raises DamagedCheckpoint."""
    try:
        with np.load(path, allow_pickle=False) as file:
            found = json.loads(str(file[ABOUT]))["about"]
    except (*UNREADABLE, TypeError) as error:
        raise DamagedCheckpoint(f"{path} cannot be read: {_first_line(error)}") from error
    if not isinstance(found, dict):
        raise DamagedCheckpoint(f"{path} does not say what it holds")
    return found


def load(path: Path, like: Tree) -> Tree:
    """The arrays of a checkpoint, on the host, in the structure of `like` (arrays or their shapes).

    Raises DamagedCheckpoint where a byte of the file is altered, or where a leaf is missing or of another shape or type.
    """
    leaves = _read(Path(path))
    paths, structure = jax.tree.flatten_with_path(like)
    found = []
    for at, wanted in paths:
        name = jax.tree_util.keystr(at)
        leaf = leaves.pop(name, None)
        if leaf is None:
            raise DamagedCheckpoint(f"{path} holds no leaf {name or 'at its root'}: it was written with other settings")
        if leaf.shape != wanted.shape or leaf.dtype != wanted.dtype:
            raise DamagedCheckpoint(
                f"{path} holds {name} as {leaf.dtype}{list(leaf.shape)}, not {wanted.dtype}{list(wanted.shape)}: "
                "it was written with other settings"
            )
        found.append(leaf)
    if leaves:
        raise DamagedCheckpoint(f"{path} also holds {', '.join(leaves)}: it was written with other settings")
    return jax.tree.unflatten(structure, found)


def _read(path: Path) -> dict[str, np.ndarray]:
    """The leaves by their paths, after the digest has been compared."""
    try:
        with np.load(path, allow_pickle=False) as file:
            plain = {name: file[name] for name in file.files if name.startswith(LEAF)}
            text, digest = str(file[ABOUT]), str(file[DIGEST])
        types = json.loads(text)["types"]
        leaves = {
            name: leaf.view(_dtype(types[name])) if types[name] != str(leaf.dtype) else leaf
            for name, leaf in plain.items()
        }
    except (*UNREADABLE, TypeError) as error:
        raise DamagedCheckpoint(f"{path} is truncated or altered: {_first_line(error)}") from error
    if _digest(text, plain.items()) != digest:
        raise DamagedCheckpoint(f"{path} is altered: its content does not agree with its SHA-256")
    return {name.removeprefix(LEAF): leaf for name, leaf in leaves.items()}


def _digest(text: str, leaves: Iterable[tuple[str, np.ndarray]]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, leaf in sorted(leaves, key=lambda pair: pair[0]):
        digest.update(f"{name} {leaf.dtype} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def _is_extended(dtype: np.dtype) -> bool:
    """Whether NumPy's own format would forget the type: bfloat16 and its like."""
    return dtype.kind == "V"


def _dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def load_orbax(directory: Path, step: int) -> Any:
    """A checkpoint that was written with Orbax, before there was a format of our own, as nested dictionaries.

    Reading needs `orbax-checkpoint`. Raises DamagedCheckpoint if it cannot be read.
    """
    import orbax.checkpoint as ocp  # pyright: ignore[reportMissingImports]

    place = Path(directory).absolute() / str(step)
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            return checkpointer.restore(place)
    except (ValueError, KeyError, OSError) as error:
        raise DamagedCheckpoint(f"{place} cannot be read: {_first_line(error)}") from error
