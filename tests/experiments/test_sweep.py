"""Sweeps: on any number of devices, in any batches and chunks, interrupted or not, a sweep is the loop over its points."""

import re
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments import sweep
from experiments.record import recording
from toymodels import train
from toymodels.models.autoencoder import Autoencoder
from toymodels.task import Batch, Task, objective
from toymodels.tasks.superposition import sparse_features

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


RUNS = sweep.product(density=[0.2, 1.0], rate=[0.1, 0.01], seed=[0]) | {"seed": np.arange(4)}
RUNS = jax.tree.map(lambda leaf: np.concatenate([leaf, leaf[:2]]), RUNS) | {"seed": np.arange(6)}


def spy_on_jit(monkeypatch) -> list[str]:
    """The compiled text of every program that is called under `jax.jit` from now on."""
    texts, jit = [], jax.jit

    def spied(function, **options):
        program = jit(function, **options)

        def call(*args):
            if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args)):
                texts.append(program.lower(*args).compile().as_text())
            return program(*args)

        return call

    monkeypatch.setattr(jax, "jit", spied)
    return texts


@pytest.fixture(scope="module")
def whole():
    """The sweep of RUNS, in chunks of three checkpoints."""
    return sweep.train(train_point, RUNS, begin(RUNS), CHECKPOINTS, chunk=3)


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
def test_a_sweep_equals_the_loop_over_its_points(size, batch):
    """Up to 1e-5: products of batches of matrices add their terms in another order."""
    grid = {"seed": np.arange(size), "scale": np.linspace(0.1, 1, size, dtype=np.float32)}
    assert jax.device_count() == 4
    found = sweep.run(point, grid, batch=batch)
    one = jax.jit(point)
    loop = [one(jax.tree.map(lambda leaf: leaf[i], grid)) for i in range(size)]
    chex.assert_trees_all_close(found, jax.tree.map(lambda *leaves: np.stack(leaves), *loop), rtol=1e-5)
    chex.assert_trees_all_close(found, jax.jit(jax.vmap(point))(grid), rtol=1e-5)


def test_a_sharded_sum_would_be_seen():
    _, _, sharding = sweep._layout(np.zeros(8), None)
    assert COLLECTIVE.search(jax.jit(jnp.sum, in_shardings=sharding).lower(np.zeros(8)).compile().as_text())


def test_a_compiled_sweep_has_no_collectives(monkeypatch):
    texts = spy_on_jit(monkeypatch)
    sweep.run(point, {"seed": np.arange(8), "scale": np.ones(8)})
    sweep.train(train_point, RUNS, begin(RUNS), CHECKPOINTS[:2], chunk=2)
    spread = [text for text in texts if "num_partitions=4" in text]
    assert len(spread) == 2
    assert not any(COLLECTIVE.search(text) for text in spread)


def test_a_training_sweep_equals_its_runs(whole):
    """Up to 1e-5, as above."""
    one = jax.jit(lambda at, state: train_point(at, state, CHECKPOINTS)[1])
    states = begin(RUNS)
    runs = [one(*jax.tree.map(lambda leaf: leaf[j], (RUNS, states._replace(step=np.zeros(6, np.int32))))) for j in range(6)]
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *runs)
    chex.assert_trees_all_close(whole, expected._replace(step=CHECKPOINTS), atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 4, 7])
def test_chunks_do_not_change_a_training_sweep_by_a_bit(whole, chunk):
    chex.assert_trees_all_equal(sweep.train(train_point, RUNS, begin(RUNS), CHECKPOINTS, chunk=chunk), whole)
