"""Random bits as sweeps compile them: those of the published cipher, which are JAX's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry2x32_p

import sweeps  # noqa: F401
from sweeps.threefry import threefry

ONES = 0xFFFFFFFF
PI = 0x13198A2E, 0x03707344, 0x243F6A88, 0x85A308D3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((0, 0, 0, 0), (0x6B200159, 0x99BA4EFE)),
        ((ONES, ONES, ONES, ONES), (0x1CB996FC, 0xBB002BE7)),
        (PI, (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_it_is_the_published_cipher(words, expected):
    """kat_vectors of Random123 1.14, threefry2x32 with 20 rounds."""
    arrays = [jnp.full((3,), word, jnp.uint32) for word in words]
    for cipher in (threefry, threefry2x32_p.bind):
        found = jax.jit(cipher)(*arrays)
        assert [np.unique(word).tolist() for word in found] == [[word] for word in expected]


def test_random_numbers_are_drawn_with_it():
    draw = lambda key: jax.random.normal(jax.random.fold_in(key, 7), (5, 3))
    assert "dense<31> : tensor<ui32>" in jax.jit(draw).lower(jax.random.key(0)).as_text()
