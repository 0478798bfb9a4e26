"""Modular arithmetic against enumeration: questions, answers, entropies, the loss in double precision, the model."""

import functools
import itertools
import math
import operator
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from toymodels.models.embedding_mlp import EmbeddingMLP
from toymodels.task import Batch, objective, split, whole
from toymodels.tasks.losses import answer_loss
from toymodels.tasks.modular_arithmetic import entropies, modular, table
from toymodels.training import segment, start

OPERATIONS = {"add": operator.add, "multiply": operator.mul, "a^2 + b": lambda a, b: a * a + b}
RNG = np.random.default_rng(0)
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
GRADIENT = quick(jax.grad(answer_loss))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_table_is_the_enumeration(name):
    x, y = table(7, OPERATIONS[name], suffix=(7,))
    expected = [((a, b, 7), OPERATIONS[name](a, b) % 7) for a, b in itertools.product(range(7), repeat=2)]
    assert [(tuple(row), int(answer)) for row, answer in zip(np.asarray(x).tolist(), y, strict=True)] == expected


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("p", [2, 6, 7])
def test_entropies_are_those_of_the_counts(name, p):
    """Of the answer within each group of questions that agree on what is given, weighed by the groups."""
    triples = [(a, b, OPERATIONS[name](a, b) % p) for a, b in itertools.product(range(p), repeat=2)]

    def entropy(given):
        groups = {}
        for triple in triples:
            groups.setdefault(tuple(triple[i] for i in given), Counter())[triple[2]] += 1
        sizes = {g: sum(c.values()) for g, c in groups.items()}
        return -sum(n / p**2 * math.log(n / sizes[g]) for g, c in groups.items() for n in c.values())

    assert entropies(p, OPERATIONS[name]) == pytest.approx([entropy(given) for given in ((), (0,), (1,), (0, 1))])


def test_samples_are_rows_of_the_table_and_all_of_them_occur_equally():
    n = 70_000
    x, y = modular(7).sample(jax.random.key(0), n)
    counts = Counter(zip(*np.asarray(x).T.tolist(), np.asarray(y).tolist(), strict=True))
    assert set(counts) == {(a, b, (a + b) % 7) for a, b in itertools.product(range(7), repeat=2)}
    expected = n / 49
    chi2 = sum((c - expected) ** 2 / expected for c in counts.values())
    assert 20 < chi2 < 85  # 48 degrees of freedom: .01 % on either side


@pytest.mark.parametrize("scale", [1.0, 10.0, 60.0])
def test_the_loss_keeps_its_relative_precision_where_the_answer_is_certain(scale):
    logits, y = RNG.normal(size=11).astype(np.float32), 3
    logits[y] += scale
    others = np.delete(logits.astype(float), y) - float(logits[y])
    exact = np.log1p(np.sum(np.exp(others)))
    assert float(answer_loss(jnp.asarray(logits), jnp.int32(y))) == pytest.approx(exact, rel=2e-5, abs=0)
    gradient = GRADIENT(jnp.asarray(logits), jnp.int32(y))
    wanted = np.exp(logits.astype(float) - logits[y] - exact)
    wanted[y] = -np.sum(np.exp(others)) * np.exp(-exact)
    np.testing.assert_allclose(gradient, wanted, rtol=2e-5)


def test_of_several_positions_the_last_one_answers():
    logits = jnp.asarray(RNG.normal(size=(3, 5)), jnp.float32)
    assert answer_loss(logits, jnp.int32(2)) == answer_loss(logits[-1], jnp.int32(2))
    assert answer_loss(logits, jnp.int32(2)) != answer_loss(logits[0], jnp.int32(2))


def test_the_halves_of_a_split_are_the_table():
    data = table(7)
    train, rest = split(jax.random.key(1), data, 20)
    assert len(train.x) == 20
    questions = lambda batch: [tuple(x) for x in np.asarray(batch.x).tolist()]
    assert sorted(questions(train) + questions(rest)) == questions(data)
    for batch in (train, rest):
        np.testing.assert_array_equal(batch.y, np.asarray(batch.x).sum(axis=1) % 7)
    assert questions(split(jax.random.key(2), data, 20)[0]) != questions(train)
    with pytest.raises(ValueError, match="write 1 <= train < 49"):
        split(jax.random.key(1), data, 49)


def test_training_on_the_whole_is_full_batch_descent():
    """Of a linear model, whose gradient is sum_i (softmax(W' x_i) - y_i) x_i' / n."""
    data = table(5)
    task, tx = whole(modular(5), data), optax.sgd(0.1)
    one_hot = lambda x: jnp.eye(5)[x].sum(axis=0)
    loss = lambda W, batch: jax.vmap(lambda x, y: answer_loss(one_hot(x) @ W, y))(batch.x, batch.y)
    descend = quick(lambda key, W: segment(key, start(W, tx), 2, loss=loss, task=task, tx=tx, batch_size=25).params)
    W = RNG.normal(size=(5, 5)).astype(np.float32)
    found = [np.asarray(descend(jax.random.key(i), jnp.asarray(W))) for i in (1, 2)]
    X, Y = np.eye(5)[np.asarray(data.x)].sum(axis=1), np.eye(5)[np.asarray(data.y)]
    for _ in range(2):
        odds = np.exp(X @ W)
        W = W - 0.1 * X.T @ (odds / odds.sum(axis=1, keepdims=True) - Y) / 25
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(found[0], W, atol=1e-6)
    with pytest.raises(ValueError, match="write batch_size=25"):
        task.sample(jax.random.key(0), 24)


def test_the_model_is_the_mlp_on_the_concatenated_embeddings():
    model = EmbeddingMLP(7, 5, 4, 6, slots=3)
    x = jnp.array([2, 6, 2])
    params = model.init(jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda leaf: RNG.normal(size=leaf.shape).astype(np.float32), params)
    concatenated = np.concatenate([params["W_E"][i] for i in x])
    h = np.maximum(concatenated @ params["W_in"].reshape(12, 6) + params["b_in"], 0)
    y, seen = quick(functools.partial(model.apply, mutable=["intermediates"]))({"params": params}, x)
    np.testing.assert_allclose(y, h @ params["W_out"], rtol=1e-5)
    np.testing.assert_allclose(seen["intermediates"]["hidden"][0], h, rtol=1e-5, atol=1e-6)
    loss = quick(objective(model, modular(5)))
    together = loss(params, Batch(jnp.stack([x, x]), jnp.array([1, 3])))
    odds = np.exp(np.asarray(y, float))
    np.testing.assert_allclose(together, -np.log(odds / odds.sum())[[1, 3]], rtol=1e-4)
    with pytest.raises(ValueError, match="reads one example of 3 tokens"):
        model.apply({"params": params}, x[:2])


def test_moduli_below_two_are_refused():
    with pytest.raises(ValueError, match="a modulus of 2 or more"):
        table(1)
