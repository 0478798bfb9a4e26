"""When a number announces that a run will grok: definitions, made before the results.

- *Memorised*: the first checkpoint with 99 % of the training questions answered.
- *The jump* of a run: where the log of the test loss has fallen halfway from its maximum to its last value. Only runs
  have one that answer 90 % of the test questions in the end.
- *The detector* of an announcer knows the past alone. From the memorised checkpoint on it follows the ratio of the
  number to its largest value so far (of the Gini coefficient, which rises: of its inverse). It sounds at the first
  checkpoint where this ratio is below a threshold for the second time in a row. Of lambda-hat the upper end of two
  standard errors counts, and a negative estimate, of a point that is no minimum, counts as none.
- *Thresholds*: fixed beforehand (`THRESHOLDS`); or calibrated, the largest at which the detector is silent on every
  control of a kind, so that an announcer with a lead tells a run that will grok from one that will not.
- *The lead* is the jump less the sounding, in steps; minus infinity where it never sounds.
"""

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

MEMORISED, GROKKED = 0.99, 0.9  # accuracies
ANNOUNCERS = {"train loss": "loss", "test loss": "test_loss", "weight norm": "norm", "Gini of W_E": "gini"}
"""Name -> variable of the results; lambda-hat is one more at each temperature."""
THRESHOLDS = {"test loss": 0.5, "weight norm": 0.9, "Gini of W_E": 0.67}  # fixed, of the ratio
FIXED = 0.1  # that of all others


def memorised(results: xr.Dataset) -> Int[np.ndarray, " run"]:
    """The first checkpoint of each run that answers the training questions; the number of checkpoints if none does."""
    there = results.train_accuracy.values >= MEMORISED
    return np.where(there.any(axis=1), there.argmax(axis=1), there.shape[1])


def jumps(results: xr.Dataset) -> Float[np.ndarray, " run"]:
    """The step at which the log of the test loss is halfway down from its maximum; NaN of a run that does not grok."""
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(results.test_loss.values)
    found = [_halfway(results.step.values, row) for row in logs]
    return np.where(results.test_accuracy.values[:, -1] >= GROKKED, found, np.nan)


def _halfway(step: np.ndarray, curve: np.ndarray) -> float:
    """Where a curve first falls halfway from its maximum to its end, linearly between two checkpoints."""
    level, since = (curve.max() + curve[-1]) / 2, curve.argmax() + 1
    below = np.flatnonzero(curve[since:] <= level)
    if len(below) == 0:
        return np.nan
    i = since + below[0]
    return float(np.interp(-level, [-curve[i - 1], -curve[i]], [step[i - 1], step[i]]))


def ratios(results: xr.Dataset) -> dict[str, Float[np.ndarray, "run step"]]:
    """Of every announcer the ratio that its detector follows: 1 at its extreme so far; NaN before memorisation."""
    since, found = memorised(results), {}
    for setting in results.setting.values:
        here = results.sel(setting=setting)
        upper = np.where(here.value.values < 0, np.nan, here.value.values + 2 * here.stderr.values)
        found[f"lambda-hat, {setting}"] = ratio(upper, since)
    for name, variable in ANNOUNCERS.items():
        values = results[variable].values
        found[name] = ratio(1 / values if variable == "gini" else values, since)  # it rises, the others fall
    return found


def ratio(curve: Float[np.ndarray, "run step"], since: Int[np.ndarray, " run"]) -> Float[np.ndarray, "run step"]:
    """The curve over its largest value so far, from the checkpoint `since` on."""
    started = np.arange(curve.shape[1])[None] >= since[:, None]
    curve = np.where(started & np.isfinite(curve), curve, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return curve / np.fmax.accumulate(curve, axis=1)


def confirmed(ratio: Float[np.ndarray, "run step"]) -> Float[np.ndarray, "run step"]:
    """The larger of two ratios in a row: below a threshold where it was passed for the second time."""
    return np.concatenate([np.full((len(ratio), 1), np.nan), np.maximum(ratio[:, 1:], ratio[:, :-1])], axis=1)


def sounded(ratio: Float[np.ndarray, "run step"], step: np.ndarray, below: float) -> Float[np.ndarray, " run"]:
    """The step at which the detector of each run sounds, infinity where it does not."""
    there = confirmed(ratio) < below
    return np.where(there.any(axis=1), step[there.argmax(axis=1)], np.inf)


def silent(controls: Float[np.ndarray, "control step"]) -> float:
    """The largest threshold at which the detector is silent on every one of the controls."""
    return float(np.nan_to_num(confirmed(controls), nan=1).min(initial=1))


def ahead(one: Float[np.ndarray, " run"], other: Float[np.ndarray, " run"]) -> Float[np.ndarray, " run"]:
    """By how many steps `one` is before `other` in the same runs; both never: neither is ahead."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(one) & np.isinf(other), 0, other - one)
