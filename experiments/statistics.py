"""How well a number read early tells what a run does later: AUC, and what one number adds to others, with intervals."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

RESAMPLES, FOLDS, REPEATS = 500, 5, 10


class Interval(NamedTuple):
    """A number with its 95 % bootstrap interval; NaN where either outcome occurs in fewer than five runs."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "too few runs of one kind"
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


UNKNOWN = Interval(np.nan, np.nan, np.nan)


def auc(outcome: Bool[np.ndarray, " runs"], score: Float[np.ndarray, " runs"]) -> Interval:
    """Probability that a run with the outcome scores higher than one without it (area under the ROC curve)."""
    return _bootstrap(outcome, lambda pick: roc_auc_score(outcome[pick], score[pick]))


def added(
    outcome: Bool[np.ndarray, " runs"], known: Float[np.ndarray, "runs p"], extra: Float[np.ndarray, "runs q"]
) -> Interval:
    """AUC of a logistic regression on (known, extra) less that on known alone, both on held-out folds.

    The folds are drawn ten times and the held-out probabilities averaged; the bootstrap is over runs, paired.
    """
    if not _enough(outcome):
        return UNKNOWN
    without, with_extra = _held_out(outcome, known), _held_out(outcome, np.concatenate([known, extra], axis=1))
    gain = lambda pick: roc_auc_score(outcome[pick], with_extra[pick]) - roc_auc_score(outcome[pick], without[pick])
    return _bootstrap(outcome, gain)


def _held_out(outcome: np.ndarray, features: np.ndarray) -> np.ndarray:
    model = make_pipeline(StandardScaler(), LogisticRegression())
    folds = [StratifiedKFold(FOLDS, shuffle=True, random_state=repeat) for repeat in range(REPEATS)]
    held_out: Any = [cross_val_predict(model, features, outcome, cv=fold, method="predict_proba") for fold in folds]
    return np.mean(held_out, axis=0)[:, 1]


def _enough(outcome: np.ndarray) -> bool:
    return bool(min(np.sum(outcome), np.sum(~outcome)) >= FOLDS)


def _bootstrap(outcome: np.ndarray, statistic: Callable[[Any], float]) -> Interval:
    if not _enough(outcome):
        return UNKNOWN
    rng = np.random.default_rng(0)
    picks = [rng.integers(0, len(outcome), len(outcome)) for _ in range(RESAMPLES)]
    values = [statistic(pick) for pick in picks if 0 < outcome[pick].sum() < len(outcome)]
    return Interval(float(statistic(slice(None))), *(float(q) for q in np.quantile(values, [0.025, 0.975])))
