"""A fast counter-based generator for sweeps that wait for random numbers: `jax.random.key(0, impl=lowbias32)`.

Word i of the key (k0, k1) is P(h ^ k1) ^ h with h = P(i ^ k0): two rounds of a key-alternating cipher (Even and
Mansour 1997) on the counter, P being the 32-bit permutation `lowbias32` (Wellons 2018, "Prospecting for hash
functions"). The feed-forward of h (Davies-Meyer) makes collisions as frequent as in random words. Every word is
elementwise in its counter, so XLA fuses it into its use.

It is not cryptographic, and a key yields at most 2^32 words. threefry2x32 remains the default.
"""

import math
import operator
import zlib
from collections.abc import Hashable
from typing import SupportsIndex

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.random import define_prng_impl
from jaxtyping import Array, Int, Key, Shaped, UInt, UInt32

U = np.uint32
MAX_WORDS = 2**32  # the counter has 32 bits
# Domains, round constant and key of seeds: the digits of pi, which hide nothing.
FOLD_IN, SPLIT = U(0x243F6A88), U(0x85A308D3)
ROUND = U(0x13198A2E)
SEED_KEY = (U(0x03707344), U(0xA4093822))


def permute(x: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """The permutation P of 32-bit words, `lowbias32` of Wellons 2018."""
    x = (x ^ (x >> U(16))) * U(0x7FEB352D)
    x = (x ^ (x >> U(15))) * U(0x846CA68B)
    return x ^ (x >> U(16))


def words(key: UInt32[Array, "2"], counter: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """The words at `counter`: P(h ^ k1) ^ h, h = P(counter ^ k0)."""
    h = permute(counter ^ key[0])
    return permute(h ^ key[1]) ^ h


def child(
    key: tuple | UInt32[Array, "2"], domain: Array | np.uint32, index: UInt32[Array, "*shape"]
) -> UInt32[Array, "*shape 2"]:
    """A new key: four Feistel rounds of (domain, index) under `key`, a permutation of them; Luby and Rackoff 1988."""
    left = domain ^ permute(index ^ key[0])
    right = index ^ permute(left ^ key[1])
    left ^= permute(right ^ key[0] ^ ROUND)
    right ^= permute(left ^ key[1] ^ ROUND)
    return jnp.stack([left, right], axis=-1)


def counters(shape: tuple[int, ...], each: int = 1) -> UInt32[Array, "..."]:
    """The first counter of every element in row-major order, `each` words an element: a sum of iotas, which fuses."""
    total = each * math.prod(shape)
    if total > MAX_WORDS:
        raise ValueError(f"got shape {shape}, {total} words: a key of lowbias32 has {MAX_WORDS}; split the key")
    counter, stride = jnp.zeros(shape, jnp.uint32), each
    for axis in reversed(range(len(shape))):
        counter += jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * U(stride % MAX_WORDS)
        stride *= shape[axis]
    return counter


def seed(value: Shaped[Array, ""]) -> UInt32[Array, "2"]:
    """The key of a seed: its high and low words enciphered."""
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise TypeError(f"got a seed of dtype {value.dtype}: an integer is needed")
    high = (value >> 32).astype(jnp.uint32) if value.dtype.itemsize == 8 else jnp.zeros((), jnp.uint32)
    return child(SEED_KEY, high, value.astype(jnp.uint32))


def split(key: UInt32[Array, "2"], shape: tuple[SupportsIndex, ...]) -> UInt32[Array, "... 2"]:
    """Keys of the given shape: the children of `key` in the domain SPLIT."""
    return child(key, SPLIT, counters(tuple(map(operator.index, shape))))  # JAX passes on NumPy integers


def fold_in(key: UInt32[Array, "2"], data: int | UInt32[Array, ""]) -> UInt32[Array, "2"]:
    """The key of `data`: the child of `key` in the domain FOLD_IN."""
    return child(key, FOLD_IN, jnp.asarray(data, jnp.uint32))


def random_bits(key: UInt32[Array, "2"], width: int, shape: tuple[int, ...]) -> UInt[Array, "..."]:
    """Unsigned integers of `width` bits: the low bits of one word, or two successive words for 64."""
    if width != 64:
        return words(key, counters(shape)).astype(f"uint{width}")
    low = counters(shape, each=2)
    high = low + U(1)
    return (words(key, high).astype(jnp.uint64) << 32) | words(key, low).astype(jnp.uint64)


lowbias32: Hashable = define_prng_impl(
    key_shape=(2,), seed=seed, split=split, random_bits=random_bits, fold_in=fold_in, name="lowbias32", tag="lb32"
)


def implementation(name: str) -> Hashable:
    """What to pass as `impl=` to `jax.random.key`: the object for "lowbias32", or a name that JAX knows."""
    if name == "lowbias32":
        return lowbias32
    try:
        jax.eval_shape(lambda: jax.random.key(0, impl=name))
    except ValueError as error:
        raise ValueError(f'got name={name!r}: write "lowbias32" or a name that JAX knows ({error})') from error
    return name


def key(
    seed: int | Int[Array | np.ndarray, ""] | np.integer, purpose: int | str, impl: Hashable | None = None
) -> Key[Array, ""]:
    """The key of one purpose of a seed: fold_in(jax.random.key(seed, impl=impl), purpose), a name being its CRC-32.

    Seeds may be traced. `impl` is a name or an object, as for `implementation`; None is JAX's default.
    """
    number = zlib.crc32(purpose.encode()) if isinstance(purpose, str) else purpose
    for name, value in (("seed", seed), ("purpose", number)):
        if not isinstance(value, Tracer) and not 0 <= operator.index(value) < 2**32:
            raise ValueError(f"got {name}={value}: write 0 to {2**32 - 1}, for a key holds no more of it than 32 bits")
    impl = implementation(impl) if isinstance(impl, str) else impl
    return jax.random.fold_in(jax.random.key(seed, impl=impl), np.uint32(number))
