"""When a number announces that a run will grok: definitions, made before the results.

- *Memorised*: the first checkpoint with 99 % of the training questions answered.
- *The jump* of a run: where the log of the test loss has fallen halfway from its maximum to its last value, between two
  checkpoints linearly in the log. A second definition, which does not depend on the length of a run, is where half of
  the test questions are answered. Only runs have one that answer 90 % of them in the end.
- *The detector* of an announcer knows the past alone. From the memorised checkpoint on it follows the ratio of the
  number to its largest value so far (of a number that should rise: of its smallest value so far to the number). It
  sounds at the first checkpoint where this ratio is below a threshold for the second time in a row. Of lambda-hat the
  upper end of two standard errors counts, and a negative estimate, of a point that is no minimum, counts as none.
- *Thresholds*: fixed beforehand (`ANNOUNCERS`); or calibrated, the largest at which the detector is silent on every
  control of a kind, so that an announcer with a lead tells a run that will grok from one that will not.
- *The lead* is the jump less the sounding, in steps; minus infinity where it never sounds. Its median over the seeds has
  a bootstrap interval over seeds, and where it is calibrated over controls too.
"""

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from slt.phases import inflated, slope_changes

MEMORISED, GROKKED = 0.99, 0.9  # accuracies
RESAMPLES = 2000
SMALL = 1e-3  # lambda-hat is drawn and cut into stages as asinh(lambda-hat / SMALL): logarithmic, and linear through 0


class Announcer(NamedTuple):
    """A variable of the results that should fall (or rise), and the fixed threshold of its ratio."""

    variable: str
    falls: bool
    threshold: float


ANNOUNCERS = {
    "train loss": Announcer("loss", True, 0.1),
    "test loss": Announcer("test_loss", True, 0.5),
    "weight norm": Announcer("norm", True, 0.9),
    "restricted loss": Announcer("restricted", True, 0.5),
    "excluded loss": Announcer("excluded", False, 0.5),
    "Gini of W_E": Announcer("gini", False, 0.67),
    "restricted loss, hindsight": Announcer("restricted_hindsight", True, 0.5),
    "excluded loss, hindsight": Announcer("excluded_hindsight", False, 0.5),
}
LLC_THRESHOLD = 0.1


class Lead(NamedTuple):
    """Median lead over the runs in steps with its 95 % interval, and in how many of them it sounds at all."""

    value: float
    low: float
    high: float
    sounds: int
    runs: int

    def __str__(self) -> str:
        if self.runs == 0:
            return "no run has a jump"
        say = lambda x: "never" if np.isneginf(x) else f"{x:+.0f}"
        return f"{say(self.value)} [{say(self.low)}, {say(self.high)}], sounds in {self.sounds} of {self.runs}"


def memorised(results: xr.Dataset) -> Int[np.ndarray, " run"]:
    """The first checkpoint of each run that answers the training questions; the number of checkpoints if none does."""
    there = results.train_accuracy.values >= MEMORISED
    return np.where(there.any(axis=1), there.argmax(axis=1), there.shape[1])


def jumps(results: xr.Dataset) -> Float[np.ndarray, " run"]:
    """The step at which the log of the test loss is halfway from its maximum to its end; NaN of a run that does not grok."""
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(results.test_loss.values)
    found = [_crossing(results.step.values, row, float(row.max() + row[-1]) / 2, int(row.argmax())) for row in logs]
    return np.where(results.test_accuracy.values[:, -1] >= GROKKED, found, np.nan)


def halves(results: xr.Dataset) -> Float[np.ndarray, " run"]:
    """The step at which half of the test questions are answered; NaN of a run that does not grok."""
    accuracy = results.test_accuracy.values
    found = [_crossing(results.step.values, -row, -0.5, 0) for row in accuracy]
    return np.where(accuracy[:, -1] >= GROKKED, found, np.nan)


def _crossing(step: np.ndarray, curve: np.ndarray, level: float, since: int) -> float:
    """Where a curve first falls to a level after the checkpoint `since`, linearly between two."""
    below = np.flatnonzero(curve[since + 1 :] <= level)
    if len(below) == 0:
        return np.nan
    i = since + 1 + below[0]
    part = (curve[i - 1] - level) / (curve[i - 1] - curve[i]) if curve[i - 1] > curve[i] else 1.0
    return float(step[i - 1] + np.clip(part, 0, 1) * (step[i] - step[i - 1]))


def ratios(results: xr.Dataset) -> dict[str, Float[np.ndarray, "run time"]]:
    """For every announcer, how far it has gone: 1 at its extreme so far, smaller the further; NaN before memorisation."""
    since = memorised(results)
    found = {}
    for setting in results.setting.values:
        here = results.sel(setting=setting)
        upper = np.where(negative(here), np.nan, here.value.values + 2 * here.stderr.values)
        found[f"lambda-hat, {setting}"] = _ratio(upper, since, falls=True)
    for name, (variable, falls, _) in ANNOUNCERS.items():
        found[name] = _ratio(results[variable].values, since, falls=falls)
    return found


def threshold(name: str) -> float:
    """The fixed threshold of an announcer."""
    return ANNOUNCERS[name].threshold if name in ANNOUNCERS else LLC_THRESHOLD


def negative(here: xr.Dataset) -> Bool[np.ndarray, "..."]:
    """Estimates below zero, within their error or not."""
    return here.value.values < 0


def _ratio(curve: np.ndarray, since: np.ndarray, *, falls: bool) -> np.ndarray:
    started = np.arange(curve.shape[1])[None] >= since[:, None]
    curve = np.where(started & np.isfinite(curve), curve, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        if falls:
            return curve / np.fmax.accumulate(curve, axis=1)
        return np.fmin.accumulate(curve, axis=1) / curve


def confirmed(ratio: Float[np.ndarray, "run time"]) -> Float[np.ndarray, "run time"]:
    """The larger of two ratios in a row: below a threshold where it was passed for the second time."""
    return np.concatenate([np.full((len(ratio), 1), np.nan), np.maximum(ratio[:, 1:], ratio[:, :-1])], axis=1)


def sounded(ratio: Float[np.ndarray, "run time"], step: np.ndarray, below: float) -> Float[np.ndarray, " run"]:
    """The step at which the detector of each run sounds, infinity where it does not."""
    there = confirmed(ratio) < below
    return np.where(there.any(axis=1), step[there.argmax(axis=1)], np.inf)


def reach(ratio: Float[np.ndarray, "run time"]) -> Float[np.ndarray, " run"]:
    """The threshold up to which the detector of each run is silent, over its whole length; 1 if it has no ratio."""
    there = confirmed(ratio)
    return np.where(np.isnan(there), 1, there).min(axis=1)


def fixed_lead(jump: np.ndarray, sounded: np.ndarray) -> Lead:
    """The lead of runs that grok, with its interval over seeds."""
    seen = np.isfinite(jump)
    return _lead(np.broadcast_to((jump - sounded)[seen], (RESAMPLES, seen.sum())))


def calibrated_lead(jump: np.ndarray, ratio: np.ndarray, controls: np.ndarray, step: np.ndarray) -> Lead:
    """The lead at the largest threshold that is silent on `controls`, (control, time); the interval resamples them too."""
    seen, limits = np.isfinite(jump), reach(controls)
    if not seen.any() or len(limits) == 0:
        return _lead(np.zeros((RESAMPLES, 0)))
    leads = np.array([jump[seen] - sounded(ratio[seen], step, below) for below in limits])
    chosen = np.random.default_rng(1).integers(len(limits), size=(RESAMPLES, len(limits)))
    chosen[0] = np.arange(len(limits))  # the first is the estimate itself
    return _lead(leads[np.take_along_axis(chosen, limits[chosen].argmin(axis=1)[:, None], axis=1)[:, 0]])


def _lead(leads: Float[np.ndarray, "resamples runs"]) -> Lead:
    """`leads[0]` is what was found; row i is resampled in runs."""
    count = leads.shape[1]
    if count == 0:
        return Lead(np.nan, np.nan, np.nan, 0, 0)
    index = np.random.default_rng(0).integers(count, size=leads.shape)
    middle = np.median(np.take_along_axis(leads, index, axis=1), axis=1)
    low, high = np.quantile(middle, [0.025, 0.975], method="inverted_cdf")
    return Lead(float(np.median(leads[0])), float(low), float(high), int(np.isfinite(leads[0]).sum()), count)


def calibrated(ratio: np.ndarray, controls: np.ndarray, step: np.ndarray) -> Float[np.ndarray, " run"]:
    """When the detector of each run sounds at the largest threshold that is silent on `controls`."""
    return sounded(ratio, step, reach(controls).min())


def ahead(one: np.ndarray, other: np.ndarray) -> Lead:
    """By how many steps `one` sounds before `other` in the same runs; both silent: neither is ahead."""
    with np.errstate(invalid="ignore"):
        gap = np.where(np.isinf(one) & np.isinf(other), 0, other - one)
    return _lead(np.broadcast_to(gap, (RESAMPLES, len(gap))))


def boundaries(results: xr.Dataset) -> xr.Dataset:
    """Changes of slope of asinh(lambda-hat / SMALL) in log(step + 50): the slope after, and the interval in checkpoints.

    NaN where there is none. Errors are inflated for their correlation (`slt.phases.inflated`).
    """
    dims = ("setting", "run", "time")
    found = {f"boundary_{name}": np.full(results.value.shape, np.nan) for name in ("slope", "low", "high")}
    value, stderr = results.value.values, results.stderr.values
    curve, noise = np.arcsinh(value / SMALL), stderr / np.sqrt(value**2 + SMALL**2)
    time = np.log(results.step.values + 50.0)
    for at in np.ndindex(value.shape[:2]):
        if np.isfinite(curve[at]).all():
            for change in slope_changes(time, curve[at], inflated(curve[at], noise[at])):
                found["boundary_slope"][*at, change.index] = change.after
                found["boundary_low"][*at, change.index] = change.low
                found["boundary_high"][*at, change.index] = change.high
    return xr.Dataset({name: (dims, values) for name, values in found.items()})
