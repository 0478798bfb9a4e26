"""The contract of a task, over all tasks; the objective of functions and of Flax modules; finite data; keys."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import toymodels as tm

W = jnp.array([[0.3, -1.0], [2.0, 0.5]])
# name -> (the factory as a function of its traced parameters, those parameters at three points of a sweep)
TASKS = {
    "sparse_features": (tm.sparse_features, (jnp.array([[1.0, 0.5, 0.2]] * 3), jnp.array([0.1, 0.5, 1.0]))),
    "one_sparse": (lambda: tm.one_sparse(3), ()),
    "regression": (lambda noise: tm.regression(lambda x: W @ x, tm.gaussian_inputs(2), noise), (jnp.ones(3),)),
    "icl_regression": (lambda noise: tm.icl_regression(tm.uniform_prior(W), 4, noise), (jnp.arange(3.0),)),
    "markov_chains": (lambda: tm.markov_chains(3, 6), ()),
    "modular": (lambda: tm.modular(5), ()),
    "text_windows": (lambda: tm.text_windows(np.arange(9), 4), ()),
}
EXAMPLES = 5


quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@pytest.mark.parametrize("name", TASKS)
def test_a_sample_is_n_examples_a_function_of_its_key_and_vmap_over_a_task_equals_the_loop(name):
    factory, parameters = TASKS[name]
    draw = lambda key, *at: factory(*at).sample(key, EXAMPLES)
    keys = lambda: jax.random.split(jax.random.key(0), 3)
    together, alone = quick(jax.vmap(draw))(keys(), *parameters), quick(draw)
    for i in range(3):
        batch = alone(keys()[i], *(leaf[i] for leaf in parameters))
        assert len(batch.x) == len(batch.y) == EXAMPLES
        chex.assert_tree_all_finite(batch)
        chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[i], together), batch, rtol=1e-5, atol=1e-6)
    assert np.any(np.asarray(together.x[0]) != np.asarray(together.x[1]))
    with pytest.raises(ValueError, match="got n=0 examples: write 1 or more"):
        factory(*(leaf[0] for leaf in parameters)).sample(jax.random.key(0), 0)


def by_hand(params, x):
    return jnp.maximum(params["W"].T @ (params["W"] @ x) + params["b"], 0)


@pytest.mark.parametrize("model", [tm.Autoencoder(3, 2), by_hand], ids=["Flax module", "function"])
def test_the_objective_is_one_loss_an_example(model):
    importance = np.array([1.0, 0.5, 0.2], np.float32)
    task, rng = tm.sparse_features(importance, 0.5), np.random.default_rng(0)
    params = {"W": rng.normal(size=(2, 3)).astype(np.float32), "b": rng.normal(size=3).astype(np.float32)}
    batch = task.sample(jax.random.key(0), EXAMPLES)
    expected = [np.sum(importance * (by_hand(params, x) - x) ** 2) for x in np.asarray(batch.x)]
    chex.assert_trees_all_close(tm.objective(model, task)(params, batch), np.array(expected), rtol=1e-5)


@pytest.mark.parametrize(
    ("predict", "batch", "message"),
    [
        (lambda x: x, tm.Batch(jnp.ones((4, 3)), jnp.ones((4, 2))), r"shape \(3,\) .* shape \(2,\): give predict the"),
        (lambda x: jnp.stack([x[0], x[0]]), tm.Batch(jnp.ones((4, 3)), jnp.ones(4)), r"loss has shape \(2,\) .* one n"),
        (lambda x: x, tm.Batch(jnp.ones((4, 3)), jnp.ones((3, 3))), r"x of shape \(4, 3\) and y of shape \(3, 3\)"),
        (lambda x: x, tm.Batch(jnp.ones((4, 3)), jnp.ones(())), r"y of shape \(\): both need one leading axis"),
    ],
)
def test_batches_and_predictions_that_do_not_fit_are_refused(predict, batch, message):
    task = tm.Task(lambda key, n: batch, lambda prediction, y: (prediction - y) ** 2)
    model = lambda params, x: predict(x)
    model.__name__ = "predict"
    with pytest.raises(ValueError, match=message):
        tm.objective(model, task)({}, batch)


def test_finite_draws_the_rows_of_its_data_uniformly_and_forgets_the_population():
    x = jnp.arange(10.0)[:, None]
    task = tm.finite(tm.one_sparse(3), tm.Batch(x, x**2))
    drawn = task.sample(jax.random.key(0), 20_000)
    chex.assert_trees_all_equal(drawn.y, drawn.x**2)
    rows, counts = np.unique(drawn.x, return_counts=True)
    assert set(rows) == set(range(10))
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    assert tm.one_sparse(3).population is not None
    assert task.population is None


def data(key):
    return np.asarray(jax.random.key_data(key)).tolist()


def test_a_key_belongs_to_a_seed_and_a_purpose():
    assert data(tm.key(3, 2)) == data(jax.random.fold_in(jax.random.key(3), 2))
    assert data(jax.jit(lambda seed: tm.key(seed, 2, "lowbias32"))(3)) == data(tm.key(3, 2, tm.lowbias32))
    assert data(tm.key(3, "W")) == data(tm.key(3, 0x270D2BDA)) != data(tm.key(3, "v"))  # the CRC-32 of "W"
    for seed, purpose, name in ((-1, 0, "seed=-1"), (2**32, 0, "seed=4294967296"), (0, -1, "purpose=-1")):
        with pytest.raises(ValueError, match=f"got {name}: write 0 to 4294967295"):
            tm.key(seed, purpose)
