"""What is said of both trainings: the source's words beside the measured numbers."""

import numpy as np
import scipy.stats
import xarray as xr
from numpy.lib.stride_tricks import sliding_window_view

import slt
from experiments.learning_dynamics import changes
from experiments.learning_dynamics.changes import HOLD, WIDTH, places, settled, usable
from experiments.shared import tell
from experiments.shared.claims import Claim, every, mean, median, share

ELHAGE = "Elhage et al. 2022"
TOLERANCE = 3  # checkpoints between two transitions that count as one; a third of the time, for the octahedron
FRACTIONS = np.array([0, 1 / 3, 2 / 5, 1 / 2, 2 / 3, 3 / 4, 1])  # D_i of the figures
PAIRS = (  # transitions of which curve are sought in which other one
    ("dimensionality", "loss", "jumps of D_i, with the loss"),
    ("dimensionality", "llc", "jumps of D_i, with lambda-hat"),
    ("loss", "llc", "transitions of the loss, with lambda-hat"),
    ("llc", "loss", "transitions of lambda-hat, with the loss"),
)
HEADLINES = (PAIRS[0][2], PAIRS[2][2])


def claims(results: xr.Dataset) -> list[Claim]:
    """First the octahedron's geometry and its transitions, then what lambda-hat says, then the many features."""
    return [*_figures(results), *_transitions(results), *_llc(results), *_levels(results)]


def _figures(results: xr.Dataset) -> list[Claim]:
    octahedra, merged = results.figure.values[:, -1] == "octahedron", results.figure.values == "two lines"
    lines = sliding_window_view(merged, HOLD, axis=1).all(axis=-1).any(axis=-1)
    return [
        share("runs that end in the octahedron", octahedra, ELHAGE, "all", holds=every(octahedra), headline=True),
        share("runs by way of two lines, each set merged on one", lines, ELHAGE, "all", holds=every(lines)),
    ]


def _transitions(results: xr.Dataset) -> list[Claim]:
    at = {name: places(results[f"{name}_jump"]) for name in ("loss", "dimensionality", "llc")}
    known = len(results.known) - 1
    right = [len(run) == known for run in at["loss"]]
    return [
        share(f"runs whose loss has {known} transitions", right, "the levels of the theory", "all", holds=every(right)),
        *(coincide(text, at[one], at[other], results.sizes["step"]) for one, other, text in PAIRS),
        _fall("fall of log(loss) across a jump of D_i", results, "", 0),
    ]


def coincide(text: str, one: list[list[int]], other: list[list[int]], length: int) -> Claim:
    """The share of the transitions with one of the other curve within three checkpoints, beside both nulls."""
    shuffled = slt.align(one, other, tolerance=TOLERANCE)
    shifted = slt.align_shifted(one, other, length=length, tolerance=TOLERANCE)
    expected, holds = "p < .05 for both", None
    if shuffled.count:
        expected = f"> {shuffled.null:.0%}; {shifted.null:.0%}, p < .05"
        holds = bool(shuffled.p_value < 0.05 and shifted.p_value < 0.05)
    value, count, headline = shuffled.share, shuffled.count, text in HEADLINES
    text, source = f"{text} within {TOLERANCE} checkpoints", "null: runs shuffled; shifted in time"
    return Claim(text, source, expected, value, count=count, unit="share", holds=holds, headline=headline)


def _fall(text: str, results: xr.Dataset, prefix: str, first: int) -> Claim:
    """Whether a loss falls more across the jumps of D_i than across windows at random, from `first` on."""
    low, high = (results[f"{prefix}dimensionality_{end}"].values for end in ("low", "high"))
    windows = []
    for run_low, run_high in zip(low, high, strict=True):
        there = np.isfinite(run_low)
        windows.append(
            list(zip(run_low[there].astype(int).tolist(), run_high[there].astype(int).tolist(), strict=True))
        )
    found = slt.fall(np.log(results[f"{prefix}loss"].values), windows, first=first)
    holds = bool(found.p_value < 0.05) if found.count else None
    return Claim(text, ELHAGE, f"> {found.null:.2g}, p < .05", found.mean, count=found.count, holds=holds)


def _llc(results: xr.Dataset) -> list[Claim]:
    runs = [np.diff(changes.medians(results, run)) for run in range(results.sizes["run"])]
    rises = [change > 0 for run in runs for change in run if np.isfinite(change)]
    text = "transitions of the loss at which lambda-hat rises"
    made = [share(text, rises, "Chen et al. 2023, for polygons", "all", holds=every(rises), headline=True)]
    for i in range(len(results.known) - 1):
        change = [run[i] for run in runs if len(run) > i]
        made.append(mean(f"its change at transition {i + 1} of the loss, by medians between", change, tell.ASKED))
    made += [*squares(results), together(results, "llc", "lambda-hat"), together(results, "dimensionality", "a D_i")]
    for name in map(str, results.setting.values):
        made.append(tell.disguise(results, name, headline=name == changes.MAIN)[0])
        made.append(tell.believed(results, name)[0])
    return made


def together(results: xr.Dataset, other: str, what: str) -> Claim:
    """Spearman's correlation over runs of when the last transition of the loss and of another curve is."""
    pairs = zip(places(results.loss_jump), places(results[f"{other}_jump"]), strict=True)
    last = [(a[-1], b[-1]) for a, b in pairs if a and b]
    rho, holds = np.nan, None
    if len(last) >= 4 and np.ptp(last, axis=0).min() > 0:
        rho, p_value = np.asarray(scipy.stats.spearmanr(*np.transpose(last)), float)
        holds = bool(rho > 0 and p_value < 0.05)
    text = f"rank correlation of the last transition of the loss and of {what}"
    return Claim(text, tell.ASKED, "> 0, p < .05", float(rho), count=len(last), holds=holds)


def squares(results: xr.Dataset) -> list[Claim]:
    """R^2 of the main lambda-hat with what is known without sampling, over all checkpoints at which it is usable."""
    value = usable(results)[0]
    known = {
        "the loss": results.loss.values,
        "log(loss)": np.log(results.loss.values),
        "sum D_i": results.dimensionality.values.sum(-1),
        "1/2 sum h/(h + gamma/nbeta)": changes.hessian_sum(results),
    }
    seen = np.isfinite(value + sum(known.values()))
    fits = {name: slt.regress(x[seen], value[seen]).r_squared for name, x in known.items()}
    return [Claim(f"R^2 of usable lambda-hat with {name}, pooled", tell.ASKED, "-", fit) for name, fit in fits.items()]


def _levels(results: xr.Dataset) -> list[Claim]:
    first, D, many = settled(results), results.level_dimensionality.values, "many features"
    near = (np.abs(D[:, -1, :, None] - FRACTIONS) < WIDTH).any(axis=-1)
    length, at = results.sizes["level_step"] - first, {}
    for name in ("loss", "dimensionality"):
        at[name] = [[i - first for i in run] for run in places(results[f"level_{name}_jump"])]
    drops = results.level_loss_jump.values
    gained = -drops[np.isfinite(drops)] / changes.digon(results)
    one = bool(abs(np.median(gained) - 1) < 0.25) if gained.size else None
    half, text = bool(near.mean() > 0.5), f"{many}: final D_i within .03 of a figure's"
    return [
        share(text, near, ELHAGE, "most", holds=half, headline=True),
        coincide(f"{many}: drops of the loss, with D_i", at["loss"], at["dimensionality"], length),
        coincide(f"{many}: jumps of D_i, with the loss", at["dimensionality"], at["loss"], length),
        _fall(f"{many}: fall of log(loss) across a jump of D_i", results, "level_", first),
        median(f"{many}: a drop over what one more digon spares", gained, "exact for unit weights", "1", holds=one),
    ]
