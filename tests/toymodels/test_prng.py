"""The generator lowbias32: its words are those of the formula, its keys never meet, and `jax.random` works with it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from toymodels import prng
from toymodels.prng import implementation, lowbias32

R, MASK = jax.random, 2**32 - 1


# The formulas again, in Python integers.


def P(x: int) -> int:
    x = (x ^ x >> 16) * 0x7FEB352D & MASK
    x = (x ^ x >> 15) * 0x846CA68B & MASK
    return x ^ x >> 16


def inverse(x: int) -> int:
    """The published inverse, with the inverse multipliers."""
    x = (x ^ x >> 16) * 0x43021123 & MASK
    x = (x ^ x >> 15 ^ x >> 30) * 0x1D69E2A5 & MASK
    return x ^ x >> 16


def word(key, counter: int) -> int:
    h = P(counter ^ int(key[0]))
    return P(h ^ int(key[1])) ^ h


def decipher(key, left: int, right: int) -> tuple[int, int]:
    """The (domain, index) of a child of `key`: the four rounds undone."""
    k0, k1, c = int(key[0]), int(key[1]), 0x13198A2E
    right ^= P(left ^ k1 ^ c)
    left ^= P(right ^ k0 ^ c)
    right ^= P(left ^ k1)
    return left ^ P(right ^ k0), right


def key(seed: int = 0, name: str = "lowbias32"):
    return jax.random.key(seed, impl=implementation(name))


def data(keys) -> np.ndarray:
    return np.asarray(jax.random.key_data(keys))


def test_permutation_has_the_published_inverse_and_known_values():
    x = np.concatenate([np.arange(1000), 2**32 - 1 - np.arange(1000), 2 ** np.arange(32)]).astype(np.uint32)
    y = np.asarray(prng.permute(jnp.asarray(x)))
    assert [inverse(int(b)) for b in y] == [int(a) for a in x]
    np.testing.assert_array_equal(y, np.array([P(int(a)) for a in x], np.uint32))
    assert [int(prng.permute(jnp.uint32(x))) for x in (0, 1, 2, 0xDEADBEEF)] == [0, 0x688990C0, 0xD1132181, 0xE628C683]


@pytest.mark.parametrize("width", [8, 16, 32])
@pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 1, 5), (2, 0, 3)])
def test_bits_are_those_of_the_formula(width, shape):
    k = key(5)
    bits = np.asarray(jax.random.bits(k, shape, f"uint{width}"))
    expected = [word(data(k), i) % 2**width for i in range(int(np.prod(shape)))]
    assert bits.dtype == f"uint{width}"
    np.testing.assert_array_equal(bits, np.array(expected, bits.dtype).reshape(shape))


def test_64_bit_words_and_seeds():
    with jax.enable_x64(True):
        k = key(2**40 + 3)
        assert decipher((0x03707344, 0xA4093822), *map(int, data(k))) == (2**8, 3)
        expected = [word(data(k), 2 * i + 1) << 32 | word(data(k), 2 * i) for i in range(6)]
        bits = jax.random.bits(k, (2, 3), "uint64")
        assert bits.dtype == jnp.uint64
        np.testing.assert_array_equal(bits, np.array(expected, np.uint64).reshape(2, 3))
        assert decipher((0x03707344, 0xA4093822), *map(int, data(key(-1)))) == (MASK, MASK)
        wide, uniform = data(key(2**31 - 1)), jax.random.uniform(key(1), (10**4,), "float64")
    np.testing.assert_array_equal(wide, data(key(2**31 - 1)))
    assert scipy.stats.kstest(uniform, "uniform").pvalue > 1e-3


def test_seeds_of_any_integer_type_traced_or_not():
    seeds = [3, np.int64(3), np.uint32(3), jnp.int32(3), jnp.uint8(3)]
    expected = data(jax.jit(lambda seed: key(seed))(3))
    for seed in seeds:
        np.testing.assert_array_equal(data(key(seed)), expected)
    assert decipher((0x03707344, 0xA4093822), *map(int, data(key(-1)))) == (0, MASK)
    with pytest.raises(TypeError, match="integer is needed"):
        key(1.5)


def test_more_words_than_the_counter_has_are_refused():
    lower = lambda shape, dtype="uint32": jax.jit(lambda k: jax.random.bits(k, shape, dtype)).lower(key())
    lower((2**16, 2**16))
    for shape in [(2**16, 2**16 + 1), (2**33,)]:
        with pytest.raises(ValueError, match=r"4294967296.*split the key"):
            lower(shape)
    with jax.enable_x64(True):
        lower((2**31,), "uint64")
        with pytest.raises(ValueError, match="4294967298 words"):
            lower((2**31 + 1,), "uint64")


def test_implementation():
    for name in ["threefry2x32", "philox2x32", "rbg"]:
        jax.random.key(0, impl=implementation(name))
    assert implementation("lowbias32") is lowbias32
    with pytest.raises(ValueError, match=r"'lowbias23'.*lowbias32.*threefry2x32") as error:
        implementation("lowbias23")
    assert "philox2x32" in str(error.value)


# Keys.


def test_children_of_a_key_are_a_permutation_of_domain_and_index():
    k = data(key(7))
    split, folded = data(R.split(key(7), 500)), data(jax.vmap(lambda t: R.fold_in(key(7), t))(jnp.arange(500)))
    assert [decipher(k, *map(int, c)) for c in split] == [(0x85A308D3, i) for i in range(500)]
    assert [decipher(k, *map(int, c)) for c in folded] == [(0x243F6A88, i) for i in range(500)]
    assert decipher(k, *map(int, data(R.fold_in(key(7), MASK)))) == (0x243F6A88, MASK)
