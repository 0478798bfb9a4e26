"""The scores of `language` on a model whose circuits are known, and its report on curves that are made up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from experiments.language import measures, report
from toymodels.analysis.circuits import prefix_matching_score, previous_token_score
from toymodels.tasks import text as texts

CONTEXT = 16
rng = np.random.default_rng(0)


class Known:
    """It predicts bigrams; the heads of its first layer attend to the previous token, and evenly; the second has induction."""

    def __init__(self, p):
        self.p = jnp.asarray(p)

    def apply(self, variables, x, mutable=None):
        logits = jnp.log(self.p[x]) + variables["params"]["W_pos"][:, :1]
        if mutable is None:
            return logits
        t = len(x)
        causal = jnp.tril(jnp.ones((t, t)))
        even = causal / jnp.arange(1, t + 1)[:, None]
        before = jnp.concatenate([jnp.array([-1]), x[:-1]])
        match = (x[:, None] == before[None]) * causal
        induction = match / jnp.maximum(match.sum(1, keepdims=True), 1)
        layers = ([jnp.eye(t, k=-1), even], [induction, even])
        return logits, {"intermediates": {f"attention_{l}": {"pattern": (jnp.stack(A),)} for l, A in enumerate(layers)}}


@pytest.fixture(scope="module")
def known():
    """The corpus of a random text, windows of it, and what is measured of the known model."""
    tokens = rng.integers(0, 6, 4000).astype(np.int32) ** 2 % 7
    p = texts.bigrams(tokens, 7) + 1e-3
    p /= p.sum(axis=1, keepdims=True)
    corpus = measures.Corpus(tuple("abcdefg"), tokens, tokens, p, np.bincount(tokens, minlength=7) / len(tokens))
    batch = texts.text_windows(tokens, CONTEXT).sample(jax.random.key(0), 40)
    point = {"params": {"W_pos": jnp.zeros((CONTEXT, 2))}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "COMMON", 5)
        program = jax.jit(
            measures.measure(Known(p), corpus, batch), compiler_options={"xla_backend_optimization_level": 0}
        )
    found = program(point)
    return corpus, batch, {name: np.asarray(value) for name, value in found.items()}


def test_the_scores_of_the_bigram_model_are_those_of_its_table(known):
    corpus, batch, found = known
    x, y = np.asarray(batch.x), np.asarray(batch.y)
    losses = -np.log(corpus.p[x, y])
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert found["unplaced"] == pytest.approx(losses.mean(), rel=1e-5)
    assert found["loss_error"] == pytest.approx(losses.mean(1).std() / np.sqrt(40), rel=1e-4)
    assert found["bigram"] == pytest.approx(float(measures.levels(corpus, batch).bigram_entropy), rel=1e-5)
    np.testing.assert_allclose(found["loss_at"], losses.mean(0), rtol=1e-5)
    each = losses[:, 8:].mean(1) - losses[:, 2:4].mean(1)
    assert found["context"] == pytest.approx(each.mean(), abs=1e-6)
    assert found["context_error"] == pytest.approx(each.std() / np.sqrt(40), rel=1e-4)


def test_the_ngram_score_is_the_mean_loss_over_that_at_the_ends_of_common_ngrams(known):
    corpus, batch, found = known
    window = np.concatenate([batch.x, np.asarray(batch.y)[:, -1:]], axis=1)
    losses = -np.log(corpus.p[window[:, :-1], window[:, 1:]])
    for score, n in zip(found["ngram"], measures.NGRAMS, strict=True):
        grams = [tuple(corpus.train[i : i + n]) for i in range(len(corpus.train) - n + 1)]
        most = sorted(set(grams), key=lambda g: (-grams.count(g), g))[:5]
        ends = [losses[b, k - 1] for b in range(40) for k in range(n - 1, CONTEXT + 1) if tuple(window[b, k - n + 1 : k + 1]) in most]  # fmt: skip
        assert score == pytest.approx(losses.mean() / np.mean(ends), rel=1e-4), n


def test_heads_that_do_one_thing_score_one_in_it_and_even_ones_what_levels_says(known):
    corpus, batch, found = known
    even = jnp.tril(jnp.ones((CONTEXT, CONTEXT))) / jnp.arange(1, CONTEXT + 1)[:, None]
    levels = measures.levels(corpus, batch)
    assert found["previous"].shape == found["prefix"].shape == (2, 2)
    assert found["previous"][0] == pytest.approx([1.0, float(levels.even_previous)], rel=1e-5)
    assert found["prefix"][1, 0] == pytest.approx(1.0, rel=1e-5)
    assert float(previous_token_score(even)) == pytest.approx(float(levels.even_previous), rel=1e-5)
    twice = jnp.tile(jnp.arange(CONTEXT // 2), 2)
    assert float(prefix_matching_score(even, twice)) == pytest.approx(float(levels.even_prefix), rel=1e-5)


def made_up(findings="negative"):
    """Two runs of twelve checkpoints: the localised curve has a step, the hotter one two checkpoints later."""
    time, level = 12, lambda at: np.where(np.arange(12) < at, -50.0, 30.0)
    curves = np.stack([[level(a), level(a)] for a in (5, 5, 5, 7)])
    rise = np.linspace(4.0, 2.0, time)
    dims, runs = ("setting", "run", "time"), ("run", "time")
    text = np.where(curves < 0, findings, "")
    return xr.Dataset(
        {
            "value": (dims, curves), "stderr": (dims, np.ones_like(curves)), "findings": (dims, text),
            "mean_loss": (dims, np.full_like(curves, 5.0)), "nbeta": ("setting", [20.0, 7.0, 300.0, 100.0]),
            "loss": (runs, np.stack([rise, rise])), "loss_error": (runs, np.full((2, time), 0.01)),
            "bigram": (runs, np.stack([np.abs(np.arange(time) - 4) / 10 + 3.0] * 2)),
            "bigram_entropy": 2.9, "uniform_loss": 4.9,
        },
        {"setting": ["loose", "loose, hotter", "localised", "localised, hotter"], "step": ("time", 2 ** np.arange(time))},
    )  # fmt: skip


def test_boundaries_that_move_with_nbeta_are_said_to_and_others_are_not():
    results = made_up()
    assert [[c.index for c in run] for run in report.boundaries(results, "localised, hotter")] == [[7], [7]]
    same, moved = (report._nbeta(results, *pair) for pair in report.PAIRS.items())
    assert same.holds is True
    assert moved.holds is False
    assert "0 of 2, 0 of 2" in moved.measured
    assert "32 [32, 32]" in report._boundaries(results, "localised").measured


def test_negative_coefficients_are_kept_and_one_without_its_flag_is_seen():
    assert report._negative(made_up()).holds is True
    assert "least -50" in report._negative(made_up()).measured
    assert report._negative(made_up(findings="too few effective draws")).holds is False


def test_the_bound_of_the_bigram_score_and_ln_v_can_be_broken():
    good = made_up()
    assert [claim.holds for claim in report._bigrams(good)] == [True, True]
    assert report._bigrams(good.assign(bigram_entropy=3.1))[1].holds is False
    assert report._bigrams(good.assign(bigram=good.loss))[0].holds is False  # it falls until the end
    assert report._outside(good).holds is True
    assert report._outside(good.assign(uniform_loss=5.9)).holds is False
