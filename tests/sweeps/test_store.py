"""The store: a run is what its directory says; a step is whole, or named and made anew; a failed write costs nothing."""

import errno
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

from toymodels import store


class State(NamedTuple):
    step: int
    params: dict
    opt_state: Any


def tree(seed: int = 0) -> State:
    rng = np.random.default_rng(seed)
    params = {"W": rng.normal(size=(3, 4)).astype(np.float32), "b": np.full(4, np.nan, np.float32)}
    return State(seed, params, (np.int32(3), None, [np.arange(5, dtype=np.int32), rng.normal(size=())]))


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A series with steps 1 and 2. Tests that damage it work on a copy."""
    directory = tmp_path_factory.mktemp("series") / "steps"
    for step in (1, 2):
        store.save(directory, step, tree(step))
    return directory


@pytest.fixture
def series(saved, tmp_path) -> Path:
    return shutil.copytree(saved, tmp_path / "steps")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def disk_full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def never() -> State:
    pytest.fail("an intact step was computed again")


def test_save_then_load_is_the_identity(series):
    chex.assert_trees_all_equal(store.load(series, 2, tree()), tree(2))
    assert isinstance(store.load(series, 2, tree()), State)


def test_without_a_structure_load_gives_dictionaries(series):
    found = store.load(series, 2)
    chex.assert_trees_all_equal(found["params"], tree(2).params)
    assert found["step"] == 2
    chex.assert_trees_all_equal(found["opt_state"][2], list(tree(2).opt_state[2]))


def test_shapes_alone_are_structure_enough(tmp_path):
    arrays = {"W": jax.numpy.arange(6.0).reshape(2, 3), "step": jax.numpy.int32(3)}
    store.save(tmp_path, 0, arrays)
    chex.assert_trees_all_equal(store.load(tmp_path, 0, jax.eval_shape(lambda: arrays)), jax.device_get(arrays))


def test_a_step_of_other_shapes_is_named_and_made_anew(series):
    wider = tree(2)._replace(params={"W": np.ones((3, 9), np.float32), "b": np.ones(9, np.float32)})
    with pytest.raises(store.DamagedCheckpoint, match=r"holds arrays of shapes .*\(3, 4\).* not .*\(3, 9\)"):
        store.load(series, 2, wider)
    with pytest.warns(UserWarning, match="written with other settings"):
        chex.assert_trees_all_equal(store.resume(series, 2, wider, lambda: wider), wider)
    chex.assert_trees_all_equal(store.load(series, 2, wider), wider)


@pytest.mark.parametrize("damage", [truncate, Path.unlink, flip])
def test_damage_to_any_file_of_a_step_is_named_and_the_step_made_anew(saved, tmp_path, damage):
    files = [path.relative_to(saved) for path in sorted((saved / "2").rglob("*")) if path.is_file()]
    assert len(files) > 5
    for i, file in enumerate(files):
        series = shutil.copytree(saved, tmp_path / str(i))
        damage(series / file)
        name = rf"[/ ]{file.relative_to('2')}\W"
        with pytest.raises(store.DamagedCheckpoint, match=name):
            store.load(series, 2, tree())
        with pytest.warns(UserWarning, match=name):
            assert store.steps(series) == [1]
        with pytest.warns(UserWarning, match=name):
            chex.assert_trees_all_equal(store.resume(series, 2, tree(), lambda: tree(2)), tree(2))
        assert store.steps(series) == [1, 2]
        chex.assert_trees_all_equal(store.load(series, 1, tree()), tree(1))
        chex.assert_trees_all_equal(store.load(series, 2, tree()), tree(2))


def test_resume_does_not_repeat_an_intact_step(series):
    chex.assert_trees_all_equal(store.resume(series, 2, tree(), never), tree(2))


def test_resume_computes_and_keeps_a_step_that_is_not_there(series):
    calls = []
    compute = lambda: calls.append(3) or tree(3)
    chex.assert_trees_all_equal(store.resume(series, 3, tree(), compute), tree(3))
    assert len(calls) == 1
    chex.assert_trees_all_equal(store.resume(series, 3, tree(), never), tree(3))


def test_steps_are_in_numerical_order_and_other_names_are_passed_over(saved, tmp_path):
    for step in (10, 9, 2):
        shutil.copytree(saved / "1", tmp_path / str(step))
    (tmp_path / "notes").mkdir()
    assert store.steps(tmp_path) == [2, 9, 10]
    assert store.steps(tmp_path / "nowhere") == []


@pytest.mark.parametrize("function", ["rename", "replace"])
def test_what_a_save_killed_before_a_rename_leaves_is_swept_away(series, monkeypatch, function):
    """Orbax writes a step beside its place and renames it; the digest is replaced into it after that."""
    with monkeypatch.context() as patch:
        patch.setattr(os, function, killed)
        with pytest.raises(KeyboardInterrupt):
            store.save(series, 3, tree(3))
    left = {path.name for path in series.iterdir()} - {"1", "2"}
    assert len(left) == 1
    (series / "3.orbax-checkpoint-tmp-1700000000").mkdir()  # as older versions of Orbax name it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without a digest, step 3 is named
        assert store.steps(series) == [1, 2]
        store.resume(series, 3, tree(), lambda: tree(3))
    assert {path.name for path in series.iterdir()} == {"1", "2", "3"}
    chex.assert_trees_all_equal(store.load(series, 3, tree()), tree(3))


def test_a_step_without_its_digest_is_made_anew(series):
    (series / "2" / store.DIGEST).unlink()
    with pytest.warns(UserWarning, match=rf"2 is incomplete: {store.DIGEST} is missing"):
        chex.assert_trees_all_equal(store.resume(series, 2, tree(), lambda: tree(5)), tree(5))


@pytest.mark.parametrize(
    ("owner", "name"), [(Path, "write_bytes"), (os, "replace"), (os, "rename"), (ocp.Checkpointer, "save")]
)
def test_a_save_that_fails_leaves_the_earlier_steps_as_they_were(series, monkeypatch, owner, name):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, disk_full)
        with pytest.raises(OSError, match=r"checkpoint 3 could not be written to .*steps: no space left on the device"):
            store.save(series, 3, tree(3))
    assert {path.name for path in series.iterdir()} <= {"1", "2", "3"}
    for step in (1, 2):
        chex.assert_trees_all_equal(store.load(series, step, tree()), tree(step))
    with pytest.raises(store.DamagedCheckpoint, match="3 is incomplete"):
        store.load(series, 3, tree())


@pytest.mark.parametrize(("owner", "name"), [(Path, "write_bytes"), (os, "replace")])
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch, owner, name):
    path = tmp_path / "results.json"
    store.write_atomically(path, "old")
    write = Path.write_bytes
    halfway = lambda self, content: (write(self, content[:2]), disk_full())
    monkeypatch.setattr(owner, name, halfway if name == "write_bytes" else disk_full)
    with pytest.raises(OSError, match="No space left"):
        store.write_atomically(path, "new and longer")
    assert path.read_text() == "old"


def test_a_write_makes_its_directory_and_leaves_one_file(tmp_path):
    store.write_atomically(tmp_path / "a" / "b", b"\x00content")
    assert (tmp_path / "a" / "b").read_bytes() == b"\x00content"
    assert list((tmp_path / "a").iterdir()) == [tmp_path / "a" / "b"]


IDENTITY = {"experiment": "tms", "arguments": {"seeds": 4, "gamma": 1.0, "names": ("a", "b")}}


def test_a_run_is_recognised(tmp_path):
    store.describe(tmp_path, IDENTITY, commit="abc")
    before = (tmp_path / "run.json").read_bytes()
    store.describe(tmp_path, IDENTITY, commit="abc")
    assert (tmp_path / "run.json").read_bytes() == before
    assert json.loads(before)["identity"]["arguments"]["seeds"] == 4


def test_another_run_is_refused_with_every_difference_named(tmp_path):
    store.describe(tmp_path, IDENTITY)
    before = (tmp_path / "run.json").read_bytes()
    other = {"experiment": "tms", "arguments": {"seeds": 8, "names": ("a", "c"), "draws": 2}}
    with pytest.raises(store.DifferentRun) as refusal:
        store.describe(tmp_path, other)
    for difference in (
        "arguments.seeds is 4 there and 8 here",
        "arguments.gamma is 1.0 there and None here",
        "arguments.draws is None there and 2 here",
        "arguments.names is ['a', 'b'] there and ['a', 'c'] here",
        "give another --out",
    ):
        assert difference in str(refusal.value)
    assert "experiment" not in str(refusal.value)
    assert (tmp_path / "run.json").read_bytes() == before


def test_other_circumstances_are_a_warning(tmp_path):
    store.describe(tmp_path, IDENTITY, commit="abc", jax="0.10")
    with pytest.warns(UserWarning, match="commit is 'abc' there and 'def' here") as caught:
        store.describe(tmp_path, IDENTITY, commit="def", jax="0.10")
    assert len(caught) == 1


def test_a_damaged_description_is_refused(tmp_path):
    path = tmp_path / "run.json"
    store.describe(tmp_path, IDENTITY, commit="abc")
    whole = path.read_bytes()
    halves = [whole[:size] for size in range(len(whole.rstrip()))]
    for damaged in [*halves, b"{}", b"[]", b'{"identity": {}}', b"\xff" + whole[1:]]:
        path.write_bytes(damaged)
        with pytest.raises(store.DifferentRun, match=r"run.json cannot be read .* move .* away"):
            store.describe(tmp_path, IDENTITY, commit="abc")
