"""The transitions of every curve: of the loss, of each D_i, of lambda-hat; and what happens across and between them."""

import itertools
from typing import NamedTuple

import numpy as np
import xarray as xr

import slt
from experiments.learning_dynamics.jumps import jumps
from experiments.shared import tell

WIDTH, HOLD, LEAST = 0.03, 4, 0.1  # a D_i is on a level within +-WIDTH for HOLD checkpoints; 1/2 and 2/5 differ by .1
MAIN = "localised"


def transitions(results: xr.Dataset) -> xr.Dataset:
    """The jump at each transition, NaN elsewhere, and the interval of its place in checkpoints.

    The noise of the logarithm of a loss is half the smallest distance between two of its known levels: with less, a
    fall that takes several checkpoints would count as several. For many features that distance is one digon.
    """
    many, first = results.level_loss.values, settled(results)
    value, stderr = usable(results)
    noise = np.stack([slt.inflated(*run) for run in zip(value, stderr, strict=True)])
    distance = float(np.abs(np.diff(np.log(results.figure_loss.values))).min())
    loss = np.log(results.loss.values)
    found = {
        "loss": (results.loss, _changes(loss, np.full(loss.shape, distance / 2))),
        "llc": (results.loss, _changes(value, noise)),
        "level_loss": (results.level_loss, _changes(np.log(many), np.full(many.shape, digon(results) / 2), first)),
        "dimensionality": (results.dimensionality, _jumps(results.dimensionality.values)),
        "level_dimensionality": (results.level_dimensionality, _jumps(results.level_dimensionality.values, first)),
    }
    made = xr.Dataset()
    for name, (like, parts) in found.items():
        made = made.assign({f"{name}_{part}": (like.dims, values) for part, values in parts.items()})
    return made


def settled(results: xr.Dataset) -> int:
    """The checkpoint of the many features from which on their jumps are counted."""
    return int(np.searchsorted(results.level_step.values, results.attrs["settle"]))


def digon(results: xr.Dataset) -> float:
    """What one digon spares, as a share of the loss at the end."""
    return float(results.attrs["digon_gain"] / np.nanmedian(results.level_loss.values[:, -1]))


def usable(results: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """lambda-hat and its errors, NaN where verdict says that w* is no minimum: there the number is that of a slope."""
    here = results.sel(setting=MAIN)
    bad = tell.has(here, "negative") | tell.has(here, "diverged")
    return np.where(bad, np.nan, here.value.values), np.where(bad, np.nan, here.stderr.values)


def hessian_sum(results: xr.Dataset) -> np.ndarray:
    """1/2 sum_i h_i/(h_i + gamma/nbeta): what lambda-hat is for a Gaussian at w*, of each checkpoint."""
    here, h = results.sel(setting=MAIN), results.curvature.values
    return np.sum(h / (h + float(here.gamma / here.nbeta)), axis=-1) / 2


def places(jumps: xr.DataArray) -> list[list[int]]:
    """For each run, the checkpoints of its transitions, as often as features jump there."""
    return [[int(i) for i in np.argwhere(np.isfinite(run))[:, 0]] for run in jumps.values]


def medians(results: xr.Dataset, run: int) -> list[float]:
    """The median lambda-hat of each stretch between the transitions of a run's loss; NaN where none is usable."""
    value = usable(results)[0][run]
    edges = [0, *places(results.loss_jump)[run], results.sizes["step"]]
    seen = [value[left:right][np.isfinite(value[left:right])] for left, right in itertools.pairwise(edges)]
    return [float(np.median(part)) if part.size else np.nan for part in seen]


class Falls(NamedTuple):
    """How much the logarithm of the loss falls across the jumps of D_i, on average, and across windows at random.

    p_value: how often random windows of the same lengths, in the same runs, have a mean fall as large.
    """

    count: int
    mean: float
    null: float
    p_value: float


def falls(loss: xr.DataArray, low: xr.DataArray, high: xr.DataArray, *, first: int = 0, shuffles: int = 1000) -> Falls:
    """The fall from the checkpoint before each jump to the one after it; windows begin at `first` or later."""
    curve, rng, own, others = np.log(loss.values), np.random.default_rng(0), [], []
    last = curve.shape[1] - 1
    for at in map(tuple, np.argwhere(np.isfinite(low.values))):
        begin, end = max(int(low.values[at]) - 1, 0), min(int(high.values[at]) + 1, last)
        begins = rng.integers(min(first, last - (end - begin)), last - (end - begin) + 1, shuffles)
        own.append(curve[at[0], begin] - curve[at[0], end])
        others.append(curve[at[0], begins] - curve[at[0], begins + end - begin])
    if not own:
        return Falls(0, np.nan, np.nan, np.nan)
    fall, null = float(np.mean(own)), np.mean(others, axis=0)
    return Falls(len(own), fall, float(null.mean()), float((1 + np.sum(null >= fall)) / (1 + shuffles)))


def _changes(curve: np.ndarray, noise: np.ndarray, first: int = 0) -> dict[str, np.ndarray]:
    """Change points of each run's curve from `first` on; one next to unseen points is put in their middle."""
    found = {part: np.full(curve.shape, np.nan) for part in ("jump", "low", "high")}
    for r in range(len(curve)):
        seen = np.flatnonzero(np.isfinite(curve[r]))
        for c in slt.change_points(curve[r, first:], noise[r, first:]):
            before, after = seen[seen < first + c.index], seen[seen >= first + c.index]
            at = r, (int(before[-1]) + 1 + int(after[0])) // 2
            found["jump"][at], found["low"][at], found["high"][at] = c.jump, first + c.low, first + c.high
    return found


def _jumps(curves: np.ndarray, first: int = 0) -> dict[str, np.ndarray]:
    """Jumps of each feature of each run, axes (run, time, feature); those that begin at `first` or later."""
    found = {part: np.full(curves.shape, np.nan) for part in ("jump", "low", "high")}
    for r, i in np.ndindex(curves.shape[0], curves.shape[2]):
        for j in jumps(curves[r, :, i], width=WIDTH, hold=HOLD, least=LEAST):
            if j.index >= first:
                at = r, j.index, i
                found["jump"][at], found["low"][at], found["high"][at] = j.size, j.low, j.high
    return found
