"""The scores of `language` on a model whose circuits are known, and its claims about curves that are made up."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import toymodels as tm
from experiments.language import measures
from experiments.language.report import bigram_minimum, boundaries, outside, rises, temperature

CONTEXT = 16
rng = np.random.default_rng(0)


class Known:
    """It predicts bigrams; heads of layer 0 attend to the previous token, and evenly; layer 1 has induction."""

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
    p = tm.bigrams(tokens, 7) + 1e-3
    p /= p.sum(axis=1, keepdims=True)
    corpus = measures.Corpus(tuple("abcdefg"), tokens, tokens, p)
    batch = tm.text_windows(tokens, CONTEXT).sample(jax.random.key(0), 40)
    program = jax.jit(measures.reading(Known(p), corpus, batch), compiler_options={"xla_backend_optimization_level": 0})
    found = program({"W_pos": jnp.zeros((CONTEXT, 2))})
    return corpus, batch, {name: np.asarray(value) for name, value in found.items()}


def test_the_scores_of_the_bigram_model_are_those_of_its_table(known):
    corpus, batch, found = known
    x, y = np.asarray(batch.x), np.asarray(batch.y)
    losses = -np.log(corpus.p[x, y])
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-5)
    assert found["unplaced"] == pytest.approx(losses.mean(), rel=1e-5)
    assert found["loss_error"] == pytest.approx(losses.mean(1).std() / np.sqrt(40), rel=1e-4)
    assert found["bigram"] == pytest.approx(float(measures.levels(corpus, batch).bigram_entropy), rel=1e-5)
    each = losses[:, 8:].mean(1) - losses[:, 2:4].mean(1)
    assert found["context"] == pytest.approx(each.mean(), abs=1e-6)


def test_heads_that_do_one_thing_score_one_in_it_and_even_ones_what_levels_says(known):
    corpus, batch, found = known
    even = jnp.tril(jnp.ones((CONTEXT, CONTEXT))) / jnp.arange(1, CONTEXT + 1)[:, None]
    levels = measures.levels(corpus, batch)
    assert found["previous"].shape == found["prefix"].shape == (2, 2)
    assert found["previous"][0] == pytest.approx([1.0, float(levels.even_previous)], rel=1e-5)
    assert found["prefix"][1, 0] == pytest.approx(1.0, rel=1e-5)
    assert float(tm.previous_token_score(even)) == pytest.approx(float(levels.even_previous), rel=1e-5)


def made_up():
    """Two runs of twelve checkpoints: the localised curve has a step, the hotter one two checkpoints later."""
    time = 12
    curves = np.array([[np.where(np.arange(time) < at, -50.0, 30.0)] * 2 for at in (5, 5, 7)])
    loss = np.stack([np.linspace(4.0, 2.0, time)] * 2)
    dims, runs = ("setting", "seed", "step"), ("seed", "step")
    variables = {
        "value": (dims, curves),
        "stderr": (dims, np.ones_like(curves)),
        "mean_loss": (dims, np.full_like(curves, 5.0)),
        "loss": (runs, loss),
        "loss_error": (runs, np.full((2, time), 0.01)),
        "bigram": (runs, np.stack([np.abs(np.arange(time) - 4) / 10 + 3.0] * 2)),
        "bigram_entropy": 2.9,
        "uniform_loss": 4.9,
    }
    names = ["loose", "localised", "localised, hotter"]
    return xr.Dataset(variables, {"setting": names, "step": 2 ** np.arange(time)})


def test_boundaries_that_move_with_nbeta_are_said_to_and_others_are_not():
    results = made_up()
    assert [[change.index for change in run] for run in boundaries(results, "localised, hotter")] == [[7], [7]]
    moved = temperature(results)
    assert (moved.value, moved.count, moved.holds) == (0, 4, False)
    results["value"][2] = results.value[1]
    assert temperature(results).holds is True


def test_ln_v_can_be_broken_and_a_rise_is_more_than_its_errors():
    good = made_up()
    assert outside(good).holds is True
    assert outside(good.assign(uniform_loss=5.9)).holds is False
    assert bigram_minimum(good).tolist() == [4, 4]
    assert [claim.holds for claim in rises(good)] == [False, True]  # it is flat to the minimum
    assert [claim.holds for claim in rises(good.assign(stderr=60 + good.stderr))] == [False, False]
