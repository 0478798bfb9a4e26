"""Training: where a run is cut cannot change it, many runs are the runs one by one, and a step is the step of SGD."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from toymodels.models.autoencoder import Autoencoder
from toymodels.task import Batch, objective
from toymodels.tasks.superposition import sparse_features
from toymodels.training import MAX_STEP, Trajectory, advance, linear_steps, log_steps, segment, start, train, union

IMPORTANCE = np.array([1.0, 0.7, 0.4, 0.1], np.float32)
MODEL, TASK, TX, BATCH = Autoencoder(4, 2), sparse_features(IMPORTANCE, 0.5), optax.adam(0.01), 8
LOSS = objective(MODEL, TASK)
SETTINGS = dict(loss=LOSS, task=TASK, tx=TX, batch_size=BATCH)
STOP = 9
traces = []


@jax.jit
def to(state, stop):
    """A segment; every trace of it is counted."""
    traces.append(stop)
    return segment(jax.random.key(1), state, stop, **SETTINGS)


@jax.jit
def through(state, checkpoints):
    return advance(jax.random.key(1), state, checkpoints, **SETTINGS)


def params(seed: int = 0):
    return MODEL.init(jax.random.key(seed), jnp.zeros(4))["params"]


def sgd_step(W: np.ndarray, b: np.ndarray, x: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """One step of SGD on the mean of sum_i I_i (x_i - x'_i)^2, its gradient written out."""
    h = x @ W.T
    out = np.maximum(h @ W + b, 0)
    delta = 2 * IMPORTANCE * (out - x) * (out > 0) / len(x)
    return W - rate * (h.T @ delta + W @ delta.T @ x), b - rate * delta.sum(axis=0)


def minibatch(step: int) -> Batch:
    return TASK.sample(jax.random.fold_in(jax.random.key(1), step), BATCH)


@pytest.mark.parametrize("cut", [0, 1, 4, STOP])
def test_segments_compose_bit_for_bit(cut):
    first = start(params(), TX)
    whole = to(first, STOP)
    assert whole.step == STOP
    chex.assert_trees_all_equal(to(to(first, cut), STOP), whole)
    assert np.any(to(first, STOP - 1).params["W"] != whole.params["W"])


def test_segments_compose_with_and_without_jit():
    first = start(params(), TX)
    chex.assert_trees_all_equal(segment(jax.random.key(1), to(first, 5), STOP, **SETTINGS), to(first, STOP))


def test_one_trace_serves_every_stop():
    state = start(params(), TX)
    for stop in (0, 2, 3, 100):
        state = to(state, stop)
    assert state.step == 100
    assert len(traces) == 1


def test_a_segment_to_the_past_does_nothing():
    state = to(start(params(), TX), 4)
    chex.assert_trees_all_equal(to(state, 2), state)


def test_trajectories_compose_bit_for_bit():
    checkpoints = np.array([0, 1, 4, STOP], np.int32)
    end, whole = through(start(params(), TX), checkpoints)
    half, before = through(start(params(), TX), checkpoints[:2])
    again, after = through(half, checkpoints[2:])
    chex.assert_trees_all_equal(again, end)
    chex.assert_trees_all_equal(jax.tree.map(lambda *parts: jnp.concatenate(parts), before, after), whole)
    chex.assert_trees_all_equal(end, to(start(params(), TX), STOP))


@pytest.mark.parametrize("step", [0, 3])
def test_a_step_is_the_step_of_sgd(step):
    tx, rate = optax.sgd(0.1), np.float32(0.1)
    before = start(params(), tx)._replace(step=jnp.int32(step))
    W, b = (np.asarray(before.params[name]) for name in ("W", "b"))
    expected = sgd_step(W, b, np.asarray(minibatch(step).x), rate)
    after = segment(jax.random.key(1), before, step + 1, loss=LOSS, task=TASK, tx=tx, batch_size=BATCH)
    assert after.step == step + 1
    chex.assert_trees_all_close((after.params["W"], after.params["b"]), expected, atol=1e-6)
    assert np.max(np.abs(expected[0] - W)) > 1e-3


def test_train_equals_the_loop_over_its_steps():
    tx, rate, checkpoints = optax.sgd(0.1), np.float32(0.1), np.array([0, 2, 3, 6], np.int32)
    found = train(jax.random.key(1), params(), checkpoints, loss=LOSS, task=TASK, tx=tx, batch_size=BATCH)
    W, b = (np.asarray(params()[name]) for name in ("W", "b"))
    kept = []
    for step in range(7):
        batch, now = minibatch(step), {"W": W, "b": b}
        kept.append(Trajectory(jnp.int32(step), now, jnp.mean(LOSS(now, batch))))
        W, b = sgd_step(W, b, np.asarray(batch.x), rate)
    expected = jax.tree.map(lambda *leaves: np.stack(leaves), *[kept[step] for step in checkpoints])
    chex.assert_trees_all_close(found, expected._replace(step=checkpoints), atol=1e-5)


def test_many_runs_equal_the_runs_one_by_one():
    """Up to 1e-5: products of batches of matrices add their terms in another order."""
    first = params()
    settings = dict(loss=LOSS, task=TASK, batch_size=BATCH)
    run = lambda seed, rate: train(
        jax.random.key(seed), first, np.array([0, 3, 6], np.int32), tx=optax.sgd(rate), **settings
    )
    seeds, rates = jnp.arange(3), jnp.array([0.1, 0.01, 0.001])
    alone = [jax.jit(run)(seed, rate) for seed, rate in zip(seeds, rates, strict=True)]
    together = jax.jit(jax.vmap(run))(seeds, rates)
    chex.assert_trees_all_close(together, jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone), atol=1e-5)


@pytest.mark.parametrize(
    ("checkpoints", "message"),
    [
        ([0, 5, 3], "out of order"),
        ([-1, 5], "got steps -1 to 5: write 0 to 2147483647"),
        ([0, MAX_STEP + 1], "write 0 to 2147483647"),
        ([], "one at least"),
        ([3, 5], "a state at step 4: write steps from 4 on"),
    ],
)
def test_checkpoints_that_would_stand_beside_other_parameters_are_refused(checkpoints, message):
    state = start(params(), TX)._replace(step=jnp.int32(4 if "step 4" in message else 0))
    with pytest.raises(ValueError, match=message):
        advance(jax.random.key(1), state, np.array(checkpoints, np.int64), **SETTINGS)


@pytest.mark.parametrize("leaf", [jnp.arange(3), jnp.ones(3, bool), jnp.ones(3, complex), jax.random.key(0)])
def test_parameters_that_are_no_floats_are_refused_by_name(leaf):
    with pytest.raises(ValueError, match=r"got a parameter 'layer\.n' of type .*; close over what is not trained"):
        start({"W": jnp.ones(2), "layer": {"n": leaf}}, TX)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_an_empty_minibatch_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"got batch_size={batch_size}: write 1 or more"):
        segment(jax.random.key(1), start(params(), TX), 1, loss=LOSS, task=TASK, tx=TX, batch_size=batch_size)


@pytest.mark.parametrize(("stop", "every"), [(1, 1), (10, 1), (10, 3), (10, 10), (MAX_STEP, MAX_STEP // 2)])
def test_linear_checkpoints_are_evenly_spaced_and_end_at_stop(stop, every):
    steps = linear_steps(stop, every)
    assert steps.dtype == np.int32
    assert steps[0] == 0
    assert steps[-1] == stop
    gaps = np.diff(steps)
    assert np.all(gaps[:-1] == every)
    assert 0 < gaps[-1] <= every


@pytest.mark.parametrize(("stop", "count"), [(1, 1), (10, 1), (10, 10), (1000, 7), (MAX_STEP, 50)])
def test_log_checkpoints_are_evenly_spaced_in_the_logarithm_and_end_at_stop(stop, count):
    steps = log_steps(stop, count)
    assert steps.dtype == np.int32
    assert steps[0] == 0
    assert steps[-1] == stop
    assert len(steps) <= count + 1
    assert np.all(np.diff(steps) > 0)
    if 1 < count < stop:
        assert len(steps) > count / 2
        even = np.exp(np.linspace(0, np.log(stop), count))
        assert all(np.min(np.abs(even - step)) <= 0.5 + 1e-6 * step for step in steps[1:])


def test_a_union_holds_the_steps_of_all_once_and_in_order():
    steps = union(linear_steps(10, 5), log_steps(10, 4), np.array([3]))
    assert steps.dtype == np.int32
    assert list(steps) == [0, 1, 2, 3, 5, 10]


@pytest.mark.parametrize("schedule", [linear_steps, log_steps])
@pytest.mark.parametrize(("stop", "number"), [(10, 0), (10, -1), (10, 11), (0, 1), (MAX_STEP + 1, 10)])
def test_a_schedule_that_does_not_fit_its_steps_is_refused(schedule, stop, number):
    with pytest.raises(ValueError, match=rf"={number}, stop={stop}: write 1 <= \w+ <= stop <= {MAX_STEP}"):
        schedule(stop, number)


@pytest.mark.parametrize("step", [-1, MAX_STEP + 1])
def test_a_union_beyond_32_bits_is_refused(step):
    with pytest.raises(ValueError, match="a step is a 32-bit integer"):
        union(np.array([0, 5]), np.array([step]))
