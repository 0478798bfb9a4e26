"""What is said of the stages of in-context regression, beside what was measured; of lambda-hat, beside the loss."""

import numpy as np
import scipy.stats
import xarray as xr

from experiments.shared import tell
from experiments.shared.claims import Claim, every, median
from experiments.shared.coefficient_curves import largest, transitions

HOOGLAND = "Hoogland et al. 2024"
READINGS = ("loss", "loose", "localised", "localised, hotter")  # the curves whose largest change is looked for
LEARNED = 0.1  # of the way from the zero predictor to ridge that is left when regression in context counts as learned
LOSS_ERROR = 0.02  # of the loss, as a share of its range: below it, no change is a stage


def claims(results: xr.Dataset) -> list[Claim]:
    """What is learned, and when; what the loose curve is; what survives of each stage; where the boundaries lie."""
    return [
        *_learned(results),
        tell.disguise(results, "loose", HOOGLAND, expected=True, headline=True)[0],
        tell.disguise(results, "localised")[0],
        *_survives(results),
        *_boundaries(results),
        tell.believed(results, "loose")[0],
        *tell.believed(results, "localised"),
    ]


def edges(results: xr.Dataset) -> np.ndarray:
    """Of each run the checkpoints at which LR1 and LR2 end, off the model: |y-hat|^2 is least, MSE near ridge.

    The second is the last checkpoint where a run does not get there.
    """
    left = (results.loss - results.ridge) / (results.zero - results.ridge)
    last = results.sizes["step"] - 1
    learned = [int(np.argmax(row)) if row.any() else last for row in left.values < LEARNED]
    size = np.where(np.isfinite(results["size"].values), results["size"].values, np.inf)
    least = [int(np.argmin(row[: end + 1])) for row, end in zip(size, learned, strict=True)]
    return np.array([least, learned]).T


def boundaries(results: xr.Dataset) -> xr.Dataset:
    """The largest change of level of the loss and of each curve, in every run: its step, and its interval's ends."""
    step = results.step.values
    change = np.full((len(READINGS), results.sizes["seed"], 3), np.nan)
    for i, name in enumerate(READINGS):
        values = curve(results, name)
        errors = LOSS_ERROR * np.ptp(values, axis=1, keepdims=True) * np.ones_like(values)
        if name != "loss":
            errors = results.stderr.sel(setting=name).values
        for run, (row, error) in enumerate(zip(values, errors, strict=True)):
            if np.isfinite(row).sum() >= 6 and np.nanmin(error) > 0:
                for found in largest(transitions(row[None], error[None]))[0]:
                    change[i, run] = step[[found.index, found.low, found.high]]
    coordinates = {"reading": list(READINGS), "at": ["step", "low", "high"]}
    return xr.Dataset({"change": (("reading", "seed", "at"), change)}, coordinates)


def curve(results: xr.Dataset, name: str) -> np.ndarray:
    """lambda-hat of every run under a setting, or its loss."""
    return results.loss.values if name == "loss" else results.value.sel(setting=name).values


def change(results: xr.Dataset, name: str, stage: int) -> np.ndarray:
    """By how much a curve changes over the stage (0: to LR1's end, 1: LR2), in each run."""
    values, marks = curve(results, name), np.pad(edges(results), ((0, 0), (1, 0)))
    rows = np.arange(len(marks))
    return values[rows, marks[:, stage + 1]] - values[rows, marks[:, stage]]


def over_runs(text: str, values: np.ndarray, source: str, *, sign: int, headline: bool = False) -> Claim:
    """The mean over runs with its interval by Student's t; whether it has the sign is open if that has both."""
    n, mean, low, high = len(values), float(np.mean(values)), np.nan, np.nan
    if n > 1:
        half = float(scipy.stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
        low, high = mean - half, mean + half
    holds = bool(sign * mean > 0) if low > 0 or high < 0 else None
    return Claim(text, source, "> 0" if sign > 0 else "< 0", mean, low, high, n, "", holds, headline)


def _learned(results: xr.Dataset) -> list[Claim]:
    """The zero predictor at the end of LR1, and ridge at the end of training."""
    rows = np.arange(results.sizes["seed"])
    first, last = edges(results)[:, 0], results.sizes["step"] - 1
    mse, ridge, size, zero = (results[name].values for name in ("loss", "ridge", "size", "zero"))
    ratio, small = (mse / zero)[rows, first], (size / zero)[rows, first]
    predicts = (first > 0) & (first < last) & (np.abs(ratio - 1) < 0.05) & (small < 0.05)
    left = ((mse - ridge) / (zero - ridge))[:, -1]
    text = "LR1 ends in the zero predictor: MSE over the zero predictor's"
    made = [median(text, ratio, HOOGLAND, "1 within 5 %, inside", holds=every(predicts), headline=True)]
    text = "LR2 ends near ridge: share of the way from zero that is left"
    return [*made, median(text, left, HOOGLAND, "< 10%", holds=every(left < LEARNED), headline=True)]


def _survives(results: xr.Dataset) -> list[Claim]:
    """The change of loss and lambda-hat over each stage."""
    made = []
    for stage, name in enumerate(("LR1", "LR2")):
        for what, sign in (("loss", -1), ("loose", 1), ("localised", 1)):
            text = f"{name}: change of {what if what == 'loss' else f'lambda-hat, {what}'}"
            headline = (stage, what) == (1, "localised")
            made.append(over_runs(text, change(results, what, stage), HOOGLAND, sign=sign, headline=headline))
    return made


def lag(results: xr.Dataset, one: str, other: str) -> np.ndarray:
    """How many checkpoints the largest change of one curve comes after that of the other, in each run."""
    at = results.change.sel(reading=[one, other], at="step").values
    first, second = np.where(np.isfinite(at), np.searchsorted(results.step.values, at), np.nan)
    return first - second


def _boundaries(results: xr.Dataset) -> list[Claim]:
    """Whether curves change most where the loss does, and what depends on the temperature."""
    made, main, hotter = [], "localised", "localised, hotter"
    for one, other in (("loose", "loss"), (main, "loss"), (hotter, main)):
        found = lag(results, one, other)
        holds = None if np.isnan(found).all() else bool(np.all(np.abs(found) <= 1))
        text, headline = f"largest change, {one}, after that of {other}", one == main
        made.append(median(text, found, tell.ASKED, "within 1", unit="checkpoints", holds=holds, headline=headline))
    after = edges(results)[:, 1]
    pairs = zip(curve(results, main), curve(results, hotter), after, strict=True)
    ratio = np.array([np.median(b[i:] / a[i:]) for a, b, i in pairs])
    text, same = "lambda-hat once LR2 is over, hotter over localised", every(np.abs(ratio - 1) < 0.1)
    return [*made, median(text, ratio, "a coefficient has no nbeta", "1 within 10 %", holds=same, headline=True)]
