"""JAX's random bits on a CPU, compiled in a third of the time: the same loop of rounds, the same bits.

On a CPU the rounds of threefry are a loop over arrays of rotations. XLA does not know that a rotation is by less than
32 and compiles all cases, for every array of random numbers: half of its time for some samplers. Here it is told.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.random import threefry2x32_p
from jax.interpreters import mlir
from jaxtyping import Array, UInt32

Words = UInt32[Array, "..."]
ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
PARITY = np.uint32(0x1BD11BDA)


def threefry(key_1: Words, key_2: Words, x: Words, y: Words) -> tuple[Words, ...]:
    """Threefry-2x32 of the counters (x, y) under a key, with 20 rounds; Salmon et al. 2011."""

    def four_rounds(i: Any, state: Any) -> Any:
        (x, y), (now, after, last), (rotations, others) = state
        for distance in rotations:
            x = x + y
            y = x ^ rotated(y, distance)
        return (x + now, y + after + (i + 1).astype(np.uint32)), (after, last, now), (others, rotations)

    keys = key_2, key_1 ^ key_2 ^ PARITY, key_1
    rotations = tuple(jnp.array(four, np.uint32) for four in ROTATIONS)
    return jax.lax.fori_loop(0, 5, four_rounds, ((x + key_1, y + key_2), keys, rotations))[0]


def rotated(word: Words, distance: UInt32[Array, ""]) -> Words:
    """The bits of a word, rotated to the left."""
    left = jnp.broadcast_to(distance & np.uint32(31), word.shape)
    right = jnp.broadcast_to((np.uint32(32) - distance) & np.uint32(31), word.shape)
    return jax.lax.shift_left(word, left) | jax.lax.shift_right_logical(word, right)


def mask_rotations() -> None:
    """Compile JAX's random bits so from here on."""
    mlir.register_lowering(
        threefry2x32_p, mlir.lower_fun(threefry, multiple_results=True), platform="cpu", inline=False
    )
