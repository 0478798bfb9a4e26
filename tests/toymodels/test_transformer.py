"""The transformer against Flax's own attention, its masks and positions, and the circuits that are read off it."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from toymodels.analysis import circuits
from toymodels.models.transformer import Attention, Transformer

SIZES = dict(vocabulary=7, outputs=7, width=12, heads=3, layers=2, context=9)
TOKENS = jnp.array([3, 1, 4, 1, 5, 2, 6, 1, 3])


# compiling takes longer than running here
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def applied(model):
    return quick(jax.vmap(model.apply, in_axes=(None, 0)))


def logits(model, params, *tokens):
    """One program a model: everything asked of it goes in together. NumPy: slicing compiles nothing."""
    rows = np.asarray(applied(model)({"params": params}, jnp.stack(tokens or [TOKENS])))
    return rows if len(rows) > 1 else rows[0]


def weights(module, *args):
    """Weights away from where training begins, so that every part matters."""
    generator = np.random.default_rng(0)
    normal = lambda leaf: jnp.asarray(0.4 * generator.normal(size=leaf.shape), jnp.float32)
    return jax.tree.map(normal, jax.eval_shape(module.init, jax.random.key(0), *args)["params"])


@functools.cache
def paths(model):
    """The terms of `path_expansion` and its constant, in NumPy."""
    program = quick(lambda params: circuits.path_expansion(model, params, TOKENS))
    return lambda params: jax.tree.map(np.asarray, program(params))


@functools.cache
def made(**settings):
    model = Transformer(**SIZES | settings)
    return model, weights(model, TOKENS)


def test_attention_is_flaxs_own():
    x = jax.random.normal(jax.random.key(0), (9, 12))
    ours = Attention(heads=3, head_width=5, causal=True)
    params = weights(ours, x)
    theirs = nn.MultiHeadDotProductAttention(num_heads=3, qkv_features=15, out_features=12, use_bias=False)
    names = {"W_Q": "query", "W_K": "key", "W_V": "value"}
    copied = {theirs: {"kernel": jnp.moveaxis(params[name], 0, 1)} for name, theirs in names.items()}
    copied["out"] = {"kernel": params["W_O"]}
    mask = nn.make_causal_mask(jnp.zeros((9,)))
    both = lambda a, b: (ours.apply({"params": a}, x), theirs.apply({"params": b}, x, mask=mask))
    chex.assert_trees_all_close(*quick(both)(params, copied), atol=1e-5)


@pytest.mark.parametrize("positions", ["absolute", "shortformer", "relative", "none"])
def test_a_causal_model_does_not_see_what_comes_later_another_does_and_order_is_seen_with_positions_only(positions):
    later, swapped = TOKENS.at[6].set(0), TOKENS.at[jnp.array([0, 2])].set(TOKENS[jnp.array([2, 0])])
    for causal in (True, False):
        model, params = made(positions=positions, causal=causal, layers=1)
        plain, changed, other = logits(model, params, TOKENS, later, swapped)
        moved = np.abs(plain - changed).max(axis=1)
        assert np.all(moved[:6] < 1e-5) == causal
        assert np.all(moved[6:] > 1e-4)
        if not causal:  # the mask tells where one is
            assert (np.abs(plain - other)[-1].max() > 1e-3) == (positions != "none")
            assert positions != "none" or np.abs(plain - other)[-1].max() < 1e-4


def test_relative_scores_are_queries_times_vectors_of_the_distance():
    x = jax.random.normal(jax.random.key(0), (6, 8))
    for causal in (True, False):
        attention = Attention(heads=2, head_width=4, causal=causal, reach=6)
        params = weights(attention, x)
        apply = quick(functools.partial(attention.apply, mutable=["intermediates"]))
        pattern = apply({"params": params}, x)[1]["intermediates"]["pattern"][0]
        q, k = (np.einsum("td,hdk->htk", x, params[name]) for name in ("W_Q", "W_K"))
        table = np.asarray(params["r"])
        scores = np.full((2, 6, 6), -np.inf)
        for i in range(6):
            for j in range(i + 1 if causal else 6):
                r = table[i - j + (0 if causal else 5)]
                scores[:, i, j] = [q[h, i] @ (k[h, j] + r) / 2 for h in range(2)]
        expected = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
        np.testing.assert_allclose(pattern, expected, atol=1e-5)


def test_vectors_are_embedded_linearly_and_sizes_are_checked():
    model, params = made()
    vectors = jnp.asarray(np.eye(7, dtype=np.float32)[np.asarray(TOKENS)])
    chex.assert_trees_all_close(logits(model, params, vectors), logits(model, params), atol=1e-5)
    with pytest.raises(ValueError, match="write context=10 or more"):
        logits(model, params, jnp.zeros(10, int))
    with pytest.raises(ValueError, match="a width that 5 divides"):
        Transformer(**SIZES | dict(heads=5))
    with pytest.raises(Exception, match="shortformer"):
        Transformer(**SIZES | dict(positions="rotary"))


@pytest.mark.parametrize(
    "settings", [dict(), dict(norm=False), dict(positions="relative"), dict(positions="shortformer")]
)
def test_the_paths_add_up_to_the_logits(settings):
    model, params = made(heads=2, **settings)
    terms, constant = paths(model)(params)
    assert len(terms) == (1 + 2) ** 2
    assert ((0, 1), (1, 0)) in terms
    expected = logits(model, params)
    chex.assert_trees_all_close(sum(terms.values()) + constant, expected, atol=1e-5 * float(np.abs(expected).max()))
    assert (np.abs(constant).max() > 1e-3) == settings.get("norm", True)
    virtual = sum(term for path, term in terms.items() if len(path) == 2)
    assert np.abs(virtual).max() > 1e-2


def test_paths_through_an_mlp_are_refused():
    model, params = made(mlp=4)
    with pytest.raises(ValueError, match="write mlp=0"):
        circuits.path_expansion(model, params, TOKENS)


def test_the_eigenvalues_of_the_small_circuit_are_those_of_the_one_of_the_vocabulary():
    _, params = made()
    E, U, attention = params["W_E"], params["W_U"], params["attention_1"]
    E, V, O, U = (np.asarray(W, float) for W in (E, attention["W_V"][2], attention["W_O"][2], U))
    dense = np.linalg.eigvals(E @ V @ O @ U)
    dense = dense[np.argsort(-np.abs(dense))][:4]
    found = np.asarray(quick(lambda params: circuits.circuit_eigenvalues(params, (1, 2)))(params))
    np.testing.assert_allclose(np.sort(np.abs(found)), np.sort(np.abs(dense)), rtol=1e-3)
    np.testing.assert_allclose(found.sum(), dense.sum(), rtol=1e-3)


def test_a_head_that_copies_has_the_score_one_and_one_that_suppresses_minus_one():
    _, params = made()
    score = quick(lambda params: circuits.copying_score(params, (0, 0)))
    eye = np.eye(12, dtype=np.float32)
    for sign in (1.0, -1.0):
        copying = {"W_V": jnp.asarray([eye[:, :4]] * 3), "W_O": jnp.asarray([sign * eye[:4]] * 3)}
        changed = params | {
            "attention_0": params["attention_0"] | copying,
            "W_U": jnp.asarray(np.asarray(params["W_E"]).T),
        }
        assert float(score(changed)) == pytest.approx(sign)


def test_composition_is_that_of_the_products_and_its_baseline_that_of_gaussian_matrices():
    _, params = made()
    found = quick(lambda params: circuits.composition(params, (0, 1), (1, 0)))(params)
    first, second = (jax.tree.map(np.asarray, params[f"attention_{l}"]) for l in range(2))
    V1, O1, V2, O2 = first["W_V"][1], first["W_O"][1], second["W_V"][0], second["W_O"][0]
    Q, K = second["W_Q"][0], second["W_K"][0].T
    norm = np.linalg.norm
    W1 = V1 @ O1
    for kind, W in {"Q": Q @ K, "K": (Q @ K).T, "V": V2 @ O2}.items():
        expected = norm(W1 @ W) / norm(W1) / norm(W)
        assert float(found[kind]) == pytest.approx(expected, rel=1e-4)
    mean, deviation = quick(functools.partial(circuits.composition_baseline, d=64, k=8))(jax.random.key(0))
    assert float(mean) == pytest.approx(1 / 8, rel=0.04)
    assert 0.001 < float(deviation) < 0.02


def test_scores_of_planted_patterns():
    t, tokens = 8, np.array([0, 1, 2, 3, 0, 1, 2, 3])
    previous, induction = np.eye(t, k=-1), np.eye(t, k=-3)
    previous[0, 0] = 1
    uniform = np.tril(np.ones((t, t))) / np.arange(1, t + 1)[:, None]
    patterns = jnp.asarray(np.stack([previous, induction, uniform]), jnp.float32)
    matching = quick(circuits.prefix_matching_score)
    np.testing.assert_allclose(quick(circuits.previous_token_score)(patterns)[:2], [1, 0])
    expected = np.mean([1 / i for i in range(5, 9)])
    np.testing.assert_allclose(matching(patterns, jnp.asarray(tokens)), [0, 1, expected], rtol=1e-5)
    assert np.all(np.isnan(matching(patterns, jnp.asarray(np.arange(8)))))


def test_an_ablated_head_leaves_the_paths_that_avoid_it():
    model, params = made(heads=2, layers=1, norm=False)
    terms, _ = paths(model)(params)
    without = logits(model, circuits.ablate(params, [(0, 1)]))
    kept = sum(term for path, term in terms.items() if (0, 1) not in path)
    chex.assert_trees_all_close(without, kept, atol=1e-4)
