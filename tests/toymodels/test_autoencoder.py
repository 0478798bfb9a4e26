"""The tied ReLU autoencoder."""

import chex
import jax.numpy as jnp
import numpy as np
import pytest

from toymodels.models.autoencoder import Autoencoder

MODEL = Autoencoder(4, 2)
W = jnp.float32(np.random.default_rng(3).normal(size=(2, 4)))
PARAMS = {"W": W, "b": jnp.array([0.3, -0.2, 0.1, -2.0])}
X = jnp.array([0.5, 0.0, 1.0, 0.2])


def test_it_computes_relu_of_W_transposed_W_x_plus_b():
    expected = jnp.maximum(W.T @ (W @ X) + PARAMS["b"], 0)
    assert 0 < np.sum(expected > 0) < 4  # both sides of the kink
    chex.assert_trees_all_close(MODEL.apply({"params": PARAMS}, X), expected, rtol=1e-5)


def test_its_hidden_vector_is_captured():
    _, state = MODEL.apply({"params": PARAMS}, X, mutable=["intermediates"])
    assert np.any(W @ X < 0)
    chex.assert_trees_all_close(state["intermediates"]["hidden"][0], W @ X, rtol=1e-5)


def test_an_input_of_the_wrong_size_says_what_to_write():
    with pytest.raises(ValueError, match=r"reads one example of shape \(4,\), got \(5,\): vmap over a batch"):
        MODEL.apply({"params": PARAMS}, jnp.ones(5))
