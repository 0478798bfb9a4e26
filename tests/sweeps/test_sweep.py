"""Sweeps: on any number of devices, in any batches and chunks, interrupted or not, a sweep is the loop over its points."""

import re
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from experiments import devices, sweep
from experiments.record import recording
from toymodels import training as train
from toymodels.models.autoencoder import Autoencoder
from toymodels.store import DIGEST
from toymodels.task import Batch, Task, objective
from toymodels.tasks.superposition import sparse_features

GRID = {"seed": np.arange(10), "scale": np.linspace(0.1, 1, 10, dtype=np.float32)}
MODEL, CHECKPOINTS = Autoencoder(3, 2), np.array([0, 1, 2, 4, 8, 9, 12], np.int32)
COLLECTIVE = re.compile(r"all-reduce|all-gather|collective-permute|all-to-all|reduce-scatter|collective-broadcast")


def point(at):
    """Something with a matrix product, a random number and an integer in it."""
    x = jax.random.normal(jax.random.key(at["seed"]), (4, 4))
    return {"value": jnp.sum(jnp.tanh(at["scale"] * x @ x)), "row": x[0], "twice": 2 * at["seed"]}


def train_point(at, state, checkpoints):
    """The autoencoder on features of the point's density, with the point's learning rate."""
    task, tx = sparse_features(jnp.ones(3), at["density"]), optax.adam(at["rate"])
    key, loss = jax.random.key(at["seed"]), objective(MODEL, task)
    return train.advance(key, state, checkpoints, loss=loss, task=task, tx=tx, batch_size=4)


def begin(grid) -> train.TrainState:
    """The state of every point before its first step; the step is shared."""
    first = lambda seed: train.start(MODEL.init(jax.random.key(seed), jnp.zeros(3))["params"], optax.adam(0.1))
    return jax.vmap(first)(grid["seed"])._replace(step=np.int32(0))


def quadratic(at, state, checkpoints):
    """w <- w - rate w, which diverges for a rate above 2."""
    task = Task(lambda key, n: Batch(jnp.zeros(n), jnp.zeros(n)), lambda prediction, y: prediction - y)
    loss = lambda params, batch: params["w"] ** 2 / 2 + batch.x
    return train.advance(
        jax.random.key(0), state, checkpoints, loss=loss, task=task, tx=optax.sgd(at["rate"]), batch_size=1
    )


def first_overflow(rate: float) -> int:
    """The first step of `quadratic`, from w = 1, after which w is not finite in single precision."""
    w = np.float32(1)
    with np.errstate(over="ignore"):
        for step in range(1, 100):
            w -= np.float32(rate) * w
            if not np.isfinite(w):
                return step
    raise AssertionError(f"rate {rate} does not diverge")


def train_quadratic(*rates: float, steps=(0, 5, 10, 20), chunk: int = 2) -> train.Trajectory:
    state = train.TrainState(np.int32(0), {"w": np.ones(len(rates), np.float32)}, optax.sgd(0.1).init({}))
    return sweep.train(quadratic, sweep.product(rate=rates), state, np.array(steps, np.int32), chunk=chunk)


def flip(path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def written(series) -> dict[str, int]:
    """When each step of a series was written."""
    return {path.name: (path / DIGEST).stat().st_mtime_ns for path in series.iterdir() if path.is_dir()}


RUNS = sweep.product(density=[0.2, 0.6, 1.0], rate=[0.1, 0.01]) | {"seed": np.arange(6)}


def compiled_by(compute):
    """What `compute` returns, and the compiled text of every program that it calls through `jax.jit`."""
    texts, jit = [], jax.jit

    def spied(function, **options):
        program = jit(function, **options)

        def call(*args):
            if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args)):
                return program(*args)
            compiled = program.lower(*args).compile()
            texts.append(compiled.as_text())
            return compiled(*args)

        call.lower = program.lower
        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", spied)
        return compute(), texts


def train_runs(chunk: int = 3) -> train.Trajectory:
    return sweep.train(train_point, RUNS, begin(RUNS), CHECKPOINTS, chunk=chunk)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The directory of the sweep of RUNS, with its three chunks."""
    directory = tmp_path_factory.mktemp("run")
    with recording(directory):
        train_runs()
    return directory


@pytest.fixture(scope="module")
def compiled():
    """The sweep of RUNS, kept nowhere, with its programs."""
    return compiled_by(train_runs)


@pytest.fixture
def whole(compiled):
    return compiled[0]


def test_a_product_is_every_combination_with_the_first_axis_slowest():
    grid = sweep.product(rate=[0.1, 0.2], seed=range(3))
    assert list(zip(grid["rate"], grid["seed"], strict=True)) == [(r, s) for r in (0.1, 0.2) for s in range(3)]


def test_an_axis_without_values_is_refused():
    with pytest.raises(ValueError, match="the axis 'seed' has no values: give it at least one"):
        sweep.product(rate=[0.1], seed=[])


@pytest.mark.parametrize("sizes", [(4, 5), (0, 0)])
def test_a_grid_of_different_lengths_is_refused(sizes):
    grid = {"a": np.zeros(sizes[0]), "b": np.zeros(sizes[1])}
    with pytest.raises(ValueError, match=rf"leading axes of {re.escape(str(sorted(set(sizes))))}: all need the same"):
        sweep.run(point, grid)


@pytest.mark.parametrize(("size", "batch"), [(2, 64), (10, 2), (10, 64)])
def test_a_sweep_over_four_devices_equals_the_loop_on_one(size, batch):
    """Up to 1e-5: products of batches of matrices add their terms in another order."""
    grid = jax.tree.map(lambda leaf: leaf[:size], GRID)
    assert jax.device_count() == 4
    found = sweep.run(point, grid, batch=batch)
    one = jax.jit(point)
    loop = [one(jax.tree.map(lambda leaf: leaf[i], grid)) for i in range(size)]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *loop)
    chex.assert_trees_all_close({name: found[name].values for name in found}, expected, rtol=1e-5)


def test_a_sharded_sum_would_be_seen():
    mesh = jax.make_mesh((4,), ("sweep",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("sweep"))
    assert COLLECTIVE.search(jax.jit(jnp.sum, in_shardings=sharding).lower(np.zeros(8)).compile().as_text())


def test_a_compiled_sweep_has_no_collectives(compiled):
    _, programs = compiled_by(lambda: sweep.run(point, GRID))
    spread = [text for text in programs + compiled[1] if "num_partitions=4" in text]
    assert len(spread) > 1
    assert not any(COLLECTIVE.search(text) for text in spread)


def test_a_training_sweep_equals_its_runs(whole):
    """Up to 1e-5, as above."""
    one = jax.jit(lambda at, state: train_point(at, state, CHECKPOINTS)[1])
    states = begin(RUNS)._replace(step=np.zeros(6, np.int32))
    runs = [one(*jax.tree.map(lambda leaf: leaf[j], (RUNS, states))) for j in range(6)]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
    chex.assert_trees_all_close(whole, expected._replace(step=CHECKPOINTS), atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 7])
def test_chunks_do_not_change_a_training_sweep_by_a_bit(whole, chunk):
    chex.assert_trees_all_equal(train_runs(chunk), whole)


def test_a_killed_training_sweep_resumes_to_the_same_bits(whole, recorded, tmp_path):
    directory = shutil.copytree(recorded, tmp_path / "run")
    before = written(directory / "steps" / "0")
    assert set(before) == {"2", "9", "12"}
    for later in ("9", "12"):
        shutil.rmtree(directory / "steps" / "0" / later)
    with recording(directory):
        chex.assert_trees_all_equal(train_runs(), whole)
    after = written(directory / "steps" / "0")
    assert {step for step in before if after[step] != before[step]} == {"9", "12"}


def test_a_damaged_chunk_is_named_and_made_anew_to_the_same_bits(whole, recorded, tmp_path):
    directory = shutil.copytree(recorded, tmp_path / "run")
    before = written(directory / "steps" / "0")
    file = next((directory / "steps" / "0" / "9" / "d").iterdir())
    flip(file)
    with recording(directory), pytest.warns(UserWarning, match=file.name):
        chex.assert_trees_all_equal(train_runs(), whole)
    after = written(directory / "steps" / "0")
    assert {step for step in before if after[step] != before[step]} == {"9"}


def test_a_resumed_sweep_repeats_only_what_is_damaged(tmp_path):
    run = lambda: sweep.run(point, GRID, name="points", batch=2)
    with recording(tmp_path):
        first, before = run(), written(tmp_path / "points")
        shutil.rmtree(tmp_path / "points" / "1")
        assert run().identical(first)
    after = written(tmp_path / "points")
    assert {step for step in before if after[step] != before[step]} == {"1"}


def test_a_begun_sweep_keeps_its_batches_whatever_is_asked_later(tmp_path):
    with recording(tmp_path):
        first, before = sweep.run(point, GRID, batch=2), written(tmp_path / "sweep")
        assert sweep.run(point, GRID, block=1, batch=5).identical(first)
    assert written(tmp_path / "sweep") == before
    assert len(before) == 5


def test_a_product_labels_its_axes_and_any_other_grid_its_points():
    one = lambda at: {"sum": at["a"] + at["b"], "pair": {"both": jnp.stack([at["a"], at["b"]])}}
    found = sweep.run(one, sweep.product(a=[3.0, 1.0], b=[10.0, 20.0, 30.0]), dims={"pair.both": ["which"]})
    assert found["sum"].dims == ("a", "b")
    assert found["sum"].sel(a=1.0, b=30.0) == 31
    assert found["pair.both"].dims == ("a", "b", "which")
    assert found["pair.both"].sel(a=3.0, b=20.0).values.tolist() == [3, 20]
    loose = sweep.run(one, {"a": np.array([1.0, 1.0, 2.0]), "b": np.array([5.0, 6.0, 5.0])})
    assert loose["sum"].dims == ("point",)
    assert loose["pair.both"].dims == ("point", "pair.both_0")
    assert loose.swap_dims(point="b").a.values.tolist() == [1, 1, 2]


def test_a_grid_of_keys_has_no_labels():
    found = sweep.run(lambda at: jax.random.uniform(at["key"]), {"key": jax.random.split(jax.random.key(0), 3)})
    assert found.result.dims == ("point",)
    assert len(np.unique(found.result)) == 3


def test_a_grid_of_arrays_is_labelled_by_its_numbers():
    found = sweep.run(lambda at: at["W"].sum() + at["seed"], {"W": np.ones((3, 2, 2)), "seed": np.arange(3)})
    assert found.result.values.tolist() == [4, 5, 6]
    assert set(found.coords) == {"seed"} | {"point"} & set(found.coords)


WIDE = {"scale": np.linspace(0, 1, 64, dtype=np.float32)}


def wide(at):
    """A loop over an array of 4 MB."""
    x = jnp.arange(2**20, dtype=jnp.float32)
    return jax.lax.fori_loop(0, 3, lambda _, x: jnp.sin(at["scale"] * x), x).sum()


@pytest.mark.parametrize("megabytes", [10, 30, 100])
def test_a_block_stays_within_the_stated_memory(megabytes, monkeypatch):
    monkeypatch.setattr(devices, "_capacity", lambda: 10**12)
    block = devices.block_size(wide, WIDE, memory=megabytes * 10**6)
    blocks = jax.tree.map(lambda leaf: leaf[:block], WIDE)
    analysis = jax.jit(jax.vmap(wide)).lower(blocks).compile().memory_analysis()
    assert analysis.temp_size_in_bytes <= megabytes * 10**6
    assert analysis.temp_size_in_bytes > megabytes * 10**6 / 4, "the bound is not used"


def test_without_a_bound_a_block_fits_the_cache(monkeypatch):
    monkeypatch.setattr(devices, "_capacity", lambda: 50 * 10**6)
    assert 5 <= devices.block_size(wide, WIDE, memory=None) <= 13
    monkeypatch.setattr(devices, "_capacity", lambda: 2 * 10**6)
    assert devices.block_size(wide, WIDE, memory=None) == 2, "single points lose the batch axis of their products"


def test_a_point_larger_than_the_bound_is_refused_with_what_to_write():
    with pytest.raises(ValueError, match=r"one point .* needs \d+ MB .* write --memory \d+MB or more"):
        devices.block_size(wide, WIDE, memory=10**6)


@pytest.mark.parametrize("block", [None, 64])
def test_the_bound_of_a_record_is_the_sweeps_whatever_block_is_asked_for(block, tmp_path):
    with pytest.raises(ValueError, match="the bound is 1 MB"), recording(tmp_path, memory=10**6):
        sweep.run(wide, WIDE, block=block)


def test_examples_over_devices_give_the_run_on_one():
    task, tx = sparse_features(jnp.ones(3), 0.5), optax.adam(0.1)

    def one(at, task):
        params, loss = MODEL.init(jax.random.key(0), jnp.zeros(3))["params"], objective(MODEL, task)
        key = jax.random.key(at["seed"])
        return train.train(key, params, np.array([5, 20]), loss=loss, task=task, tx=tx, batch_size=64)

    grid = {"seed": np.arange(2)}
    spread = lambda: sweep.run(lambda at: one(at, sweep.examples(task)), grid, across="examples")
    found, programs = compiled_by(spread)
    assert any(re.search("all-reduce", text) and "num_partitions=4" in text for text in programs)
    expected = sweep.run(lambda at: one(at, task), grid)
    assert np.allclose(found["params.W"], expected["params.W"], atol=1e-5)


def test_a_point_that_diverges_is_named_with_its_step_and_spoils_no_other():
    wild = (1e6, 1e30)
    assert [first_overflow(rate) for rate in wild] == [7, 2]
    with pytest.warns(UserWarning, match="non-finite") as caught:
        found = train_quadratic(0.1, wild[0], 0.5, wild[1])
    assert sorted(str(warning.message).split(":")[0] for warning in caught) == [
        "training went non-finite at step 2 of the sweep point rate=1e+30",
        "training went non-finite at step 7 of the sweep point rate=1000000.0",
    ]
    good = jax.tree.map(lambda leaf: leaf[[0, 2]], found[1:])
    chex.assert_trees_all_equal(good, train_quadratic(0.1, 0.5)[1:])
    assert np.all(np.isfinite(found.params["w"]) == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
