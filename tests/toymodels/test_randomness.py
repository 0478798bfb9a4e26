"""The generator lowbias32 is as random as threefry2x32: words in every order in which they are used.

The battery rejects a stream when the smallest of its p-values, times their number, is below ALPHA: at most 1e-4 false
alarms a stream. Seeds are fixed. Generators made bad on purpose are rejected by the same rule.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from toymodels.prng import implementation

R = jax.random
GENERATORS = ["threefry2x32", "lowbias32"]
ALPHA = 1e-4


def key(seed: int = 0, name: str = "lowbias32"):
    return jax.random.key(seed, impl=implementation(name))


def data(keys) -> np.ndarray:
    return np.asarray(jax.random.key_data(keys))


# The battery: each test takes words and gives p-values, two-sided, exact or asymptotically so.


def chi_squared(observed: np.ndarray, probabilities: np.ndarray | None = None):
    if not observed.sum():
        return 0.0  # a stream without any of what is counted
    expected = observed.sum() * (1 / len(observed) if probabilities is None else probabilities)
    statistic = np.sum((observed - expected) ** 2 / expected)
    return min(
        1,
        2 * min(scipy.stats.chi2.cdf(statistic, len(observed) - 1), scipy.stats.chi2.sf(statistic, len(observed) - 1)),
    )


def poisson(count: float, mean: float):
    return min(1, 2 * min(scipy.stats.poisson.cdf(count, mean), scipy.stats.poisson.sf(count - 1, mean)))


def ones(w: np.ndarray):
    """The number of ones at each of the 32 positions: chi-squared with 32 degrees of freedom."""
    counts = np.array([np.count_nonzero(w & np.uint32(1 << bit)) for bit in range(32)])
    statistic = np.sum((counts - len(w) / 2) ** 2) / (len(w) / 4)
    return min(1, 2 * min(scipy.stats.chi2.cdf(statistic, 32), scipy.stats.chi2.sf(statistic, 32)))


def pairs(w: np.ndarray, lag: int, shift: int):
    """Four bits of a word and four of the one `lag` later, in disjoint pairs."""
    blocks = (w[: len(w) // (2 * lag) * 2 * lag].reshape(-1, 2, lag) >> np.uint32(shift)) & np.uint32(15)
    return chi_squared(np.bincount((blocks[:, 0] * 16 + blocks[:, 1]).ravel(), minlength=256))


def collisions(w: np.ndarray):
    """Words that came before: about n^2 / 2^33 of them."""
    n, ordered = len(w), np.sort(w)
    return poisson(np.count_nonzero(ordered[1:] == ordered[:-1]), n - 2**32 * -np.expm1(n * np.log1p(-(2.0**-32))))


def birthday_spacings(w: np.ndarray, n: int = 2**12):
    """Equal spacings between n birthdays in a year of 2^32 days, Poisson with mean n^3 / 2^34 (Marsaglia 1985)."""
    spacings = np.sort(np.diff(np.sort(w.reshape(-1, n)), axis=1))
    return poisson(np.sum(spacings[:, 1:] == spacings[:, :-1]), len(spacings) * n**3 / 2**34)


def battery(w: np.ndarray) -> dict[str, float]:
    """The p-values of words in the order in which they come."""
    p = {"ones": ones(w), "collisions": collisions(w), "birthday spacings": birthday_spacings(w)}
    p |= {f"byte {i}": chi_squared(np.bincount(w.view(np.uint8)[i::4], minlength=256)) for i in range(4)}
    p |= {
        f"bits {i}-{i + 11}": chi_squared(np.bincount(w >> np.uint32(i) & np.uint32(4095), minlength=4096))
        for i in (0, 20)
    }
    p |= {f"pairs at {lag}, bit {s}": pairs(w, lag, s) for lag in (1, 2, 3, 6, 1024) for s in (0, 28)}
    p |= {f"ones of xor at {lag}": ones(w[lag:] ^ w[:-lag]) for lag in (1, 2, 3, 6, 1024, 2**17)}
    return p


def rejected(p: dict[str, float]) -> dict[str, float]:
    """The tests that a stream fails at the rate ALPHA for all of them together (Bonferroni)."""
    return {name: value for name, value in p.items() if not value * len(p) > ALPHA}


def first_words(keys, n: int):
    """The first n words of many keys: word 0 of all keys, then word 1 of all, ..."""
    return jax.vmap(lambda k: R.bits(k, (n // keys.size,)), out_axes=1)(keys.ravel()).ravel()


def words_of(keys):
    """The words of keys themselves: word 0 of all keys, then word 1 of all."""
    return R.key_data(keys).T.ravel()


def steps(k, n: int):
    return jax.vmap(lambda t: R.fold_in(k, t))(jnp.arange(n))


def seeds(name: str, n: int):
    return jax.vmap(lambda seed: key(seed, name))(jnp.arange(n))


def tree(k, n: int):
    """n keys, by splitting in 16 as often as it takes."""
    return k if k.size >= n else tree(jax.vmap(lambda k: R.split(k, 16))(k.ravel()).ravel(), n)


def grid(name: str, n: int):
    """Keys of step t of seed s, as a sweep draws from them: the step runs fastest."""
    return jax.vmap(lambda k: steps(k, n // 64))(seeds(name, 64))


# n words, for the generator `name`, in the orders in which they are used.
ORDERS = {
    "one key": lambda name, n: R.bits(key(11, name), (n,)),
    "steps": lambda name, n: first_words(steps(key(12, name), n // 4), n),
    "steps, one by one": lambda name, n: first_words(steps(key(13, name), n // 4), n).reshape(4, -1).T.ravel(),
    "split": lambda name, n: first_words(R.split(key(14, name), n // 4), n),
    "seeds": lambda name, n: first_words(seeds(name, n // 4), n),
    "tree of splits": lambda name, n: first_words(tree(key(15, name), 2**16), n),
    "seeds and steps": lambda name, n: first_words(grid(name, n), n),
    "two steps": lambda name, n: R.bits(R.fold_in(key(20, name), 0), (n,)) ^ R.bits(R.fold_in(key(20, name), 1), (n,)),
    "parent and child": lambda name, n: R.bits(key(21, name), (n,)) ^ R.bits(R.fold_in(key(21, name), 0), (n,)),
    "bits and split": lambda name, n: R.bits(key(18, name), (n,)) ^ R.key_data(R.split(key(18, name), n))[:, 0],
    "words of steps": lambda name, n: words_of(steps(key(16, name), n // 2)),
    "words of split": lambda name, n: words_of(R.split(key(17, name), n // 2)),
}
# Here threefry2x32 is not random: a seed is its own key, and the children of split are those of fold_in.
DOMAINS = {
    "words of seeds": lambda name, n: words_of(seeds(name, n // 2)),
    "split and fold_in": lambda name, n: (
        words_of(R.split(key(19, name), n // 2)) ^ words_of(steps(key(19, name), n // 2))
    ),
}


def stream(order: str, name: str, n: int) -> np.ndarray:
    return np.asarray(jax.jit(lambda: (ORDERS | DOMAINS)[order](name, n))())


@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("order", ["one key", "steps"])
def test_streams_are_random(order, name):
    p = battery(stream(order, name, 2**19))
    assert not rejected(p), p


@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATORS)
@pytest.mark.parametrize("order", ORDERS)
def test_long_streams_are_random(order, name):
    p = battery(stream(order, name, 2**22))
    assert not rejected(p), p


@pytest.mark.parametrize("order", DOMAINS)
def test_domains_are_separate(order):
    p = battery(stream(order, "lowbias32", 2**19))
    assert not rejected(p), p
    assert rejected(battery(stream(order, "threefry2x32", 2**19)))


# Bad generators, in NumPy.


def np_permute(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))


COUNTER = np.arange(2**19, dtype=np.uint32)
K0, K1 = np.uint32(0x9E3779B9), np.uint32(0x7F4A7C15)
H = np_permute(COUNTER ^ K0)
GOOD = np_permute(H ^ K1) ^ H
BAD = {
    "one round": (np_permute(COUNTER ^ K0 ^ K1), "collisions"),
    "keys that ignore the step": (np.tile(GOOD[:4], (2**17, 1)).T.ravel(), "collisions"),
    "biased by 2 % in one bit": (
        GOOD | np.where(np_permute(COUNTER) < 2**32 // 50, np.uint32(1), np.uint32(0)),
        "ones",
    ),
    "repeats a word every sixth": (np.where(COUNTER % 64 == 0, np.roll(GOOD, 6), GOOD), "pairs at 6, bit 0"),
}


@pytest.mark.parametrize("name", BAD)
def test_the_battery_rejects_bad_generators(name):
    w, test = BAD[name]
    assert test in rejected(battery(w.astype(np.uint32)))


def test_keys_are_distinct_across_seeds_splits_and_folds():
    n = 2**16
    fold = jax.jit(lambda k: steps(k, n))
    families = [
        data(jax.jit(lambda: seeds("lowbias32", n))()),
        data(R.split(key(0), n)),
        data(fold(key(0))),
        data(R.split(key(1), n)),
        data(fold(key(1))),
    ]
    families += [
        data(R.split(R.fold_in(key(0), 0), n)),
        data(fold(R.split(key(0))[0])),
        data(fold(R.fold_in(key(0), 0))),
    ]
    pairs = np.concatenate(families).astype(np.uint64)
    assert len(np.unique(pairs[:, 0] << np.uint64(32) | pairs[:, 1])) == len(families) * n
    # Nor are single words shared more often than by chance: a shared k1 with close k0 would make streams overlap.
    for column in pairs.T:
        assert collisions(column.astype(np.uint32)) > ALPHA
