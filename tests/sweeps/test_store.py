"""The store: what is saved is what is loaded, any damage is named, and a failed write costs nothing."""

import builtins
import errno
import io
import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

from sweeps import store

WRITTEN_BY_ORBAX = Path(__file__).parent / "orbax"


class State(NamedTuple):
    step: int
    params: dict
    opt_state: Any


def tree(seed: int = 0) -> State:
    rng = np.random.default_rng(seed)
    params = {"W": rng.normal(size=(3, 4)).astype(np.float32), "b": np.full(4, np.nan, np.float32)}
    return State(seed, params, (np.int32(3), None, [np.arange(5, dtype=np.int32), rng.normal(size=())]))


def load(path: Path, like: Any) -> Any:
    return store.restore(store.read(path), like)


def words(tree: Any) -> Any:
    return jax.tree.map(np.asarray, jax.device_get(store.pack(tree)))


def assert_same(found: Any, expected: Any) -> None:
    """The same structure, types, shapes and bits."""
    chex.assert_trees_all_equal_structs(found, expected)
    for one, other in zip(jax.tree.leaves(words(found)), jax.tree.leaves(words(expected)), strict=True):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


@pytest.fixture
def path(tmp_path) -> Path:
    path = tmp_path / "series" / "0.npz"
    store.save(path, tree(1), {"rows": [0, 3]})
    return path


def damaged(path: Path, like: Any = None) -> str:
    """The sentence with which a damaged file is refused."""
    with pytest.raises(store.DamagedCheckpoint) as refusal:
        load(path, tree() if like is None else like)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


EXTENDED = ("bfloat16", "float8_e5m2", "float8_e4m3fn", "int4")
TYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16", ">f4"]


@pytest.mark.parametrize("name", [*TYPES, *EXTENDED])
@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3)])
def test_save_then_load_is_the_identity_for_every_type(tmp_path, name, shape):
    dtype = np.dtype(getattr(ml_dtypes, name, name))
    leaf = np.arange(1, 1 + np.prod(shape)).reshape(shape).astype(dtype)
    for saved in (leaf, {"x": leaf.T}):
        store.save(tmp_path / "a", saved)
        assert_same(load(tmp_path / "a", saved), saved)


def test_save_then_load_is_the_identity_for_odd_trees(tmp_path):
    odd = {
        "a.b": np.ones(1),
        "a": {"b": np.zeros(1)},
        "a/b": jnp.ones(2),
        "[0]": (np.ones(2), [np.zeros(3)]),
        "\0": 3,
        "file": None,
        "optimiser": optax.add_noise(0.1, 0.5, jax.random.key(0)).init(jnp.ones(3)),
        "keys": jax.random.split(jax.random.key(3, impl="rbg"), (2, 2)),
        "state": tree(),
    }
    for place in ("plain", "job[1]", "a*b?"):
        store.save(tmp_path / place / "0.npz", odd)
        found = load(tmp_path / place / "0.npz", odd)
        assert_same(found, odd)
        assert found["keys"].dtype == odd["keys"].dtype, "another generator"


def test_shapes_alone_are_structure_enough(tmp_path):
    make = lambda: {"W": jnp.arange(6.0).reshape(2, 3), "step": jnp.int32(3), "key": jax.random.key(2)}
    store.save(tmp_path / "a", make())
    assert_same(load(tmp_path / "a", jax.eval_shape(make)), make() | jax.device_get(make()))


@pytest.mark.parametrize(
    ("change", "say"),
    [
        (dict(W=np.ones((3, 9), np.float32)), r"holds \.params\['W'\] as float32\[3, 4\], not float32\[3, 9\]"),
        (dict(W=np.ones((3, 4))), r"as float32\[3, 4\], not float64\[3, 4\]"),
        (dict(c=np.ones(2)), r"holds \.params\['c'\] as nothing, not float64\[2\]"),
        (dict(b=None), r"holds \.params\['b'\] as float32\[4\], not nothing"),
    ],
)
def test_other_leaves_than_those_asked_for_are_named(path, change, say):
    with pytest.raises(store.DamagedCheckpoint, match=f"{say}.*written with other settings"):
        load(path, tree()._replace(params=tree().params | change))


def test_a_file_cut_at_any_place_is_damaged(path):
    content = path.read_bytes()
    for size in [*range(0, 80), *range(80, len(content), 37), len(content) - 1]:
        path.write_bytes(content[:size])
        assert "truncated" in damaged(path)


def test_a_flipped_bit_is_noticed_wherever_it_changes_what_is_held(path):
    """A date in the archive's own headers changes nothing; everything else is damage."""
    content, expected, harmless = path.read_bytes(), store.read(path), 0
    for place in range(0, len(content), 3):
        altered = bytearray(content)
        altered[place] ^= 1 << (place % 8)
        path.write_bytes(altered)
        try:
            found = store.read(path)
        except store.DamagedCheckpoint:
            continue
        assert_same(found.leaves, expected.leaves)
        assert found.about == expected.about
        harmless += 1
    assert harmless < len(content) / 12, "more than the headers"


def write_members(path: Path, **members: Any) -> None:
    np.savez(path, **members)


def hostile(kind: str, path: Path) -> None:
    with np.load(path) as file:
        members = {name: file[name] for name in file.files}
    if kind == "pickle":
        write_members(path, **members | {"leaf.step": np.array([{}], object)})
    elif kind == "npy":
        with path.open("wb") as file:
            np.save(file, np.ones(3))
    elif kind == "huge":
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, dict(descr="<f8", fortran_order=False, shape=(10**15,)))
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("leaf.npy", header.getvalue())
    elif kind == "no digest":
        write_members(path, **{name: leaf for name, leaf in members.items() if name != store.DIGEST})
    elif kind == "missing":
        path.unlink()
    else:
        write_members(path, **members | {store.ABOUT: np.array(kind)})


JSONS = ["", "[]", "{}", "null", '{"about": 3}', "{" * 9999, '{"types": {}}', '{"about": {}, "types": []}']


@pytest.mark.parametrize("kind", ["pickle", "npy", "huge", "no digest", "missing", *JSONS])
def test_hostile_content_gets_a_sentence(path, kind):
    hostile(kind, path)
    damaged(path)


def test_another_description_of_the_same_arrays_is_noticed(path):
    text = json.dumps({"about": {"rows": [3, 6]}, "types": json.loads(str(np.load(path)["about"]))["types"]})
    hostile(text, path)
    assert "does not agree with its SHA-256" in damaged(path)


def test_what_is_no_array_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"leaf \['f'\] .* is no array of numbers"):
        store.save(tmp_path / "a", {"f": object()})


class Full(io.FileIO):
    """A file on a disk that fills after some bytes."""

    def write(self, content: Any) -> int:
        super().write(bytes(content)[:100])
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("where", ["open", "write", "fsync", "replace"])
def test_a_write_that_fails_names_the_file_and_leaves_the_old_one(path, monkeypatch, where):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if where in ("open", "write"):
            patch.setattr(builtins, "open", refuse if where == "open" else lambda path, mode: Full(path, "w"))
        else:
            patch.setattr(os, where, refuse)
        with pytest.raises(OSError, match=r"0\.npz could not be written: No space left") as error:
            store.save(path, tree(2))
    assert error.value.errno == errno.ENOSPC
    assert_same(load(path, tree()), jax.tree.map(np.asarray, tree(1)))
    assert [entry.name for entry in path.parent.iterdir()] == ["0.npz"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs privileges")
    try:
        store.save(disk / "a", np.ones(10))
        with pytest.raises(OSError, match="b could not be written: No space left"):
            store.save(disk / "b", np.ones(10**5))
        assert [path.name for path in disk.iterdir()] == ["a"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_file_is_on_disk_before_it_has_its_name(path, monkeypatch):
    order, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("replace"), replace(*paths)))
    store.save(path, tree(2))
    assert order == ["fsync", "replace"]


def test_a_write_makes_its_directory_and_leaves_one_file(tmp_path):
    store.write_atomically(tmp_path / "a" / "b", b"\x00content")
    assert (tmp_path / "a" / "b").read_bytes() == b"\x00content"
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "b"]


def test_what_orbax_wrote_is_read():
    found = store.load_orbax(WRITTEN_BY_ORBAX, 0)
    assert np.isfinite(found["value"]).all()
    assert np.ndim(found["value"]) == 1
    with pytest.raises(store.DamagedCheckpoint, match="cannot be read"):
        store.load_orbax(WRITTEN_BY_ORBAX, 1)
