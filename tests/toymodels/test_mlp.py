"""Multilayer perceptrons against the formula in NumPy, and the deep linear network against its product."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from toymodels.models.mlp import MLP

WIDTHS = (3, 4, 5, 2)
RNG = np.random.default_rng(0)
X = RNG.normal(size=3).astype(np.float32)


def weights(bias):
    """Random ones, biases too: at the start they would be zero."""
    params = {}
    for l, (inputs, outputs) in enumerate(itertools.pairwise(WIDTHS), 1):
        params[f"W{l}"] = RNG.normal(size=(outputs, inputs)).astype(np.float32)
        if bias:
            params[f"b{l}"] = RNG.normal(size=outputs).astype(np.float32)
    return params


@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_formula_with_no_nonlinearity_after_the_last_layer(bias):
    params, x = weights(bias), X
    for l in (1, 2, 3):
        x = params[f"W{l}"] @ x + params.get(f"b{l}", 0)
        x = np.tanh(x) if l < 3 else x
    y = MLP(WIDTHS, activation=jnp.tanh, bias=bias).apply({"params": params}, jnp.asarray(X))
    np.testing.assert_allclose(y, x, rtol=1e-5)


def test_without_activation_and_bias_it_is_the_product_of_its_layers():
    params = weights(bias=False)
    y = MLP(WIDTHS, activation=None, bias=False).apply({"params": params}, jnp.asarray(X))
    np.testing.assert_allclose(y, params["W3"] @ params["W2"] @ params["W1"] @ X, rtol=1e-5)


def test_a_batch_is_refused_with_what_to_write():
    with pytest.raises(Exception, match=r"Actual value|vmap over a batch"):  # with annotations checked, a type error
        MLP(WIDTHS).init(jax.random.key(0), jnp.zeros((5, 3)))
    with pytest.raises(ValueError, match=r"reads one example of shape \(3,\), got \(4,\): vmap over a batch"):
        MLP(WIDTHS).init(jax.random.key(0), jnp.zeros(4))
