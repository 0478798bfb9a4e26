"""Arithmetic modulo p: all p^2 pairs, of which a share is trained on (Power et al. 2022, arXiv 2201.02177)."""

import operator
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from toymodels.task import Batch, Task, draw_rows, sampling
from toymodels.tasks.losses import answer_loss

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
    return Task(sampling(lambda key, n: draw_rows(key, data, n)), answer_loss)


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
