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
from toymodels.task import Batch, Task, objective

SIZES = dict(vocabulary=7, outputs=7, width=12, heads=3, layers=2, context=9)
TOKENS = jnp.array([3, 1, 4, 1, 5, 2, 6, 1, 3])


# compiling takes longer than running here
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def logits(model, params, tokens=TOKENS):
    return quick(model.apply)({"params": params}, tokens)


def made(**settings):
    """A model with weights away from where training begins, so that every part matters."""
    model = Transformer(**SIZES | settings)
    params = quick(model.init)(jax.random.key(0), TOKENS)["params"]
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    noise = [leaf + 0.3 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return model, jax.tree.unflatten(tree, noise)


def test_attention_is_flaxs_own():
    x = jax.random.normal(jax.random.key(0), (9, 12))
    ours = Attention(heads=3, head_width=5, causal=True)
    params = ours.init(jax.random.key(1), x)["params"]
    theirs = nn.MultiHeadDotProductAttention(num_heads=3, qkv_features=15, out_features=12, use_bias=False)
    names = {"W_Q": "query", "W_K": "key", "W_V": "value"}
    copied = {theirs: {"kernel": jnp.moveaxis(params[name], 0, 1)} for name, theirs in names.items()}
    copied["out"] = {"kernel": params["W_O"]}
    mask = nn.make_causal_mask(jnp.zeros((9,)))
    chex.assert_trees_all_close(
        ours.apply({"params": params}, x), theirs.apply({"params": copied}, x, mask=mask), atol=1e-5
    )


@pytest.mark.parametrize("positions", ["absolute", "shortformer", "relative", "none"])
def test_a_causal_model_does_not_see_what_comes_later_and_another_does(positions):
    later = TOKENS.at[6].set(0)
    for causal in (True, False):
        model, params = made(positions=positions, causal=causal)
        moved = jnp.abs(logits(model, params) - logits(model, params, later)).max(axis=1)
        assert np.all(moved[:6] < 1e-5) == causal
        assert np.all(moved[6:] > 1e-4)


def test_order_is_seen_with_positions_only():
    swapped = TOKENS.at[jnp.array([0, 2])].set(TOKENS[jnp.array([2, 0])])
    for positions in ("absolute", "shortformer", "relative"):
        model, params = made(positions=positions, causal=False)
        assert jnp.abs(logits(model, params) - logits(model, params, swapped))[-1].max() > 1e-3
    model, params = made(positions="none", causal=False)
    chex.assert_trees_all_close(logits(model, params)[-1], logits(model, params, swapped)[-1], atol=1e-4)


def test_relative_scores_are_queries_times_vectors_of_the_distance():
    x = jax.random.normal(jax.random.key(0), (6, 8))
    for causal in (True, False):
        attention = Attention(heads=2, head_width=4, causal=causal, reach=6)
        params = attention.init(jax.random.key(1), x)["params"]
        params = params | {"r": jax.random.normal(jax.random.key(2), params["r"].shape)}
        pattern = attention.apply({"params": params}, x, mutable=["intermediates"])[1]["intermediates"]["pattern"][0]
        q, k = (np.einsum("td,hdk->htk", x, params[name]) for name in ("W_Q", "W_K"))
        scores = np.full((2, 6, 6), -np.inf)
        for i in range(6):
            for j in range(i + 1 if causal else 6):
                r = params["r"][i - j + (0 if causal else 5)]
                scores[:, i, j] = [q[h, i] @ (k[h, j] + r) / 2 for h in range(2)]
        np.testing.assert_allclose(pattern, jax.nn.softmax(scores), atol=1e-5)


def test_shortformer_positions_are_not_in_the_stream():
    model, params = made(positions="shortformer", layers=1, norm=False)
    params = params | {"attention_0": params["attention_0"] | {"W_O": jnp.zeros_like(params["attention_0"]["W_O"])}}
    chex.assert_trees_all_close(logits(model, params), params["W_E"][TOKENS] @ params["W_U"], atol=1e-5)


def test_vectors_are_embedded_linearly_and_sizes_are_checked():
    model, params = made()
    chex.assert_trees_all_close(logits(model, params, jax.nn.one_hot(TOKENS, 7)), logits(model, params), atol=1e-5)
    with pytest.raises(ValueError, match="write context=10 or more"):
        logits(model, params, jnp.zeros(10, int))
    with pytest.raises(ValueError, match="a width that 5 divides"):
        Transformer(**SIZES | dict(heads=5))
    with pytest.raises(Exception, match="shortformer"):
        Transformer(**SIZES | dict(positions="rotary"))


def test_the_objective_has_a_loss_for_each_sequence():
    model, params = made(mlp=16)
    nll = lambda prediction, y: -jnp.mean(jnp.take_along_axis(nn.log_softmax(prediction), y[:, None], 1))
    tokens = jax.random.randint(jax.random.key(0), (4, 9), 0, 7)
    loss = objective(model, Task(lambda key, n: Batch(tokens, tokens), nll))(params, Batch(tokens, tokens))
    each = [nll(logits(model, params, row), row) for row in tokens]
    chex.assert_trees_all_close(loss, jnp.stack(each), rtol=1e-5)


@pytest.mark.parametrize(
    "settings", [dict(), dict(norm=False), dict(positions="relative"), dict(positions="shortformer")]
)
def test_the_paths_add_up_to_the_logits(settings):
    model, params = made(**settings)
    terms, constant = quick(lambda params: circuits.path_expansion(model, params, TOKENS))(params)
    assert len(terms) == (1 + 3) ** 2
    assert ((0, 1), (1, 2)) in terms
    expected = logits(model, params)
    chex.assert_trees_all_close(sum(terms.values()) + constant, expected, atol=1e-5 * float(jnp.abs(expected).max()))
    assert (jnp.abs(constant).max() > 1e-3) == settings.get("norm", True)
    virtual = sum(term for path, term in terms.items() if len(path) == 2)
    assert jnp.abs(virtual).max() > 1e-2


def test_paths_through_an_mlp_are_refused():
    model, params = made(mlp=4)
    with pytest.raises(ValueError, match="write mlp=0"):
        circuits.path_expansion(model, params, TOKENS)


def test_the_eigenvalues_of_the_small_circuit_are_those_of_the_one_of_the_vocabulary():
    _, params = made()
    V, O = circuits.ov(params, (1, 2))
    dense = np.linalg.eigvals(np.asarray(params["W_E"] @ V @ O @ params["W_U"], float))
    dense = dense[np.argsort(-np.abs(dense))][:4]
    found = np.asarray(circuits.circuit_eigenvalues(params, (1, 2)))
    np.testing.assert_allclose(np.sort(np.abs(found)), np.sort(np.abs(dense)), rtol=1e-3)
    np.testing.assert_allclose(found.sum(), dense.sum(), rtol=1e-3)


def test_a_head_that_copies_has_the_score_one_and_one_that_suppresses_minus_one():
    _, params = made()
    attention = params["attention_0"] | {"W_V": jnp.stack([jnp.eye(12)[:, :4]] * 3)}
    E = params["W_E"]
    for sign in (1.0, -1.0):
        copying = attention | {"W_O": sign * jnp.stack([jnp.eye(12)[:4]] * 3)}
        assert float(circuits.copying_score(params | {"attention_0": copying, "W_U": E.T}, (0, 0))) == pytest.approx(
            sign
        )


def test_composition_is_that_of_the_products_and_its_baseline_that_of_gaussian_matrices():
    _, params = made()
    V1, O1 = circuits.ov(params, (0, 1))
    Q, K = circuits.qk(params, (1, 0))
    V2, O2 = circuits.ov(params, (1, 0))
    norm = lambda M: float(jnp.linalg.norm(M))
    W1 = V1 @ O1
    for kind, W in {"Q": Q @ K, "K": (Q @ K).T, "V": V2 @ O2}.items():
        expected = norm(W1 @ W) / norm(W1) / norm(W)
        assert float(circuits.composition(params, (0, 1), (1, 0))[kind]) == pytest.approx(expected, rel=1e-4)
    mean, deviation = circuits.composition_baseline(jax.random.key(0), d=64, k=8)
    assert float(mean) == pytest.approx(1 / 8, rel=0.04)
    assert 0.001 < float(deviation) < 0.02


def test_scores_of_planted_patterns():
    t, tokens = 8, jnp.array([0, 1, 2, 3, 0, 1, 2, 3])
    previous = jnp.eye(t, k=-1).at[0, 0].set(1)
    induction = jnp.eye(t, k=-3)
    uniform = jnp.tril(jnp.ones((t, t))) / jnp.arange(1, t + 1)[:, None]
    both = jnp.stack([previous, induction])
    np.testing.assert_allclose(circuits.previous_token_score(both), [1, 0])
    np.testing.assert_allclose(circuits.prefix_matching_score(both, tokens), [0, 1])
    expected = np.mean([1 / i for i in range(5, 9)])
    assert float(circuits.prefix_matching_score(uniform, tokens)) == pytest.approx(expected, rel=1e-5)
    assert np.isnan(circuits.prefix_matching_score(uniform, jnp.arange(8)))


def test_an_ablated_head_leaves_the_paths_that_avoid_it():
    model, params = made(layers=1, norm=False)
    terms, _ = circuits.path_expansion(model, params, TOKENS)
    without = logits(model, circuits.ablate(params, [(0, 1)]))
    kept = sum(term for path, term in terms.items() if (0, 1) not in path)
    chex.assert_trees_all_close(without, kept, atol=1e-4)
