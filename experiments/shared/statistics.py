"""How well a number read early tells what a run does later: AUC, what one number adds to others, intervals."""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

RESAMPLES, FOLDS, REPEATS = 1000, 5, 10


class Interval(NamedTuple):
    """A number with its 95 % bootstrap interval; NaN where either outcome occurs in fewer than five runs."""

    value: float
    low: float
    high: float


UNKNOWN = Interval(np.nan, np.nan, np.nan)


def auc(outcome: Bool[np.ndarray, " runs"], score: Float[np.ndarray, " runs"]) -> Interval:
    """Probability that a run with the outcome scores higher than one without it (area under the ROC curve)."""
    if not _enough(outcome):
        return UNKNOWN
    return _interval(*(_auc(outcome, score, weight) for weight in _weights(len(outcome))))


def added(
    outcome: Bool[np.ndarray, " runs"], known: Float[np.ndarray, "runs p"], extra: Float[np.ndarray, "runs q"]
) -> Interval:
    """AUC of a logistic regression on (known, extra) less that on known alone, both on held-out folds.

    The folds are drawn ten times and the held-out probabilities averaged; the bootstrap is over runs, paired.
    """
    if not _enough(outcome):
        return UNKNOWN
    less, more = _held_out(outcome, known), _held_out(outcome, np.concatenate([known, extra], axis=1))
    gain = lambda weight: _auc(outcome, more, weight) - _auc(outcome, less, weight)
    return _interval(*(gain(weight) for weight in _weights(len(outcome))))


def _auc(outcome: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """P(score with the outcome > score without it), ties counting half, for each row of weights of the runs."""
    one, other = score[outcome], score[~outcome]
    above = np.greater.outer(one, other) + 0.5 * np.equal.outer(one, other)
    p, q = weight[:, outcome], weight[:, ~outcome]
    return np.sum((p @ above) * q, axis=1) / (p.sum(axis=1) * q.sum(axis=1))


def _held_out(outcome: np.ndarray, features: np.ndarray) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression  # here: it takes a second to import
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression())
    folds = [StratifiedKFold(FOLDS, shuffle=True, random_state=repeat) for repeat in range(REPEATS)]
    held_out: Any = [cross_val_predict(model, features, outcome, cv=fold, method="predict_proba") for fold in folds]
    return np.mean(held_out, axis=0)[:, 1]


def _enough(outcome: np.ndarray) -> bool:
    return bool(min(np.sum(outcome), np.sum(~outcome)) >= FOLDS)


def _weights(runs: int) -> tuple[np.ndarray, np.ndarray]:
    """Each run once; and how often each occurs in every bootstrap resample."""
    resamples = np.random.default_rng(0).multinomial(runs, np.full(runs, 1 / runs), size=RESAMPLES)
    return np.ones((1, runs)), resamples.astype(float)


def _interval(value: np.ndarray, resampled: np.ndarray) -> Interval:
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Interval(float(value[0]), float(low), float(high))
