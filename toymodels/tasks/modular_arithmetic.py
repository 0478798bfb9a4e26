"""Arithmetic modulo p: all p^2 pairs, of which a share is trained on (Power et al. 2022, arXiv 2201.02177, "Grokking")."""

import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, Scalar

from toymodels.task import Batch, Task

Operation = Callable[[Array, Array], Array]  # of integers, as polynomials are: `operator.add`, `lambda a, b: a * a + b`


def table(p: int, operation: Operation = operator.add, *, suffix: tuple[int, ...] = ()) -> Batch:
    """All p^2 questions in the order a p + b: x = (a, b, *suffix), y = operation(a, b) mod p.

    `suffix`: what follows the two numbers, such as `(p,)` for the token "=" of a transformer, which answers there.
    """
    if p < 2:
        raise ValueError(f"got p={p}: write a modulus of 2 or more")
    a, b = jnp.meshgrid(jnp.arange(p), jnp.arange(p), indexing="ij")
    tail = [jnp.full(p * p, token, a.dtype) for token in suffix]
    return Batch(jnp.stack([a.ravel(), b.ravel(), *tail], axis=-1), operation(a, b).ravel() % p)


def modular(p: int, operation: Operation = operator.add, *, suffix: tuple[int, ...] = ()) -> Task:
    """Questions drawn uniformly from `table`; the loss is the cross-entropy of the answer, in nats."""
    data = table(p, operation, suffix=suffix)

    def sample(key: Key[Array, ""], n: int) -> Batch:
        index = jax.random.randint(key, (n,), 0, p * p)
        return Batch(data.x[index], data.y[index])

    return Task(sample, cross_entropy)


def cross_entropy(prediction: Float[Array, "*positions outputs"], y: Int[Array, ""]) -> Scalar:
    """-log softmax(l)_y, of the logits l at the last position where there are several.

    As softplus(log sum_{z != y} exp l_z - l_y), whose value and gradient keep their relative precision where the answer
    is certain. A difference of logarithms in float32 has steps of 1e-7, and its gradient becomes exactly zero (Prieto et
    al. 2025, arXiv 2501.04697), while lambda-hat of such a model is made of these losses.
    """
    logits = prediction.reshape(-1, prediction.shape[-1])[-1]
    others = jnp.where(jnp.arange(len(logits)) == y, -jnp.inf, logits)
    return jax.nn.softplus(jax.nn.logsumexp(others) - logits[y])


def split(key: Key[Array, ""], data: Batch, train: int) -> tuple[Batch, Batch]:
    """`train` examples drawn without replacement, and the others."""
    if not 1 <= train < len(data.x):
        raise ValueError(f"got train={train} of {len(data.x)} examples: write 1 <= train < {len(data.x)}")
    order = jax.random.permutation(key, len(data.x))
    part = lambda index: Batch(data.x[index], data.y[index])
    return part(order[:train]), part(order[train:])


def whole(task: Task, data: Batch) -> Task:
    """The task each of whose batches is all of `data`, whatever the key: training on it is full-batch descent."""

    def sample(key: Key[Array, ""], n: int) -> Batch:
        if n != len(data.x):
            raise ValueError(
                f"got a batch of {n}: this task gives all its {len(data.x)} examples, write batch_size={len(data.x)}"
            )
        return data

    return task._replace(sample=sample, population=None)


class Entropies(NamedTuple):
    """Of the answer, in nats: with nothing known (the loss of the best constant), with one operand, and with both."""

    answer: float
    given_first: float
    given_second: float
    given_both: float


def entropies(p: int, operation: Operation = operator.add) -> Entropies:
    """H(y), H(y | a), H(y | b), H(y | a, b) of a uniform question, by counting all p^2 of them."""
    counts = np.zeros((p, p, p))
    x, y = (np.asarray(leaf) for leaf in table(p, operation))
    np.add.at(counts, (x[:, 0], x[:, 1], y), 1)

    def conditional(axes: tuple[int, ...]) -> float:
        joint = counts.sum(axis=axes) / p**2
        given = joint.sum(axis=-1, keepdims=True)
        return float(-np.sum(joint * np.log(np.where(joint > 0, joint / np.where(given > 0, given, 1), 1))))

    return Entropies(conditional((0, 1)), conditional((1,)), conditional((0,)), conditional(()))
