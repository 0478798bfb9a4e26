"""Refined coefficients: the blocks, what a block moves, and exact values of blocks and other data."""

import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.chains import Fold, Sampling, run_chains
from slt.estimate import estimate_llc
from slt.refined import additivity, blocks, per_block
from slt.samplers.base import localised
from slt.samplers.langevin import mala, sgld
from slt.samplers.underdamped import ghmc
from slt.theory import regular_finite

quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
REPLICAS = 100
NO_DATA = jnp.zeros((1,))
TREE = {"layer": {"W": jnp.ones((2, 3)), "b": jnp.zeros(2)}, "heads": [jnp.ones(4), jnp.ones(4)]}
H = np.array([[2.0, 0.9, -0.5], [0.9, 1.0, 0.4], [-0.5, 0.4, 3.0]])
CENTRE = {"u": jnp.array([0.3, -0.2]), "v": jnp.array([1.0])}
MASKS = {"u": {"u": True, "v": False}, "part": {"u": jnp.array([True, False]), "v": True}, "all": True}
FREE = {"u": [0, 1], "part": [0, 2], "all": [0, 1, 2]}


def quadratic(params, data):
    """The Hessian is H times the mean of the data, the minimum at CENTRE."""
    w = jnp.concatenate([params["u"], params["v"]]) - jnp.concatenate([CENTRE["u"], CENTRE["v"]])
    return data * (w @ jnp.asarray(H, jnp.float32) @ w) / 2


def refined(key, loss=quadratic, params=CENTRE, data=None, masks=MASKS, **options):
    settings: dict[str, Any] = dict(nbeta=50.0, gamma=20.0, chains=4, warmup=50, draws=300) | options
    data = jnp.ones(2) if data is None else data
    estimate = lambda mask: estimate_llc(key, loss, params, data, mala(0.015), mask=mask, **settings)
    return per_block(estimate, params, masks)


def replicas(**options):
    run = jax.vmap(lambda key: refined(key, **options))
    return quick(run)(jax.random.split(jax.random.key(0), REPLICAS))


def assert_calibrated(llc, exact, relative):
    deviation, claimed = np.asarray(llc.plain, float) - exact, np.sqrt(np.mean(np.square(llc.plain_stderr)))
    assert claimed < relative * exact
    assert abs(deviation.mean()) < 4 * claimed / np.sqrt(REPLICAS)
    assert 0.75 < deviation.std() / claimed < 1.3  # four standard errors of a standard deviation


def test_blocks_are_named_by_their_path_and_cover_every_leaf_once():
    masks = blocks(TREE)
    assert list(masks) == ["heads.0", "heads.1", "layer.W", "layer.b"]
    assert masks["layer.b"] == {"layer": {"W": False, "b": True}, "heads": [False, False]}
    assert jax.tree.map(lambda *free: sum(free), *masks.values()) == jax.tree.map(lambda leaf: 1, TREE)


def test_bad_blocks_are_refused_with_what_to_write():
    with pytest.raises(ValueError, match=r"same name, \['a.b', 'a.b'\]: write keys without dots"):
        blocks({"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}})
    with pytest.raises(ValueError, match=r"got depth=0: .* depth >= 1"):
        blocks(TREE, depth=0)
    with pytest.raises(ValueError, match=r"got no masks: write masks=blocks\(params\)"):
        per_block(lambda mask: jnp.zeros(()), TREE, {})


def test_what_is_outside_a_block_keeps_its_bits_and_all_of_it_moves():
    def last_positions(mask):
        loss = lambda params, data: sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))
        potential = localised(loss, NO_DATA, TREE, nbeta=10.0, gamma=1.0, mask=mask)
        keep = Fold(lambda params: params, lambda carry, params: params)
        return run_chains(jax.random.key(0), sgld(0.01), potential, TREE, Sampling(2, 3, 4), fold=keep).folded

    masks = blocks(TREE)
    for name, ends in quick(lambda: per_block(last_positions, TREE, masks))().items():
        moved = jax.tree.map(lambda end, start: end != start[None], ends, TREE)
        expected = jax.tree.map(lambda free, end: jnp.full(end.shape, free), masks[name], ends)
        chex.assert_trees_all_equal(moved, expected)


def test_the_coefficients_of_blocks_are_those_of_their_blocks_of_the_hessian():
    """The others are held, not integrated out: H_CC, off-diagonal terms within it included."""
    for name, llc in replicas().items():
        exact = regular_finite(np.linalg.eigvalsh(H[np.ix_(FREE[name], FREE[name])]), nbeta=50.0, gamma=20.0)
        assert_calibrated(llc, exact, 0.06)


@pytest.mark.slow
def test_on_other_data_they_are_those_of_its_curvature():
    data = jnp.array([[0.2, 0.6], [2.0, 4.0]])  # two data sets, whose Hessians are 0.4 H and 3 H
    run = lambda key: jax.vmap(lambda data: refined(key, data=data, masks={"u": MASKS["u"]}))(data)
    llc = quick(jax.vmap(run))(jax.random.split(jax.random.key(0), REPLICAS))["u"]
    for i, scale in enumerate((0.4, 3.0)):
        exact = regular_finite(scale * np.linalg.eigvalsh(H[:2, :2]), nbeta=50.0, gamma=20.0)
        assert_calibrated(jax.tree.map(lambda leaf: leaf[:, i], llc), exact, 0.12)


@pytest.mark.parametrize(("loss", "apart"), [("sum", True), ("product", False)])
def test_coefficients_of_blocks_add_up_where_the_loss_is_a_sum_over_them(loss, apart):
    """a^4 + b^4: additive. (a b)^2: each block alone has the loss 0, and both together do not."""
    losses = {"sum": lambda w, data: w["a"] ** 4 + w["b"] ** 4, "product": lambda w, data: (w["a"] * w["b"]) ** 2}
    params = {"a": jnp.zeros(()), "b": jnp.zeros(())}
    settings: dict[str, Any] = dict(nbeta=100.0, gamma=1.0, chains=4, warmup=200, draws=2000)
    estimate = lambda key, mask: estimate_llc(key, losses[loss], params, jnp.ones(1), ghmc(0.01), mask=mask, **settings)
    found = quick(lambda key: additivity(key, estimate, params, blocks(params)))(jax.random.key(0))
    assert found.stderr < 0.05
    assert (abs(found.value) < 4 * found.stderr) == apart
