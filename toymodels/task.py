"""The contract of data, model and everything downstream: a task is (sample, loss); `objective` joins it to a model."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

Params = Any  # a pytree of arrays: what a Flax module calls variables["params"]


class Batch(NamedTuple):
    """n examples: inputs `x` of shape (n, ...) and targets `y` of shape (n, ...)."""

    x: Array
    y: Array


@runtime_checkable
class Model(Protocol):
    """What is needed of a model: a Flax Linen module is one. `apply` makes the prediction for one example."""

    def apply(self, variables: Any, x: Array, /) -> Any: ...


Loss = Callable[[Params, Batch], Float[Array, " n"]]
"""`loss(params, batch)`, shape (n,): one number per example. Its mean is the empirical loss L_n."""


class Task(NamedTuple):
    """A data-generating process with its loss, as two pure functions (and a third where the integral is known).

    sample: (key, n) -> Batch. `n` is static; the task's own parameters may be traced, so a sweep can `vmap` over
    them. loss: (prediction, y) -> scalar, for one example. population: params -> scalar, the exact expectation of the
    loss, for tasks that have it in closed form.
    """

    sample: Callable[[Key[Array, ""], int], Batch]
    loss: Callable[[Array, Array], Scalar]
    population: Callable[[Params], Scalar] | None = None


def objective(model: Model, task: Task) -> Loss:
    """The per-example loss of `model` on batches of `task`: `(params, batch) -> (n,)`."""

    def example(params: Params, x: Array, y: Array) -> Scalar:
        prediction: Any = model.apply({"params": params}, x)
        if prediction.shape[: y.ndim] != y.shape:  # of a class there is one number in y, and many in the prediction
            raise ValueError(
                f"the model predicts shape {prediction.shape} for one example, the task's target has shape {y.shape}: "
                f"give {type(model).__name__} the output size of the task, or the task the model's size"
            )
        value = task.loss(prediction, y)
        if jnp.shape(value):
            raise ValueError(
                f"the task's loss has shape {jnp.shape(value)} for one example, whose prediction has shape "
                f"{prediction.shape} and target {y.shape}: return one number, such as a sum or a mean"
            )
        return value

    def loss(params: Params, batch: Batch) -> Float[Array, " n"]:
        # Examples lie along the last axis, and vectors (biases) are repeated along it: then `vmap` keeps it last through
        # `W @ x + b`, a loop over contiguous examples. Chains of the 18-parameter model run twice as fast so.
        is_vector = lambda leaf: jnp.ndim(leaf) == 1
        repeat = lambda leaf: jnp.broadcast_to(leaf[:, None], (len(leaf), len(batch.x))) if is_vector(leaf) else leaf
        axes = jax.tree.map(lambda leaf: -1 if is_vector(leaf) else None, params)
        x, y = jnp.moveaxis(batch.x, 0, -1), jnp.moveaxis(batch.y, 0, -1)
        return jax.vmap(example, in_axes=(axes, -1, -1))(jax.tree.map(repeat, params), x, y)

    return loss


def finite(task: Task, data: Batch) -> Task:
    """The task whose distribution is the uniform one on `data`: minibatches are drawn from it with replacement.

    The loss is the one of `task`; its population value is not (`population` becomes None): that of the data is the
    mean of the objective over `data`.
    """
    size = len(data.x)

    def sample(key: Key[Array, ""], n: int) -> Batch:
        index = jax.random.randint(key, (n,), 0, size)
        return Batch(data.x[index], data.y[index])

    return task._replace(sample=sample, population=None)
