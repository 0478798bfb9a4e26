"""No stale number: whatever has changed since a run was begun is harmless or refused by name."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sweeps
from sweeps import store

DATA = np.linspace(-1, 1, 50).astype(np.float32)


def walk(*, scale=(0.5, 1.0), times=(1, 3, 4), rate=0.1, data: Any = DATA, power=2, name="walk", seed=0, chunk=2):
    """Gradient descent on the mean of |scale w - data|^power, from a random w."""

    def f(at, state, times):
        def to(state, stop):
            slope = jax.grad(lambda w: jnp.mean(jnp.abs(at["scale"] * w - data) ** power))
            step, w = state
            w = jax.lax.fori_loop(step, stop, lambda _, w: w - rate * slope(w), w)
            return (stop, w), {"w": w}

        return jax.lax.scan(to, state, times)

    begin = lambda at: (jnp.int32(0), jax.random.normal(jax.random.key(seed)))
    return sweeps.scan(f, sweeps.product(scale=scale), begin, times, name=name, chunk=chunk, block=1, batch=1)


def refused(directory: Path, compute) -> str:
    """The sentence with which a directory refuses another computation; nothing in it has changed."""
    before = {path: path.read_bytes() for path in sorted(directory.rglob("*.npz"))}
    with pytest.raises(sweeps.DifferentRun) as refusal, sweeps.run(directory):
        compute()
    assert {path: path.read_bytes() for path in sorted(directory.rglob("*.npz"))} == before
    assert "\n" not in str(refusal.value)
    assert "--fresh" in str(refusal.value)
    return str(refusal.value)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    directory = tmp_path_factory.mktemp("run")
    with sweeps.run(directory):
        walk()
    return directory


@pytest.fixture
def directory(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "run")


@pytest.fixture(scope="module")
def expected():
    return walk().outputs["w"]


@pytest.mark.parametrize(
    ("change", "say"),
    [
        (dict(scale=(0.5, 2.0)), "grid scale is [0.5, 1.0] there and [0.5, 2.0] here"),
        (dict(scale=(0.5, 1.0, 2.0)), "grid scale is [0.5, 1.0] there and [0.5, 1.0, 2.0] here"),
        (dict(times=(1, 3, 5)), "times is [1, 3, 4] there and [1, 3, 5] here"),
        (dict(rate=0.2), "a constant of the program has changed"),
        (dict(data=DATA + np.eye(50, dtype=np.float32)[7]), "a constant of the program has changed"),
        (dict(data=jnp.asarray(DATA).at[3].add(1e-3)), "a constant of the program has changed"),
        (dict(power=3), "the code of the program has changed"),
        (dict(data=DATA[1:]), "the code of the program has changed, or the shapes in it"),
        (dict(seed=1), "state 1 is "),
        (dict(chunk=3), "chunk is 2 there and 3 here"),
    ],
)
def test_another_computation_is_refused_with_what_differs(directory, change, say):
    assert say in refused(directory, lambda: walk(**change))


def test_the_same_computation_is_read(directory, expected, monkeypatch):
    monkeypatch.setattr(store, "save", lambda *_: pytest.fail("a finished step was made again"))
    with sweeps.run(directory):
        assert np.array_equal(walk().outputs["w"], expected)
    with sweeps.run(directory):
        walk(data=jnp.asarray(DATA).at[3].add(0))  # the same values, made otherwise


def test_another_name_is_another_series(directory):
    with sweeps.run(directory):
        walk(name="other", rate=0.3)
    assert {path.name for path in directory.iterdir()} == {".lock", "walk", "other"}


@pytest.mark.parametrize("key", ["jax", "platform"])
def test_another_jax_is_refused(directory, monkeypatch, key):
    monkeypatch.setattr(jax, *{"jax": ("__version__", "9.9"), "platform": ("default_backend", lambda: "tpu")}[key])
    here = {"jax": "9.9", "platform": "tpu"}[key]
    assert f"{key} is " in (said := refused(directory, walk))
    assert f"there and {here} here" in said


def test_the_64_bit_mode_is_refused(directory):
    with jax.enable_x64(True):
        said = refused(directory, walk)
    assert "float32" in said
    assert "float64" in said


def test_lost_files_are_made_anew(directory, expected):
    for path in sorted((directory / "walk").iterdir())[:3]:
        path.unlink()
    with sweeps.run(directory):
        assert np.array_equal(walk().outputs["w"], expected)


def test_a_moved_directory_goes_on(directory, expected, monkeypatch):
    moved = directory.rename(directory.with_name("else[1]*"))
    monkeypatch.setattr(store, "save", lambda *_: pytest.fail("a finished step was made again"))
    with sweeps.run(moved):
        assert np.array_equal(walk().outputs["w"], expected)


def test_files_that_change_places_are_noticed(directory, expected):
    first, second = (directory / "walk" / f"00000{batch}-000000.npz" for batch in (0, 1))
    shutil.copy(second, first)
    with (
        sweeps.run(directory),
        pytest.warns(UserWarning, match=r"holds the points \[1, 2\], not \[0, 1\]; it is made anew"),
    ):
        assert np.array_equal(walk().outputs["w"], expected)


@pytest.mark.parametrize(
    "layout", [None, [], {}, {"block": -1, "batch": 1}, {"block": 10**9, "batch": "x"}, {"block": True}]
)
def test_a_damaged_layout_is_refused(directory, layout):
    for path in (directory / "walk").iterdir():
        found = store.read(path)
        of = found.about["of"] | {"layout": layout}
        store.save(path, found.leaves, found.about | {"of": of})
    refused(directory, walk)


@pytest.mark.parametrize(
    "of", [None, 3, [], {}, {"inputs": 3}, {"inputs": {"grid": 3}}, {"inputs": {"grid": {"scale": 3}}}]
)
def test_a_damaged_description_is_refused(directory, of):
    for path in (directory / "walk").iterdir():
        store.save(path, store.read(path).leaves, {"rows": [0, 1], "of": of})
    said = refused(directory, walk)
    assert "description is damaged" in said or "there and" in said


def test_a_series_begun_by_other_code_and_damaged_is_refused_all_the_same(directory):
    """The first file, which could be made anew, does not open the door."""
    first = min((directory / "walk").iterdir())
    first.write_bytes(first.read_bytes()[:100])
    assert "a constant" in refused(directory, lambda: walk(rate=0.2))


def test_fresh_puts_the_old_series_aside(directory):
    old = {path.name: path.read_bytes() for path in (directory / "walk").iterdir()}
    for number in (1, 2):
        with sweeps.run(directory, fresh=True):
            walk(rate=0.2)
        aside = directory / f".walk.old-{number}"
        assert set(old) == {path.name for path in aside.iterdir()}
    assert {path.name: path.read_bytes() for path in (directory / ".walk.old-1").iterdir()} == old
    with sweeps.run(directory):
        walk(rate=0.2)


NAMES = ["", ".", "..", "../outside", "/absolute", "a/b", "x/0", ".hidden", "a..b", "a.", "a\nb", "-", "*", "[1]"]


@pytest.mark.parametrize("name", NAMES)
def test_names_that_are_no_folder_of_their_own_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match="for a series: write letters"), sweeps.run(tmp_path / "run"):
        sweeps.map(lambda at: at["x"], {"x": np.ones(2)}, name=name)
    assert not (tmp_path / "run").exists()


def test_two_series_of_one_name_are_refused(tmp_path):
    times = lambda at: at["x"] * 1
    with sweeps.run(tmp_path):
        sweeps.map(times, {"x": np.ones(2)}, name="times")
        with pytest.raises(ValueError, match="two series of this run have the name 'times': write name="):
            sweeps.map(lambda at: at["x"] * 100, {"x": np.ones(2)}, name="times")
        sweeps.map(lambda at: at["x"] * 100, {"x": np.ones(2)}, name="times-2")
    for _ in range(2):  # where nothing is kept nothing clashes
        sweeps.map(times, {"x": np.ones(2)}, name="times")


def test_a_lambda_needs_a_name():
    with pytest.raises(ValueError, match="such as name="):
        sweeps.map(lambda at: at["x"], {"x": np.ones(2)})


DEVICES = """
import sys, numpy as np, sweeps
with sweeps.run(sys.argv[1]):
    found = sweeps.map(lambda at: at["x"] * 10, sweeps.product(x=range(12)), name="tens")
    assert (found.result == 10 * found.x).all()
"""


def test_another_number_of_devices_and_a_lost_file_move_no_point(tmp_path):
    for devices in ("2", "3"):
        environment = os.environ | {"JAX_NUM_CPU_DEVICES": devices, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-W", "error", "-c", DEVICES, str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        min((tmp_path / "tens").iterdir()).unlink()


def test_a_second_process_in_a_directory_is_refused(tmp_path):
    second = f"import sweeps\nwith sweeps.run({str(tmp_path)!r}): pass"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with sweeps.run(tmp_path):
        done = subprocess.run([sys.executable, "-c", second], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        f"ValueError: another process is running in {tmp_path}: wait for it, or write another directory"
    )


def test_what_is_kept_says_what_it_is(directory):
    """A stranger can read a file with NumPy and JSON alone."""
    with np.load(min((directory / "walk").iterdir())) as file:
        of = json.loads(str(file["about"]))["about"]["of"]
    assert of["jax"] == jax.__version__
    assert of["inputs"]["grid"]["scale"]["values"] == [0.5, 1.0]
    assert of["layout"] == {"block": 1, "batch": 1, "chunk": 2}
