"""Training as a pure function: where a run is cut cannot change it, and `jit(vmap(train))` is a sweep."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Float, Int, Key

from toymodels.task import Loss, Params, Task

MAX_STEP = 2**31 - 1
Steps = Int[Array | np.ndarray, " time"]


class TrainState(NamedTuple):
    """All that the next step needs."""

    step: Int[Array, ""]
    params: Params
    opt_state: Any


class Trajectory(NamedTuple):
    """A run, with a leading time axis. loss: the one at `params` on the minibatch that step `step` draws."""

    step: Int[Array, " time"]
    params: Params
    loss: Float[Array, " time"]


def start(params: Params, tx: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise ValueError(
                f"got a parameter {name!r} of type {jnp.result_type(leaf)}; close over what is not trained"
            )
    return TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))


def segment(
    key: Key[Array, ""],
    state: TrainState,
    stop: int | Int[Array, ""],
    *,
    loss: Loss,
    task: Task,
    tx: optax.GradientTransformation,
    batch_size: int,
) -> TrainState:
    """Gradient steps from `state.step` up to `stop`; step t draws its minibatch from `fold_in(key, t)`.

    `stop` may be traced: one compilation serves every length, and two segments compose to one bit for bit.
    """
    if batch_size < 1:
        raise ValueError(f"got batch_size={batch_size}: write 1 or more")

    def body(step: Int[Array, ""], carry: tuple[Params, Any]) -> tuple[Params, Any]:
        params, opt_state = carry
        batch = task.sample(jax.random.fold_in(key, step), batch_size)
        grads = jax.grad(lambda params: jnp.mean(loss(params, batch)))(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    params, opt_state = jax.lax.fori_loop(state.step, stop, body, (state.params, state.opt_state))
    return TrainState(jnp.maximum(state.step, stop), params, opt_state)


def advance(
    key: Key[Array, ""],
    state: TrainState,
    stops: Steps,
    *,
    loss: Loss,
    task: Task,
    tx: optax.GradientTransformation,
    batch_size: int,
) -> tuple[TrainState, Trajectory]:
    """Train on from `state` through the checkpoints `stops`: the state to continue from, and the trajectory between."""
    if not isinstance(stops, Tracer):
        _check_order(np.asarray(stops), state.step)

    def to(state: TrainState, stop: Int[Array, ""]) -> tuple[TrainState, Trajectory]:
        state = segment(key, state, stop, loss=loss, task=task, tx=tx, batch_size=batch_size)
        batch = task.sample(jax.random.fold_in(key, state.step), batch_size)
        return state, Trajectory(state.step, state.params, jnp.mean(loss(state.params, batch)))

    return jax.lax.scan(to, state, jnp.asarray(stops, jnp.int32))


def _check_order(stops: np.ndarray, begin: Int[Array, ""]) -> None:
    """Refuse checkpoints beside which there would be the parameters of another step."""
    if stops.size == 0 or not np.issubdtype(stops.dtype, np.integer):
        raise ValueError(f"got checkpoints {stops}: write steps as integers, one at least, such as log_steps(1000, 20)")
    _check_range(stops)
    if np.any(np.diff(stops) < 0):
        raise ValueError(f"got checkpoints out of order, {stops}: write them in order, such as union(stops)")
    if not isinstance(begin, Tracer) and stops[0] < begin:
        raise ValueError(f"got checkpoints from {stops[0]} and a state at step {begin}: write steps from {begin} on")


def _check_range(steps: np.ndarray) -> None:
    if steps.size and not 0 <= steps.min() <= steps.max() <= MAX_STEP:
        raise ValueError(f"got steps {steps.min()} to {steps.max()}: write 0 to {MAX_STEP}, a step is a 32-bit integer")


def train(
    key: Key[Array, ""],
    params: Params,
    checkpoints: Steps,
    *,
    loss: Loss,
    task: Task,
    tx: optax.GradientTransformation,
    batch_size: int,
) -> Trajectory:
    """Train `params` from step 0 and keep them at each of the steps `checkpoints` (see `linear_steps`, `log_steps`)."""
    return advance(key, start(params, tx), checkpoints, loss=loss, task=task, tx=tx, batch_size=batch_size)[1]


def linear_steps(stop: int, every: int) -> Int[np.ndarray, " time"]:
    """Checkpoints at 0, every, 2 every, ... up to and including `stop`."""
    if not 1 <= every <= stop <= MAX_STEP:
        raise ValueError(f"got every={every}, stop={stop}: write 1 <= every <= stop <= {MAX_STEP}")
    return union(np.arange(0, stop + 1, every), np.array([stop]))


def log_steps(stop: int, count: int) -> Int[np.ndarray, " time"]:
    """Step 0 and at most `count` steps evenly spaced in log(step) from 1 to `stop`, without repetitions."""
    if not 1 <= count <= stop <= MAX_STEP:
        raise ValueError(f"got count={count}, stop={stop}: write 1 <= count <= stop <= {MAX_STEP}")
    return union(np.array([0]), np.round(np.geomspace(stop, 1, count)).astype(int))


def union(*schedules: Int[np.ndarray, " _"]) -> Int[np.ndarray, " time"]:
    """All the checkpoints of several schedules, in order, each once."""
    steps = np.unique(np.concatenate(schedules))
    _check_range(steps)
    return steps.astype(np.int32)
