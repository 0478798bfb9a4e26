"""The contract of a task, over all tasks; the objective; finite data."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from toymodels.models.autoencoder import Autoencoder
from toymodels.task import Batch, Task, finite, objective
from toymodels.tasks.superposition import one_sparse, sparse_features

# name -> (the factory as a function of its traced parameters, those parameters at three points of a sweep)
TASKS = {
    "sparse_features": (sparse_features, (jnp.array([[1.0, 0.5, 0.2]] * 3), jnp.array([0.1, 0.5, 1.0]))),
    "one_sparse": (lambda: one_sparse(3), ()),
}
EXAMPLES = 5


@pytest.fixture(params=TASKS)
def case(request):
    return TASKS[request.param]


def point(case, i: int) -> Task:
    """The task at point i of its sweep."""
    factory, parameters = case
    return factory(*(leaf[i] for leaf in parameters))


def test_a_sample_is_n_examples_of_inputs_and_targets(case):
    batch = point(case, 0).sample(jax.random.key(0), EXAMPLES)
    chex.assert_shape(batch, (EXAMPLES, 3))
    chex.assert_type(batch, jnp.float32)
    chex.assert_tree_all_finite(batch)


def test_a_sample_is_a_function_of_its_key(case):
    sample = lambda seed: point(case, 1).sample(jax.random.key(seed), EXAMPLES)
    chex.assert_trees_all_equal(sample(0), sample(0))
    assert np.any(sample(0).x != sample(1).x)


def test_vmap_over_a_task_equals_the_loop(case):
    factory, parameters = case
    draw = lambda key, *at: factory(*at).sample(key, EXAMPLES)
    together = jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(0), 3), *parameters)
    keys = jax.random.split(jax.random.key(0), 3)
    alone = [point(case, i).sample(keys[i], EXAMPLES) for i in range(3)]
    chex.assert_trees_all_close(together, jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone), rtol=1e-6)


def test_the_loss_of_one_example_is_a_scalar_and_least_at_the_target(case):
    task = point(case, 2)
    y = task.sample(jax.random.key(0), 1).y[0]
    right, wrong = task.loss(y, y), task.loss(y + 1, y)
    chex.assert_shape([right, wrong], ())
    assert right < wrong


def test_the_objective_is_one_loss_an_example():
    importance = np.array([1.0, 0.5, 0.2], np.float32)
    task, rng = sparse_features(importance, 0.5), np.random.default_rng(0)
    W, b = rng.normal(size=(2, 3)).astype(np.float32), rng.normal(size=3).astype(np.float32)
    batch = task.sample(jax.random.key(0), EXAMPLES)
    by_hand = [np.sum(importance * (np.maximum(W.T @ (W @ x) + b, 0) - x) ** 2) for x in np.asarray(batch.x)]
    losses = objective(Autoencoder(3, 2), task)({"W": W, "b": b}, batch)
    chex.assert_trees_all_close(losses, np.array(by_hand), rtol=1e-5)


def test_an_objective_of_shapes_that_disagree_says_what_to_write():
    loss, params = objective(Autoencoder(3, 2), one_sparse(3)), {"W": jnp.ones((2, 3)), "b": jnp.ones(3)}
    message = r"predicts shape \(3,\) .* target has shape \(2,\): give Autoencoder the output size of the task"
    with pytest.raises(ValueError, match=message):
        loss(params, Batch(jnp.ones((4, 3)), jnp.ones((4, 2))))


def test_finite_draws_the_rows_of_its_data_uniformly():
    x = jnp.arange(10.0)[:, None]
    drawn = finite(one_sparse(3), Batch(x, x**2)).sample(jax.random.key(0), 20_000)
    chex.assert_trees_all_equal(drawn.y, drawn.x**2)
    rows, counts = np.unique(drawn.x, return_counts=True)
    assert set(rows) == set(range(10))
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_finite_keeps_the_loss_and_forgets_the_population():
    task = one_sparse(3)
    assert task.population is not None
    assert finite(task, task.sample(jax.random.key(0), 4))[1:] == (task.loss, None)


def test_a_loss_that_is_no_number_is_refused():
    class Three:
        def apply(self, variables, x):
            return jnp.stack([x, x, x])

    task = Task(lambda key, n: Batch(jnp.ones(n), jnp.ones(n)), lambda prediction, y: (prediction - y) ** 2)
    with pytest.raises(ValueError, match=r"loss has shape \(3,\) for one example, .* return one number"):
        objective(Three(), task)({}, Batch(jnp.ones(4), jnp.ones(4)))
