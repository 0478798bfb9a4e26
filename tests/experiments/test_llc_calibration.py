"""The models of `llc_calibration`: the truth they are held against is that of the loss that is sampled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.llc_calibration import cases
from slt.chains import Fold, run_chains
from slt.curvature import hessian
from slt.samplers.base import localised
from slt.samplers.momentum import sghmc
from slt.strata import deep_linear_local, generic_ranks, rank_array
from toymodels.models.mlp import MLP
from toymodels.task import objective
from toymodels.tasks.linear_regression import regression

LAST = Fold(lambda params: params, lambda _, params: params)


@pytest.fixture(scope="module")
def network():
    return cases.furman_lau(np.random.default_rng(3), 3, 3, 5)


def test_networks_have_the_ranks_that_they_are_said_to_have():
    rng = np.random.default_rng(0)
    for _ in range(20):
        net = cases.furman_lau(rng, int(rng.integers(2, 5)), 3, 8)
        np.testing.assert_array_equal(net.ranks, rank_array(net.weights))


def test_the_loss_is_that_of_a_linear_mlp_on_whitened_inputs(network):
    inputs = network.widths[0]
    x = np.sqrt(inputs) * np.eye(inputs, dtype=np.float32)
    target = network.product.astype(np.float32)
    task = regression(lambda x: target @ x, lambda key, n: jnp.asarray(x))
    data = task.sample(jax.random.key(0), inputs)
    key = jax.random.key(1)
    params = {f"W{l}": jax.random.normal(jax.random.fold_in(key, l), W.shape) for l, W in enumerate(network.weights, 1)}
    loss = objective(MLP(network.widths, activation=None, bias=False), task)(params, data)
    np.testing.assert_allclose(np.mean(loss), cases.product_loss(params, target[None])[0], rtol=1e-5)


def test_curvatures_are_those_of_the_padded_loss_and_padding_never_moves(network):
    grid = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), cases.padded([network], 6))
    params, mask, data = grid["params"], grid["mask"], grid["target"][None]
    H = jax.jit(lambda p: hessian(cases.product_loss, p, data, mask=mask))(params)
    h, ours = np.linalg.eigvalsh(np.asarray(H, float))[::-1], cases.curvatures(network)[::-1]
    size = min(len(h), len(ours))
    np.testing.assert_allclose(h[:size], ours[:size], atol=1e-5 * ours[0])
    assert h[0] <= cases.stiffness(network, 1e12, 0) * (1 + 1e-6)  # a bound, where nothing is moved

    potential = localised(cases.product_loss, data, params, nbeta=1e3, gamma=10.0, mask=mask)
    chain = lambda key: run_chains(key, sghmc(1e-5), potential, params, chains=1, warmup=0, draws=20, fold=LAST).folded
    end = jax.jit(chain)(jax.random.key(0))
    for name, W in end.items():
        moved = np.asarray(W[0] != params[name])
        np.testing.assert_array_equal(moved, mask[name])


@pytest.mark.parametrize("nbeta", [10.0, 1e3])
def test_the_exact_value_of_a_tanh_unit_is_the_integral_over_both_parameters(nbeta):
    a = np.linspace(-9, 9, 4001)
    b = np.linspace(-9, 9, 4001)
    g = np.mean(np.tanh(a[:, None] * cases.INPUTS[None]) ** 2, axis=1)
    K = g[:, None] * b[None] ** 2 / 2
    weight = np.exp(-nbeta * K - (a[:, None] ** 2 + b[None] ** 2) / 4)
    direct = nbeta * np.sum(weight * K) / np.sum(weight)
    np.testing.assert_allclose(cases.tanh_finite(1, nbeta=nbeta, gamma=0.5), direct, rtol=1e-4)


def test_small_models_are_at_a_minimum_of_loss_zero_and_have_their_coefficients():
    models = cases.small()
    loss = jax.jit(jax.vmap(cases.small_loss, in_axes=(None, 0)))
    np.testing.assert_array_equal(loss(jnp.zeros(cases.SIZE), models.data), 0)
    w = jnp.arange(1.0, 13) / 10
    units = np.tanh(np.array(w[:2])[:, None] * cases.INPUTS[None])
    y = np.array([w[2], w[3]])[:, None] * units
    product = np.array(w[:6]).reshape(3, 2) @ np.array(w[6:]).reshape(2, 3)
    curvature = np.geomspace(0.03, 3, 10)
    expected = [
        np.sum(curvature * np.array(w[:10]) ** 2) / 2, (0.1 * 0.2) ** 2, 0.1**2 * 0.2**4, (0.1 * 0.2 * 0.3) ** 2,
        np.sum(product**2) / 2, np.mean(y[0] ** 2) / 2, np.mean(y.sum(0) ** 2) / 2,
    ]  # fmt: skip
    np.testing.assert_allclose(loss(w, models.data)[:, 0], expected, rtol=1e-5)
    assert all(0 < exact < limit for exact, limit in zip(models.exact, models.limit, strict=True))


def test_rescaled_networks_compute_the_same():
    case = cases.rescaled(np.array([1e-4, 1, 1e4]), examples=20)
    moved = {"W1": case.params["W1"] * 1.1, "W2": case.params["W2"]}
    at, off = (jax.vmap(case.loss, in_axes=(0, None))(params, case.data) for params in (case.params, moved))
    assert np.max(at) < 1e-10 * np.max(off)
    np.testing.assert_allclose(off, jnp.broadcast_to(off[1][None], off.shape), rtol=1e-4)


def test_the_search_for_a_coefficient_gives_up_where_it_is_told_to():
    ranks = generic_ranks([26, 20, 25, 20, 38, 45], [17, 20, 20, 11, 7])
    assert np.isnan(deep_linear_local(ranks, splits=3))
    easy = generic_ranks([26, 28, 39], [26, 27])
    assert deep_linear_local(easy, splits=0) == deep_linear_local(easy)
