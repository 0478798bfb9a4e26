"""Where the stages of every run end, read three ways: off the model, by change points of curves, by milestones."""

import numpy as np
import xarray as xr

import slt
from experiments.shared.coefficient_curves import transitions

READINGS = ("loss", "loose", "localised", "localised, hotter")  # the curves whose stages are looked for
MOST = 8  # milestones of a curve that are kept
LEARNED = 0.1  # of the way from the zero predictor to ridge that is left when regression in context counts as learned
LOSS_ERROR = 0.02  # of the loss, as a share of its range: below it, no change is a stage


def edges(results: xr.Dataset) -> np.ndarray:
    """Of each run the checkpoints at which LR1 and LR2 end, off the model: |y-hat|^2 is least, MSE near ridge.

    The second is the last checkpoint where a run does not get there.
    """
    fresh = results.sel(prior="fresh", on="fresh").mean("position")
    left = (fresh.mse - fresh.ridge) / (fresh.zero - fresh.ridge)
    last = results.sizes["step"] - 1
    learned = [int(np.argmax(row)) if row.any() else last for row in left.values < LEARNED]
    size = np.where(np.isfinite(fresh["size"].values), fresh["size"].values, np.inf)
    least = [int(np.argmin(row[: end + 1])) for row, end in zip(size, learned, strict=True)]
    return np.array([least, learned]).T


def boundaries(results: xr.Dataset, *, restarts: int) -> xr.Dataset:
    """The largest change of level of loss and curves, and their milestones: place, low and high, in steps.

    The loss is in units of the loose curve, -nbeta L, so that a slope counts as flat in both alike.
    """
    runs, step = results.sizes["seed"], results.step.values
    change, milestone = np.full((len(READINGS), runs, 3), np.nan), np.full((len(READINGS), runs, MOST, 3), np.nan)
    for i, name in enumerate(READINGS):
        curves, stderrs = reading(results, name)
        for run, (curve, stderr) in enumerate(zip(curves, stderrs, strict=True)):
            if np.isfinite(curve).sum() >= 6 and np.nanmin(stderr) > 0:
                largest = max(transitions(curve[None], stderr[None])[0], key=lambda c: abs(c.jump), default=None)
                if largest is not None:
                    change[i, run] = step[[largest.index, largest.low, largest.high]]
            milestone[i, run] = _milestones(curve, stderr, step, restarts)
    variables = {
        "change": (("reading", "seed", "at"), change),
        "milestone": (("reading", "seed", "number", "at"), milestone),
        "edge": (("seed", "stage"), edges(results)),
    }
    return xr.Dataset(variables, {"reading": list(READINGS), "at": ["step", "low", "high"], "stage": ["LR1", "LR2"]})


def reading(results: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A curve of every run, with its errors."""
    if name != "loss":
        return results.value.sel(setting=name).values, results.stderr.sel(setting=name).values
    curve = -float(results.nbeta.sel(setting="loose")) * results.loss.values
    return curve, LOSS_ERROR * np.ptp(curve, axis=1, keepdims=True) * np.ones_like(curve)


def _milestones(curve: np.ndarray, stderr: np.ndarray, step: np.ndarray, restarts: int) -> np.ndarray:
    """The most certain milestones of one curve, in the order of time."""
    made = np.full((MOST, 3), np.nan)
    if np.isfinite(curve + stderr).sum() >= 4:
        process = slt.gaussian_process(step, curve, stderr, restarts=restarts)
        found = sorted(slt.milestones(process), key=lambda m: -m.support)[:MOST]
        for row, m in zip(made, sorted(found, key=lambda m: m.step), strict=False):
            row[:] = [m.step, m.low, m.high]
    return made
