"""A grid of estimates against single ones and against exact values; and the plateau of grids whose law is known."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.chains import Chains
from slt.diagnostics import verdict
from slt.estimate import Seen, estimate_llc, summary
from slt.grid import llc_grid, plateau
from slt.samplers.langevin import sgld
from slt.theory import regular_finite

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
NO_DATA = jnp.zeros((1,))
CURVATURES = np.array([0.5, 1.0, 2.0])
STEPS, NBETAS, GAMMAS = np.array([0.005, 0.01]), np.array([50.0, 100.0]), np.array([1.0, 30.0, 100.0])
AXES: Any = dict(step_sizes=STEPS, nbetas=NBETAS, gammas=GAMMAS)
SHORT: Any = dict(chains=2, warmup=3, draws=8)


def quadratic(w, data):
    return jnp.sum(jnp.asarray(CURVATURES, jnp.float32) * w**2) / 2


def linear(w, x):
    return (w[0] + 2 * w[1] - x) ** 2 / 2


def cell(key, loss=quadratic, d=3, data=NO_DATA, **options):
    """The estimate of one cell; all have the same key, on purpose."""
    return lambda step_size, nbeta, gamma: estimate_llc(
        jax.random.clone(key), loss, jnp.zeros(d), data, sgld(step_size), nbeta=nbeta, gamma=gamma, **options
    )


@functools.cache
def over_the_grid():
    options: dict[str, Any] = dict(chains=40, warmup=100, draws=300)
    return quick(lambda key: llc_grid(cell(key, **options), **AXES, block=6))(jax.random.key(0))


def test_every_cell_of_a_regular_model_has_the_exact_value_of_its_setting():
    llc = over_the_grid()
    assert llc.value.shape == (2, 2, 3)
    for at in np.ndindex(2, 2, 3):
        eps, nbeta, gamma = STEPS[at[0]], NBETAS[at[1]], GAMMAS[at[2]]
        exact = regular_finite(CURVATURES, nbeta=float(nbeta), gamma=float(gamma), step_size=float(eps))
        assert abs(llc.value[at] - exact) < 4 * llc.stderr[at]
        assert llc.stderr[at] < 0.06 * exact


def test_a_cell_is_the_estimate_alone_with_the_same_key():
    x = jax.random.normal(jax.random.key(3), (10,))
    options: dict[str, Any] = SHORT | dict(batch_size=4, chance=2.0, mask=jnp.array([True, False]))

    def both(key):
        one = cell(key, linear, 2, x, **options)
        return llc_grid(one, **AXES), one(STEPS[0], NBETAS[1], GAMMAS[2])

    grid, alone = quick(both)(jax.random.key(0))
    chex.assert_trees_all_close(jax.tree.map(lambda leaf: leaf[0, 1, 2], grid), alone, rtol=1e-3, atol=1e-4)


def test_an_empty_axis_is_refused_with_what_to_write():
    with pytest.raises(ValueError, match=r"got gammas=0: .* gammas >= 1"):
        llc_grid(cell(jax.random.key(0)), **AXES | dict(gammas=np.zeros(0)))


def exactly(values, draws=1000):
    """Estimates from independent draws whose means are `values`: four chains of lambda times a gamma variable."""
    values = np.asarray(values, float)
    draw = np.random.default_rng(0).gamma(2, 1 / 2, size=(*values.shape, 4, draws)) * values[..., None, None]
    known: dict[str, Any] = dict(nbeta=1.0, loss_at_centre=jnp.zeros(()), exact=True, rejects=True)
    known["free"] = {"w": jnp.float32(4)}
    seen = lambda trace: Seen(jnp.full((*trace.shape, 1), 4.0), jnp.zeros_like(trace), jnp.zeros_like(trace))
    one = lambda trace: summary(Chains(trace, jnp.ones(4), (), seen(trace)), **known)
    each = quick(jax.vmap(one))(jnp.asarray(draw.reshape(-1, 4, draws), jnp.float32))
    return jax.tree.map(lambda leaf: np.array(leaf).reshape(*values.shape, *leaf.shape[1:]), each)


HALVED = 1.5 * np.outer(np.ones(4), 1 / (1 + np.array([0.01, 0.03, 0.1, 1.0, 3.0])))[:, None] * np.ones((1, 2, 1))


def test_the_plateau_is_where_nothing_matters():
    """lambda = 1.5/(1 + g): within a tenth of each other for g = .01 to .1, and halved at 1."""
    found = plateau(exactly(HALVED))
    assert found.member.shape == (4, 2, 5)
    np.testing.assert_array_equal(found.member.all(axis=(0, 1)), [True, True, True, False, False])
    assert found.member.sum() == 24
    assert found.value == pytest.approx(1.5 / 1.03, rel=0.03)
    assert found.low <= found.value <= found.high < 1.6
    assert found.stderr == pytest.approx(1.5 / np.sqrt(2 * 4000), rel=0.15)


def test_a_grid_that_depends_on_an_axis_everywhere_has_no_plateau():
    found = plateau(exactly(HALVED * np.array([1.0, 2.0])[None, :, None]))
    assert np.isnan(found.value)
    assert not found.member.any()
    assert plateau(exactly(HALVED[:, :1])).member.sum() == 12  # at one nbeta there is nothing to depend on


def test_a_cell_in_which_the_verdict_finds_something_is_in_no_block():
    llc = exactly(HALVED)
    llc.trace[1, 0, 1, 0, 5] = np.nan
    llc.trace[:, :, 2] = 7.0  # never moves
    assert verdict(jax.tree.map(lambda leaf: leaf[0, 0, 2], llc))
    expected = np.zeros(HALVED.shape, bool)
    expected[2:, :, :2] = True
    np.testing.assert_array_equal(plateau(llc).member, expected)


def test_a_slope_is_a_plateau_as_far_as_its_ends_are_near_the_middle():
    """Steps of 4 % along the last axis: six of them are 1.04^2.5, or 10 %, off their median."""
    found = plateau(exactly(np.ones((2, 2, 1)) * 1.04 ** np.arange(12), draws=20_000))
    assert 4 <= found.member.any(axis=(0, 1)).sum() <= 6
    assert found.high < 1.25 * found.low


def test_a_ridge_on_which_two_errors_cancel_is_none():
    """Neighbours that agree hang together along a diagonal only."""
    i, j = np.indices((6, 6))
    values = np.where(np.isin(i - j, [0, 1]), 1.0, 1.5 ** (i - j))
    assert np.isnan(plateau(exactly(values[:, None, :])).value)


def test_of_two_blocks_of_one_size_it_is_the_one_at_larger_step_sizes():
    values = np.concatenate([np.full((2, 1, 3), 1.0), np.full((2, 1, 3), 1.5)])
    found = plateau(exactly(values))
    assert found.value == pytest.approx(1.5, rel=0.05)
    np.testing.assert_array_equal(found.member.all(axis=(1, 2)), [False, False, True, True])
