"""The transitions of every curve: of the loss, of each D_i, of lambda-hat; and what lambda-hat is between them."""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

import slt
from experiments.shared import tell

WIDTH, HOLD, LEAST = 0.03, 4, 0.1  # a D_i is on a level within +-WIDTH for HOLD checkpoints; 1/2 and 2/5 differ by .1
MAIN = "localised"
Change = tuple[tuple[int, ...], float, int, int]  # where in the array, by how much, first and last checkpoint


def transitions(results: xr.Dataset) -> xr.Dataset:
    """The jump at each transition, NaN elsewhere, and the interval of its place in checkpoints.

    The noise of the logarithm of a loss is half the smallest distance between two of its known levels: with less, a
    fall that takes several checkpoints would count as several. For many features that distance is one digon.
    """
    first, (value, stderr) = settled(results), usable(results)
    noise = np.stack([slt.inflated(*run) for run in zip(value, stderr, strict=True)])
    distance = float(np.abs(np.diff(np.log(results.figure_loss.values))).min())
    loss, many = np.log(results.loss.values), np.log(results.level_loss.values)
    found = {
        "loss": _changes(loss, np.full(loss.shape, distance / 2)),
        "llc": _changes(value, noise),
        "level_loss": _changes(many, np.full(many.shape, digon(results) / 2), first),
        "dimensionality": _jumps(results.dimensionality.values),
        "level_dimensionality": _jumps(results.level_dimensionality.values, first),
    }
    made: dict[str, Any] = {}
    for name, changes in found.items():
        like = results.loss if name == "llc" else results[name]
        table = np.full((3, *like.shape), np.nan)
        for at, *numbers in changes:
            table[(slice(None), *at)] = numbers
        made |= {f"{name}_{part}": (like.dims, table[i]) for i, part in enumerate(("jump", "low", "high"))}
    return xr.Dataset(made)


def settled(results: xr.Dataset) -> int:
    """The checkpoint of the many features from which on their jumps are counted."""
    return int(np.searchsorted(results.level_step.values, results.attrs["settle"]))


def digon(results: xr.Dataset) -> float:
    """What one digon spares, as a share of the loss at the end."""
    return float(results.attrs["digon_gain"]) / float(np.nanmedian(results.level_loss.values[:, -1]))


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


def _changes(curve: np.ndarray, noise: np.ndarray, first: int = 0) -> Iterable[Change]:
    """Change points of each run's curve from `first` on; one next to unseen points is put in their middle."""
    for r in range(len(curve)):
        seen = np.flatnonzero(np.isfinite(curve[r]))
        for c in slt.change_points(curve[r, first:], noise[r, first:]):
            before, after = seen[seen < first + c.index], seen[seen >= first + c.index]
            yield (r, (int(before[-1]) + 1 + int(after[0])) // 2), c.jump, first + c.low, first + c.high


def _jumps(curves: np.ndarray, first: int = 0) -> Iterable[Change]:
    """Jumps of each feature of each run, axes (run, time, feature); those that begin at `first` or later."""
    for r, i in np.ndindex(curves.shape[0], curves.shape[2]):
        for j in slt.jumps(curves[r, :, i], width=WIDTH, hold=HOLD, least=LEAST):
            if j.index >= first:
                yield (r, j.index, i), j.jump, j.low, j.high
