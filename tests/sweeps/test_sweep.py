"""Sweeps: on any number of devices, in any batches and chunks, interrupted or not, a sweep is the loop over points."""

import re
import shutil
from pathlib import Path

import cases
import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

import sweeps
from sweeps import devices
from toymodels import training
from toymodels.task import objective
from toymodels.tasks.superposition import sparse_features

COLLECTIVE = re.compile(r"all-reduce|all-gather|collective-permute|all-to-all|reduce-scatter|collective-broadcast")


def quadratic(at, w, times):
    """w <- w - rate w, which diverges for a rate above 2."""

    def to(state, stop):
        step, w = state
        w = jax.lax.fori_loop(step, stop, lambda _, w: w - at["rate"] * w, w)
        return (stop, w), w

    return jax.lax.scan(to, w, times)


def train_quadratic(*rates: float, times=(0, 5, 10, 20), chunk: int = 2) -> np.ndarray:
    begin = lambda at: (jnp.int32(0), jnp.float32(1))
    return sweeps.scan(quadratic, sweeps.product(rate=rates), begin, times, chunk=chunk).outputs


def first_overflow(rate: float) -> int:
    """The first step of `quadratic`, from w = 1, after which w is not finite in single precision."""
    w = np.float32(1)
    with np.errstate(over="ignore"):
        for step in range(1, 100):
            w -= np.float32(rate) * w
            if not np.isfinite(w):
                return step
    raise AssertionError(f"rate {rate} does not diverge")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def written(series: Path) -> dict[str, int]:
    """When each step of a series was written."""
    return {path.name: path.stat().st_mtime_ns for path in series.iterdir()}


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

        call.lower, call.trace = program.lower, program.trace
        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "jit", spied)
        return compute(), texts


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """The directory of the training sweep, with its three chunks."""
    directory = tmp_path_factory.mktemp("run")
    with sweeps.run(directory):
        cases.trained()
    return directory


@pytest.fixture(scope="module")
def compiled():
    """The training sweep, kept nowhere, with its programs."""
    return compiled_by(cases.trained)


@pytest.fixture
def whole(compiled):
    return compiled[0]


def rows(tree, index):
    return jax.tree.map(lambda leaf: leaf[index], tree)


def stacked(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


@pytest.mark.parametrize(("size", "batch"), [pytest.param(2, 64, marks=pytest.mark.slow), (10, 2)])
def test_a_sweep_over_four_devices_equals_the_loop_on_one(size, batch):
    """Up to 1e-5: products of batches of matrices add their terms in another order."""
    grid = rows(cases.GRID, slice(size))
    assert jax.device_count() == 4
    found = sweeps.map(cases.point, grid, batch=batch)
    one = jax.jit(cases.point)
    expected = stacked([one(rows(grid, i)) for i in range(size)])
    chex.assert_trees_all_close({name: found[name].values for name in found}, expected, rtol=1e-5)


def test_a_training_sweep_equals_its_runs(whole):
    """Up to 1e-5, as above."""
    one = jax.jit(lambda at: cases.steps(at, cases.begin(at), cases.TIMES)[1])
    expected = stacked([one(rows(cases.RUNS, i)) for i in range(6)])
    chex.assert_trees_all_close(whole.outputs, expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_the_number_of_devices_changes_no_bit(whole, monkeypatch, count):
    few = Mesh(np.array(jax.local_devices()[:count]), ("sweep",), axis_types=(AxisType.Auto,))
    chosen = cases.trained(block=2), sweeps.map(cases.point, cases.GRID, block=2)
    monkeypatch.setattr(devices, "mesh", lambda: few)
    chex.assert_trees_all_equal(cases.trained(block=2).outputs, chosen[0].outputs)
    assert sweeps.map(cases.point, cases.GRID, block=2).identical(chosen[1])


@pytest.mark.parametrize("cut", [pytest.param(dict(chunk=7), marks=pytest.mark.slow), dict(batch=4, chunk=2)])
def test_chunks_and_batches_do_not_change_a_training_sweep_by_a_bit(whole, cut):
    chex.assert_trees_all_equal(cases.trained(**cut).outputs, whole.outputs)


def test_segments_compose(whole):
    """A scan from the states that another left is the scan that was not cut; a key in the state goes with it."""
    grid = sweeps.product(scale=[0.5, 2.0], seed=range(3))
    both = sweeps.scan(cases.walk, grid, cases.walk_begin, [2, 5, 9], chunk=1)
    first = sweeps.scan(cases.walk, grid, cases.walk_begin, [2, 5])
    last = rows(first.outputs, (slice(None), -1))

    def again(at):
        key = jax.random.wrap_key_data(at["last"]["key"])
        return {"step": jnp.int32(5), "key": key, "x": at["last"]["x"]}

    then = sweeps.scan(cases.walk, grid | {"last": last}, again, [9])
    chex.assert_trees_all_equal(rows(then.outputs, (slice(None), 0)), rows(both.outputs, (slice(None), 2)))


def test_counters_that_go_their_own_ways_are_carried_by_each_point():
    def count(at, state, times):
        state = {"step": state["step"] + at["by"]}
        return state, jnp.full(times.shape, state["step"])

    found = sweeps.scan(count, sweeps.product(by=[1, 5]), lambda at: {"step": jnp.int32(0)}, [1, 2, 3], chunk=1)
    assert found.outputs.tolist() == [[1, 2, 3], [5, 10, 15]]


def test_a_function_is_traced_once_whatever_the_chunks():
    traces = []

    def count(at, state, times):
        traces.append(at)
        return state + at["x"], jnp.full(times.shape, state)

    found = sweeps.scan(count, sweeps.product(x=[1.0, 2.0]), lambda at: jnp.float32(0), [1, 2, 3], chunk=1, block=1)
    assert found.outputs.tolist() == [[0, 1, 2], [0, 2, 4]]
    assert len(traces) == 1


def test_a_state_that_changes_its_type_is_refused():
    halve = lambda at, state, times: (state / 2, jnp.full(times.shape, state))
    with pytest.raises(ValueError, match=r"got float32\[\] in the state of a scan that began with int32\[\]"):
        sweeps.scan(halve, {"x": np.ones(2)}, lambda at: jnp.int32(8), [1, 2], name="halve", chunk=1, block=1)


def test_an_optimisers_count_is_not_shared():
    """Adam's powers of one number differ in the last bit from those of many."""
    from sweeps.state import counters_of

    state = jax.jit(jax.vmap(cases.begin))(cases.RUNS)
    assert counters_of(state) == (0,)


def test_a_sharded_sum_would_be_seen():
    mesh = jax.make_mesh((4,), ("sweep",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("sweep"))
    assert COLLECTIVE.search(jax.jit(jnp.sum, in_shardings=sharding).lower(np.zeros(8)).compile().as_text())


def test_a_compiled_sweep_has_no_collectives(compiled):
    _, programs = compiled_by(lambda: sweeps.map(cases.point, cases.GRID))
    spread = [text for text in programs + compiled[1] if "num_partitions=4" in text]
    assert len(spread) > 1
    assert not any(COLLECTIVE.search(text) for text in spread)


@pytest.mark.parametrize("break_it", [Path.unlink, flip])
def test_a_stopped_sweep_resumes_to_the_same_bits_and_repeats_nothing(whole, recorded, tmp_path, break_it, recwarn):
    directory = shutil.copytree(recorded, tmp_path / "run")
    before = written(directory / "steps")
    assert set(before) == {f"000000-00000{part}.npz" for part in range(3)}
    break_it(directory / "steps" / "000000-000001.npz")
    (directory / "steps" / ".000000-000001.npz.partial").write_text("what a killed process left")
    with sweeps.run(directory):
        chex.assert_trees_all_equal(cases.trained().outputs, whole.outputs)
    after = written(directory / "steps")
    assert {step for step in before if after[step] != before[step]} == {"000000-000001.npz"}
    assert set(after) == set(before)
    said = [str(warning.message) for warning in recwarn]
    assert bool(said) == (break_it is flip)
    assert all("000000-000001.npz" in line and "made anew" in line for line in said)


def test_a_begun_sweep_keeps_its_batches_whatever_is_asked_later(tmp_path):
    with sweeps.run(tmp_path):
        first, before = sweeps.map(cases.point, cases.GRID, batch=2), written(tmp_path / "point")
    with sweeps.run(tmp_path):
        assert sweeps.map(cases.point, cases.GRID, block=1, batch=5).identical(first)
    assert written(tmp_path / "point") == before
    assert len(before) == 5


WIDE = {"scale": np.linspace(0, 1, 64, dtype=np.float32)}


def wide(at):
    """A loop over an array of 4 MB."""
    x = jnp.arange(2**20, dtype=jnp.float32)
    return jax.lax.fori_loop(0, 3, lambda _, x: jnp.sin(at["scale"] * x), x).sum()


def of_one(at, _):
    return wide(at), ()


@pytest.mark.parametrize("megabytes", [10, 100])
def test_a_block_stays_within_the_stated_memory(megabytes, monkeypatch):
    monkeypatch.setattr(devices, "_capacity", lambda: 10**12)
    block = devices.block_size(of_one, WIDE, (), memory=megabytes * 10**6)
    taken = devices.memory_of(jax.jit(jax.vmap(wide)).lower(rows(WIDE, slice(block))).compile())
    assert megabytes * 10**6 / 4 < taken <= megabytes * 10**6


def test_without_a_bound_a_block_fits_the_cache(monkeypatch):
    monkeypatch.setattr(devices, "_capacity", lambda: 50 * 10**6)
    assert 5 <= devices.block_size(of_one, WIDE, (), memory=None) <= 13
    monkeypatch.setattr(devices, "_capacity", lambda: 2 * 10**6)
    assert devices.block_size(of_one, WIDE, (), memory=None) == 2, "single points lose the batch axis of their products"


@pytest.mark.parametrize("block", [None, 64])
def test_a_point_larger_than_the_bound_is_refused_with_what_to_write(block, tmp_path):
    refused = pytest.raises(ValueError, match=r"needs \d+ MB and the bound is 1 MB: write --memory \d+MB or more")
    with refused, sweeps.run(tmp_path / "run", memory=10**6):
        sweeps.map(wide, WIDE, block=block)
    assert not (tmp_path / "run").exists()


def test_results_beyond_the_memory_are_refused_before_they_are_computed():
    with pytest.raises(ValueError, match=r"the results of huge would take .* GB and this machine has"):
        sweeps.map(lambda at: jnp.zeros((10**9, 10**6)) + at["x"], {"x": np.zeros(4)}, name="huge", block=1)


@pytest.mark.slow
def test_examples_over_devices_give_the_run_on_one():
    task, tx = sparse_features(jnp.ones(3), 0.5), optax.adam(0.1)
    over = task._replace(sample=lambda key, n: sweeps.examples(task.sample(key, n)))

    def one(at, task):
        params, loss = cases.MODEL.init(jax.random.key(0), jnp.zeros(3))["params"], objective(cases.MODEL, task)
        key = jax.random.key(at["seed"])
        return training.train(key, params, np.array([5, 20]), loss=loss, task=task, tx=tx, batch_size=64)

    grid = {"seed": np.arange(2)}
    spread = lambda: sweeps.map(lambda at: one(at, over), grid, name="spread", across="examples")
    found, programs = compiled_by(spread)
    assert any(re.search("all-reduce", text) and "num_partitions=4" in text for text in programs)
    expected = sweeps.map(lambda at: one(at, task), grid, name="one")
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
    assert np.array_equal(found[[0, 2]], train_quadratic(0.1, 0.5))
    assert np.all(np.isfinite(found) == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]])


@pytest.mark.parametrize(
    ("times", "say"),
    [([], "at least one"), ([2, 1], "increasing from 0"), ([2**31], "from 0 to")],
)
def test_times_that_are_none_are_refused(times, say):
    with pytest.raises(ValueError, match=say):
        train_quadratic(0.1, times=times)


@pytest.mark.parametrize("cut", [dict(block=0), dict(batch=-1), dict(chunk=0)])
def test_cuts_that_are_none_are_refused(cut):
    with pytest.raises(ValueError, match=rf"got {next(iter(cut))}="):
        sweeps.scan(quadratic, {"rate": np.ones(2)}, lambda at: (jnp.int32(0), at["rate"]), [1], **cut)
