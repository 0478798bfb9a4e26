"""Checkpoints: a pytree of arrays with a description, in one file that is whole or not there.

A file is a NumPy archive (`numpy.load` reads it): a member for each leaf, named by its path, the description as JSON,
and a SHA-256 of both. A leaf keeps its type and shape; nothing is cast. A random key is kept as its words.
"""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

Tree = TypeVar("Tree")
LEAF, ABOUT, DIGEST = "leaf", "about", "digest"


class DamagedCheckpoint(Exception):
    """A checkpoint that is truncated, altered, or holds other arrays than those asked for; the message says which."""


class Checkpoint(NamedTuple):
    """leaves: by their paths in the tree, on the host.  about: what was said of them."""

    path: Path
    leaves: dict[str, np.ndarray]
    about: dict[str, Any]


def is_key(leaf: Any) -> bool:
    """Whether a leaf is an array of random keys."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def pack(tree: Any) -> Any:
    """The tree with the words of its random keys in their place."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def unpack(tree: Any, like: Any) -> Any:
    """The inverse of `pack`, for a tree with the structure and types of `like`."""

    def restore(leaf: Any, like: Any) -> Any:
        return jax.random.wrap_key_data(leaf, dtype=like.dtype) if is_key(like) else leaf

    return jax.tree.map(restore, tree, like)


def write_atomically(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file so that a reader, or a restart, sees the old content or the new one, never a part of it."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if partial.is_file():
            partial.unlink()
        raise OSError(error.errno, f"{path} could not be written: {error.strerror or error}") from error


def save(path: Path, tree: Any, about: Mapping[str, Any] | None = None) -> None:
    """Write the arrays of `tree`, and what `about` says of them (JSON), as one file. Raises OSError if it cannot be."""
    leaves = jax.tree.leaves_with_path(jax.device_get(pack(tree)))
    arrays = {LEAF + jax.tree_util.keystr(at): np.asarray(leaf) for at, leaf in leaves}
    if objects := [name for name, leaf in arrays.items() if leaf.dtype.hasobject]:
        raise ValueError(f"the leaf {objects[0].removeprefix(LEAF)} of a checkpoint is no array of numbers")
    types = {name: str(leaf.dtype) for name, leaf in arrays.items()}
    text = json.dumps({"about": dict(about or {}), "types": types})
    plain = {name: _plain(leaf) for name, leaf in arrays.items()}
    members: Any = {**plain, ABOUT: np.array(text), DIGEST: np.array(_digest(text, plain))}
    content = io.BytesIO()
    np.savez(content, **members)
    write_atomically(path, content.getbuffer())


def read(path: Path) -> Checkpoint:
    """A checkpoint whose content agrees with its SHA-256. Raises DamagedCheckpoint."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            plain = {name: file[name] for name in file.files if name.startswith(LEAF)}
            text, digest = str(file[ABOUT]), str(file[DIGEST])
        note = json.loads(text)
        leaves = {name: _typed(leaf, note["types"][name]) for name, leaf in plain.items()}
        said = dict(note["about"])
    except Exception as error:  # what NumPy, zipfile and zlib raise for bytes that are not theirs is in no list
        raise DamagedCheckpoint(f"{path} cannot be read, it is truncated or altered: {first_line(error)}") from error
    if _digest(text, plain) != digest:
        raise DamagedCheckpoint(f"{path} is altered: its content does not agree with its SHA-256")
    return Checkpoint(Path(path), {name.removeprefix(LEAF): leaf for name, leaf in leaves.items()}, said)


def restore(found: Checkpoint, like: Tree) -> Tree:
    """The leaves of a checkpoint in the structure of `like` (arrays or shapes). Raises DamagedCheckpoint if others."""
    paths, structure = jax.tree.flatten_with_path(like)
    wanted = {jax.tree_util.keystr(at): _kind(leaf) for at, leaf in paths}
    there = {name: _kind(leaf) for name, leaf in found.leaves.items()}
    for name in wanted | there:
        if there.get(name) != wanted.get(name):
            raise DamagedCheckpoint(
                f"{found.path} holds {name or 'its root'} as {there.get(name, 'nothing')}, "
                f"not {wanted.get(name, 'nothing')}: it was written with other settings"
            )
    return unpack(jax.tree.unflatten(structure, [found.leaves[name] for name in wanted]), like)


def _kind(leaf: Any) -> str:
    """Type and shape of a leaf; of a random key, those of its words."""
    leaf = jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return f"{leaf.dtype}{list(leaf.shape)}"


def _digest(text: str, leaves: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, leaf in sorted(leaves.items()):
        digest.update(f"{name} {leaf.dtype} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).data)
    return digest.hexdigest()


def _plain(leaf: np.ndarray) -> np.ndarray:
    """The leaf as integers where NumPy's own format would forget its type: bfloat16 and its like."""
    return leaf.view(f"u{leaf.itemsize}") if leaf.dtype.isbuiltin == 2 else leaf


def _typed(leaf: np.ndarray, name: str) -> np.ndarray:
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    return leaf if leaf.dtype == dtype else leaf.view(dtype)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
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
        raise DamagedCheckpoint(f"{place} cannot be read: {first_line(error)}") from error
