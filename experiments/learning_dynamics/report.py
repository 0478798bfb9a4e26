"""What is said of both trainings: the source's words beside the measured numbers."""

import itertools

import numpy as np
import scipy.stats
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view

import slt
from experiments.learning_dynamics.cases import DENSITY, digon_gain
from experiments.shared import tell
from experiments.shared.claims import Claim, every, mean, share

ELHAGE = "Elhage et al. 2022"
MAIN = "localised"
TOLERANCE = 3  # checkpoints between two transitions that count as one; a third of the time, for the octahedron
WIDTH, HOLD, LEAST = 0.03, 4, 0.1  # a D_i is on a level within +-WIDTH for HOLD checkpoints; 1/2 and 2/5 differ by .1
FRACTIONS = np.array([0, 1 / 3, 2 / 5, 1 / 2, 2 / 3, 3 / 4, 1])  # D_i of the figures
Places = list[list[int]]  # of each run the checkpoints at which something changes


def claims(results: xr.Dataset) -> list[Claim]:
    """First the octahedron's geometry and its transitions, then what lambda-hat says, then the many features."""
    return [*_figures(results), *_transitions(results), *_llc(results), *_levels(results)]


def usable(results: xr.Dataset) -> tuple[np.ndarray, np.ndarray]:
    """lambda-hat and its errors, NaN where verdict says that w* is no minimum: there the number is that of a slope."""
    here = results.sel(setting=MAIN)
    bad = tell.has(here, "negative") | tell.has(here, "diverged")
    return np.where(bad, np.nan, here.value.values), np.where(bad, np.nan, here.stderr.values)


def hessian_sum(results: xr.Dataset) -> np.ndarray:
    """1/2 sum_i h_i/(h_i + gamma/nbeta): what lambda-hat is for a Gaussian at w*, of each checkpoint."""
    here, h = results.sel(setting=MAIN), results.curvature.values
    return np.sum(h / (h + float(here.gamma / here.nbeta)), axis=-1) / 2


def transitions(results: xr.Dataset) -> dict[str, Places]:
    """The transitions of the loss, of lambda-hat and of the D_i on the way to the octahedron.

    The noise of log(loss) is half the smallest distance between two of its known levels: with less, a fall that takes
    several checkpoints would count as several.
    """
    value, stderr = usable(results)
    noise = np.stack([slt.inflated(*run) for run in zip(value, stderr, strict=True)])
    distance = float(np.abs(np.diff(np.log(results.figure_loss.values))).min())
    loss = np.log(results.loss.values)
    return {
        "loss": _changes(loss, np.full(loss.shape, distance / 2)),
        "llc": _changes(value, noise),
        "dimensionality": _jumps(results.dimensionality.values),
    }


def level_transitions(results: xr.Dataset) -> dict[str, Places]:
    """Those of the many features, counted from `settle` on; the smallest distance is what one more digon spares."""
    first = int(np.searchsorted(results.level_step.values, results.attrs["settle"]))
    loss = np.log(results.level_loss.values)
    digon = digon_gain(DENSITY) / float(np.nanmedian(results.level_loss.values[:, -1]))
    jumps = _jumps(results.level_dimensionality.values)
    return {
        "loss": _changes(loss[:, first:], np.full(loss[:, first:].shape, digon / 2)),
        "dimensionality": [[i - first for i in run if i >= first] for run in jumps],
    }


def _changes(curve: np.ndarray, noise: np.ndarray) -> Places:
    """Change points of each run's curve; one next to unseen points is put in their middle."""
    found = []
    for row, error in zip(curve, noise, strict=True):
        seen = np.flatnonzero(np.isfinite(row))
        between = lambda i, seen=seen: (int(seen[seen < i][-1]) + 1 + int(seen[seen >= i][0])) // 2
        found.append([between(change.index) for change in slt.change_points(row, error)])
    return found


def _jumps(curves: np.ndarray) -> Places:
    """Jumps between levels of every feature of each run, axes (run, time, feature)."""
    jumps = lambda curve: slt.jumps(curve, width=WIDTH, hold=HOLD, least=LEAST)
    return [sorted(jump.index for curve in run.T for jump in jumps(curve)) for run in curves]


def _figures(results: xr.Dataset) -> list[Claim]:
    octahedra, merged = results.figure.values[:, -1] == "octahedron", results.figure.values == "two lines"
    lines = sliding_window_view(merged, HOLD, axis=1).all(axis=-1).any(axis=-1)
    return [
        share("runs that end in the octahedron", octahedra, ELHAGE, "all", holds=every(octahedra), headline=True),
        share("runs by way of two lines, each set merged on one", lines, ELHAGE, "all", holds=every(lines)),
    ]


def _transitions(results: xr.Dataset) -> list[Claim]:
    at, known, length = transitions(results), len(results.known) - 1, results.sizes["step"]
    loss, llc, D = at["loss"], at["llc"], at["dimensionality"]
    right = [len(run) == known for run in loss]
    return [
        share(f"runs whose loss has {known} transitions", right, "the levels of the theory", "all", holds=every(right)),
        coincide("jumps of D_i, with the loss", D, loss, length)._replace(headline=True),
        coincide("jumps of D_i, with lambda-hat", D, llc, length),
        coincide("transitions of the loss, with lambda-hat", loss, llc, length)._replace(headline=True),
        coincide("transitions of lambda-hat, with the loss", llc, loss, length),
        together(loss, llc),
        *_changes_of_level(results, loss),
    ]


def coincide(text: str, one: Places, other: Places, length: int) -> Claim:
    """The share of the transitions with one of the other curve within three checkpoints, beside both nulls."""
    shuffled = slt.align(one, other, tolerance=TOLERANCE)
    shifted = slt.align_shifted(one, other, length=length, tolerance=TOLERANCE)
    expected, holds = "p < .05 for both", None
    if shuffled.count:
        expected = f"> {shuffled.null:.0%}; {shifted.null:.0%}, p < .05"
        holds = bool(shuffled.p_value < 0.05 and shifted.p_value < 0.05)
    text, source = f"{text} within {TOLERANCE} checkpoints", "null: runs shuffled; shifted in time"
    return Claim(text, source, expected, shuffled.share, count=shuffled.count, unit="share", holds=holds)


def together(loss: Places, llc: Places) -> Claim:
    """Spearman's correlation over runs of when the last transition of the loss and of lambda-hat is."""
    last = [(a[-1], b[-1]) for a, b in zip(loss, llc, strict=True) if a and b]
    rho, holds = np.nan, None
    if len(last) >= 4 and np.ptp(last, axis=0).min() > 0:
        rho, p_value = np.asarray(scipy.stats.spearmanr(*np.transpose(last)), float)
        holds = bool(rho > 0 and p_value < 0.05)
    text = "rank correlation of the last transition of the loss and of lambda-hat"
    return Claim(text, tell.ASKED, "> 0, p < .05", float(rho), count=len(last), holds=holds)


def _changes_of_level(results: xr.Dataset, loss: Places) -> list[Claim]:
    """How lambda-hat changes at each transition of the loss: by its medians between them, where it is usable."""
    value, changes = usable(results)[0], []
    for row, places in zip(value, loss, strict=True):
        edges = itertools.pairwise([0, *places, len(row)])
        stretches = [row[left:right][np.isfinite(row[left:right])] for left, right in edges]
        changes.append(np.diff([np.median(part) if part.size else np.nan for part in stretches]))
    rises = [change > 0 for run in changes for change in run if np.isfinite(change)]
    text = "transitions of the loss at which lambda-hat rises"
    made = [share(text, rises, "Chen et al. 2023, for polygons", "all", holds=every(rises), headline=True)]
    for i in range(len(results.known) - 1):
        here = [run[i] for run in changes if len(run) > i]
        made.append(mean(f"its change at transition {i + 1} of the loss, by medians between", here, tell.ASKED))
    return made


def _llc(results: xr.Dataset) -> list[Claim]:
    """R^2 of lambda-hat with what is known without sampling, over all usable checkpoints; whether it is the loss."""
    value, made = usable(results)[0], []
    known = {
        "log(loss)": np.log(results.loss.values),
        "sum D_i": results.dimensionality.values.sum(-1),
        "1/2 sum h/(h + gamma/nbeta)": hessian_sum(results),
    }
    seen = np.isfinite(value + sum(known.values()))
    for name, x in known.items():
        fit = slt.regress(x[seen], value[seen]).r_squared
        made.append(Claim(f"R^2 of usable lambda-hat with {name}, pooled", tell.ASKED, "-", fit))
    for name in map(str, results.setting.values):
        made.append(tell.disguise(results, name, headline=name == MAIN)[0])
    return [*made, tell.believed(results, MAIN)[0]]


def _levels(results: xr.Dataset) -> list[Claim]:
    D, at = results.level_dimensionality.values, level_transitions(results)
    near = (np.abs(D[:, -1, :, None] - FRACTIONS) < WIDTH).any(axis=-1)
    half, length = bool(near.mean() > 0.5), int((results.level_step >= results.attrs["settle"]).sum())
    return [
        share("many features: final D_i within .03 of a figure's", near, ELHAGE, "most", holds=half, headline=True),
        coincide("many features: drops of the loss, with D_i", at["loss"], at["dimensionality"], length),
        coincide("many features: jumps of D_i, with the loss", at["dimensionality"], at["loss"], length),
    ]
