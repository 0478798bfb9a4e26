"""The contract of data, model and everything downstream: a task is (sample, loss); `objective` joins it to a model."""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

Params = Any  # a pytree of arrays: what a Flax module calls variables["params"]
Rows = TypeVar("Rows")  # a pytree whose leaves share a leading axis of examples


class Batch(NamedTuple):
    """n examples: inputs `x` of shape (n, ...) and targets `y` of shape (n, ...)."""

    x: Array
    y: Array


@runtime_checkable
class Model(Protocol):
    """A Flax Linen module, or what looks like one. `apply` makes the prediction for one example."""

    def apply(self, variables: Any, x: Array, /) -> Any: ...


Apply = Callable[[Params, Array], Array]
"""`apply(params, x)`, the prediction for one example."""

Loss = Callable[[Params, Batch], Float[Array, " n"]]
"""`loss(params, batch)`, shape (n,): one number per example. Its mean is the empirical loss L_n."""

Sample = Callable[[Key[Array, ""], int], Batch]


class Task(NamedTuple):
    """A data-generating process with its loss, as two pure functions (and a third where the integral is known).

    sample: (key, n) -> Batch. `n` is static; the task's own parameters may be traced, so a sweep can `vmap` over
    them. loss: (prediction, y) -> scalar, for one example. population: params -> scalar, the exact expectation of the
    loss, for tasks that have it in closed form.
    """

    sample: Sample
    loss: Callable[[Array, Array], Scalar]
    population: Callable[[Params], Scalar] | None = None


def sampling(sample: Sample) -> Sample:
    """`sample`, which refuses a number of examples below 1. A decorator."""

    @functools.wraps(sample)
    def checked(key: Key[Array, ""], n: int) -> Batch:
        if operator.index(n) < 1:
            raise ValueError(f"got n={n} examples: write 1 or more")
        return sample(key, n)

    return checked


def objective(model: Model | Apply, task: Task) -> Loss:
    """The per-example loss on batches of `task`, `(params, batch) -> (n,)`, of a function or of a Flax module."""
    name = type(model).__name__ if isinstance(model, Model) else getattr(model, "__name__", "the model")

    def example(params: Params, x: Array, y: Array) -> Scalar:
        prediction: Any = model.apply({"params": params}, x) if isinstance(model, Model) else model(params, x)
        if prediction.shape[: y.ndim] != y.shape:  # of a class there is one number in y, and many in the prediction
            shapes = f"shape {prediction.shape} for one example, whose target has shape {y.shape}"
            raise ValueError(f"the model predicts {shapes}: give {name} the output size of the task")
        value = task.loss(prediction, y)
        if jnp.shape(value):
            raise ValueError(f"the task's loss has shape {jnp.shape(value)} for one example: return one number")
        return value

    def loss(params: Params, batch: Batch) -> Float[Array, " n"]:
        _same_examples(batch)
        # With examples along the last axis, and biases repeated along it, `W @ x + b` is a loop over contiguous
        # examples: chains of the 18-parameter model run twice as fast.
        is_vector = lambda leaf: jnp.ndim(leaf) == 1
        repeat = lambda leaf: jnp.broadcast_to(leaf[:, None], (len(leaf), len(batch.x))) if is_vector(leaf) else leaf
        axes = jax.tree.map(lambda leaf: -1 if is_vector(leaf) else None, params)
        x, y = jnp.moveaxis(batch.x, 0, -1), jnp.moveaxis(batch.y, 0, -1)
        return jax.vmap(example, in_axes=(axes, -1, -1))(jax.tree.map(repeat, params), x, y)

    return loss


def _same_examples(batch: Batch) -> None:
    x, y = jnp.shape(batch.x), jnp.shape(batch.y)
    if not x or not y or x[0] != y[0]:
        raise ValueError(f"got x of shape {x} and y of shape {y}: both need one leading axis, of the same examples")


def draw_rows(key: Key[Array, ""], data: Rows, n: int) -> Rows:
    """n rows of every leaf of `data`, the same ones, uniformly and with replacement."""
    index = jax.random.randint(key, (n,), 0, len(jax.tree.leaves(data)[0]))
    return jax.tree.map(lambda leaf: leaf[index], data)


def finite(task: Task, data: Batch) -> Task:
    """The task whose distribution is the uniform one on `data`: minibatches are drawn from it with replacement.

    Its `population` is None: that of the data is the mean of the objective over `data`.
    """
    _same_examples(data)
    return task._replace(sample=sampling(lambda key, n: draw_rows(key, data, n)), population=None)


def whole(task: Task, data: Batch) -> Task:
    """The task each of whose batches is all of `data`, whatever the key: training on it is full-batch descent."""

    def sample(key: Key[Array, ""], n: int) -> Batch:
        if n != len(data.x):
            raise ValueError(f"got a batch of {n}: this task gives all its examples, write batch_size={len(data.x)}")
        return data

    return task._replace(sample=sample, population=None)


def split(key: Key[Array, ""], data: Batch, train: int) -> tuple[Batch, Batch]:
    """`train` examples drawn without replacement, and the others."""
    if not 1 <= train < len(data.x):
        raise ValueError(f"got train={train} of {len(data.x)} examples: write 1 <= train < {len(data.x)}")
    order = jax.random.permutation(key, len(data.x))
    part = lambda index: jax.tree.map(lambda leaf: leaf[index], data)
    return part(order[:train]), part(order[train:])
