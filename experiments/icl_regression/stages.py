"""Where the stages of every run end, read three ways: off the model, by change points of curves, by milestones."""

from typing import Any

import numpy as np
import xarray as xr

import slt
from experiments.shared.curves import transitions

READINGS = ("loss", "loose", "localised", "second")  # the curves whose stages are looked for
RECIPES = {"published": 0.0, "supported": 2.0}  # milestones: all of them, those between stages that are certain
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
    """The change points and milestones of loss and curves: place, low, high (in steps), and the jump of the former.

    The loss is in units of the loose curve, -nbeta L, so that a slope counts as flat in both alike.
    """
    runs, step = results.sizes["seed"], results.step.values
    jumps = np.full((len(READINGS), runs, MOST, 4), np.nan)
    places = np.full((len(READINGS), len(RECIPES), runs, MOST, 3), np.nan)
    for i, name in enumerate(READINGS):
        curve, stderr = reading(results, name)
        for run in range(runs):
            jumps[i, run] = changes(curve[run], stderr[run], step)
            places[i, :, run] = _milestones(curve[run], stderr[run], step, restarts)
    variables: dict[str, Any] = {
        "change": (("reading", "seed", "number", "at"), jumps),
        "milestone": (("reading", "recipe", "seed", "number", "interval"), places),
        "edge": (("seed", "stage"), edges(results)),
    }
    coordinates = {"reading": list(READINGS), "recipe": list(RECIPES), "at": ["step", "low", "high", "jump"]}
    return xr.Dataset(variables, coordinates | {"interval": ["step", "low", "high"], "stage": ["LR1", "LR2"]})


def reading(results: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A curve of every run, with its errors."""
    if name != "loss":
        return results.value.sel(setting=name).values, results.stderr.sel(setting=name).values
    curve = -float(results.nbeta.sel(setting="loose")) * results.loss.values
    return curve, LOSS_ERROR * np.ptp(curve, axis=1, keepdims=True) * np.ones_like(curve)


def changes(curve: np.ndarray, stderr: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The largest changes of level of one curve, as `transitions` finds them."""
    made = np.full((MOST, 4), np.nan)
    if np.isfinite(curve).sum() < 6 or not np.nanmin(stderr) > 0:
        return made
    found = sorted(transitions(curve[None], stderr[None])[0], key=lambda c: -abs(c.jump))[:MOST]
    for row, c in zip(made, found, strict=False):
        row[:] = [step[c.index], step[c.low], step[c.high], c.jump]
    return made


def _milestones(curve: np.ndarray, stderr: np.ndarray, step: np.ndarray, restarts: int) -> np.ndarray:
    """The milestones of one process, by each recipe."""
    made = np.full((len(RECIPES), MOST, 3), np.nan)
    if np.isfinite(curve + stderr).sum() < 4:
        return made
    process = slt.gaussian_process(step, curve, stderr, restarts=restarts)
    for rows, support in zip(made, RECIPES.values(), strict=True):
        found = sorted(slt.milestones(process, support=support), key=lambda m: -m.support)[:MOST]
        for row, m in zip(rows, sorted(found, key=lambda m: m.step), strict=False):
            row[:] = [m.step, m.low, m.high]
    return made
