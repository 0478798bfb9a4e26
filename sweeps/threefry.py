"""JAX's random bits on a CPU, compiled as it compiles them elsewhere: the same bits, in a third of the time.

On a CPU alone JAX makes a loop of the rounds of threefry, over arrays of rotations. XLA does not know that a rotation
is by less than 32 and compiles all cases, for every array of random numbers: half of its time for some samplers.
"""

import jax
import numpy as np
from jax.extend.random import threefry2x32_p
from jax.interpreters import mlir
from jaxtyping import Array, UInt32

Words = UInt32[Array, "..."]
ROTATIONS = (13, 15, 26, 6), (17, 29, 16, 24)
PARITY = np.uint32(0x1BD11BDA)


def threefry(key_1: Words, key_2: Words, x: Words, y: Words) -> tuple[Words, Words]:
    """Threefry-2x32 of the counters (x, y) under a key, its 20 rounds written out; Salmon et al. 2011."""
    keys = key_1, key_2, key_1 ^ key_2 ^ PARITY
    x, y = x + keys[0], y + keys[1]
    for i in range(5):
        for distance in ROTATIONS[i % 2]:
            x = x + y
            y = x ^ rotated(y, distance)
        x = x + keys[(i + 1) % 3]
        y = y + keys[(i + 2) % 3] + np.uint32(i + 1)
    return x, y


def rotated(word: Words, distance: int) -> Words:
    """The bits of a word, rotated to the left."""
    left = jax.lax.shift_left(word, np.uint32(distance))
    return left | jax.lax.shift_right_logical(word, np.uint32(32 - distance))


def write_out_rounds() -> None:
    """Compile JAX's random bits so from here on."""
    mlir.register_lowering(
        threefry2x32_p, mlir.lower_fun(threefry, multiple_results=True), platform="cpu", inline=False
    )
