"""The models of `llc_calibration`: the truth they are held against is that of the loss that is sampled."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import slt
import toymodels as tm
from experiments.llc_calibration import networks, small
from experiments.llc_calibration.report import errors, known, singular
from experiments.llc_calibration.small import INPUTS, SIZE

LAST = slt.Fold(lambda params: params, lambda _, params: params)


@pytest.fixture(scope="module")
def network():
    return networks.furman_lau(np.random.default_rng(3), 3, 3, 5)


def test_the_loss_is_that_of_a_linear_mlp_on_whitened_inputs(network):
    widths = [network[0].shape[1], *map(len, network)]
    x = np.sqrt(widths[0]) * np.eye(widths[0], dtype=np.float32)
    target = networks.product(network).astype(np.float32)
    data = tm.regression(lambda x: target @ x, lambda key, n: jnp.asarray(x))
    key = jax.random.key(1)
    params = {f"W{l}": jax.random.normal(jax.random.fold_in(key, l), W.shape) for l, W in enumerate(network, 1)}
    loss = tm.objective(tm.MLP(tuple(widths), activation=None, bias=False), data)
    expected = np.mean(loss(params, data.sample(jax.random.key(0), widths[0])))
    np.testing.assert_allclose(expected, networks.product_loss(params, target[None])[0], rtol=1e-5)


def test_curvatures_are_those_of_the_padded_loss_and_padding_never_moves(network):
    grid = jax.tree.map(lambda leaf: jnp.asarray(leaf[0]), networks.padded([network], 6))
    params, mask, data = grid["params"], grid["mask"], grid["target"][None]
    H = jax.jit(lambda p: slt.hessian(networks.product_loss, p, data, mask=mask))(params)
    h, ours = np.linalg.eigvalsh(np.asarray(H, float))[::-1], slt.deep_linear_curvatures(network)[::-1]
    size = min(len(h), len(ours))
    np.testing.assert_allclose(h[:size], ours[:size], atol=1e-5 * ours[0])
    assert h[0] <= networks.stiffness(network, 1e12, 0) * (1 + 1e-6)  # a bound, where nothing is moved

    potential = slt.localised(networks.product_loss, data, params, nbeta=1e3, gamma=10.0, mask=mask)
    sampling = slt.Sampling(chains=1, warmup=0, draws=20)
    chain = lambda key: slt.run_chains(key, slt.sghmc(1e-5), potential, params, sampling, fold=LAST).folded
    for name, W in jax.jit(chain)(jax.random.key(0)).items():
        np.testing.assert_array_equal(np.asarray(W[0] != params[name]), mask[name])


def test_small_models_are_at_a_minimum_of_loss_zero():
    rows = [*small.models().values()]
    data = {name: np.array([row[name] for row in rows])[:, None] for name in ("kind", "h", "k", "s", "live")}
    loss = jax.jit(jax.vmap(small.loss, in_axes=(None, 0)))
    np.testing.assert_array_equal(loss(jnp.zeros(SIZE), data), 0)
    w = np.arange(1.0, 13) / 10
    y = w[2:4, None] * np.tanh(w[:2, None] * INPUTS[None])
    product = w[:6].reshape(3, 2) @ w[6:].reshape(2, 3)
    monomials = [(0.1 * 0.2) ** 2, 0.1**2 * 0.2**4, (0.1 * 0.2 * 0.3) ** 2]
    others = [np.sum(product**2) / 2, np.mean(y[0] ** 2) / 2, np.mean(y.sum(0) ** 2) / 2]
    expected = [np.sum(np.geomspace(0.03, 3, 10) * w[:10] ** 2) / 2, *monomials, *others]
    np.testing.assert_allclose(loss(jnp.asarray(w), data)[:, 0], expected, rtol=1e-5)


def test_networks_without_a_known_coefficient_are_counted_nowhere_and_singular_ones_apart():
    variables = {"local": [5.0, np.nan, 0.0, 3.0], "hessian_rank": [10, 2, 0, 5]}
    results = xr.Dataset({name: ("network", numbers) for name, numbers in variables.items()})
    np.testing.assert_array_equal(known(results), [True, False, False, True])
    np.testing.assert_array_equal(singular(results), [False, False, False, True])
    value = np.array([5.5, 1.0, 0.0, 2.7])
    np.testing.assert_allclose(errors(value, results, known(results)), [0.1, 0.1])
