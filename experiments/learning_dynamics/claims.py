"""What is said of both trainings: the source's words beside the measured numbers."""

import numpy as np
import scipy.stats
import xarray as xr

import slt
from experiments.learning_dynamics import changes
from experiments.learning_dynamics.changes import HOLD, WIDTH, falls, places, settled, usable
from experiments.learning_dynamics.jumps import on_level, sequence
from experiments.shared import tell
from experiments.shared.claims import Claim, every, mean, median, share

ELHAGE = "Elhage et al. 2022"
TOLERANCE = 3  # checkpoints between two transitions that count as one; a third of the time, for the octahedron
FRACTIONS = np.array([0, 1 / 3, 2 / 5, 1 / 2, 2 / 3, 3 / 4, 1])  # D_i of the figures
NEAR = 0.05  # of the logarithm of a loss, to a level of the theory
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


def figures_of(results: xr.Dataset, run: int) -> list[tuple[int, str]]:
    """The figures of one run that last, with the checkpoint at which each begins."""
    return sequence([str(name) for name in results.figure.values[run]], HOLD)


def _figures(results: xr.Dataset) -> list[Claim]:
    runs, last = range(results.sizes["run"]), results.figure.values[:, -1]
    seen = [[name for _, name in figures_of(results, run)] for run in runs]
    octahedra, lines = last == "octahedron", ["two lines" in names for names in seen]
    halves = np.abs(results.dimensionality.values[:, -1] - 0.5) < WIDTH
    across = [_across(results.W.values[run, -1]) for run in runs if octahedra[run]]
    distance = np.log(results.loss.values[:, :, None] / results.figure_loss.values)
    reached = np.nanmin(np.abs(distance), axis=1) < NEAR
    text = "levels of the theory that a run's loss comes within 5 % of"
    return [
        share("runs that end in the octahedron", octahedra, ELHAGE, "all", holds=every(octahedra), headline=True),
        share("D_i at the end that are 1/2 within .03", halves, "exact", "all", holds=every(halves)),
        share("antipodal pairs that join the two sets", across, ELHAGE, "all", holds=every(across)),
        share("runs by way of two lines, each set merged on one", lines, ELHAGE, "all", holds=every(lines)),
        share(text, reached, "exact; merged pairs: a saddle found numerically", "all", holds=every(reached)),
    ]


def _across(W: np.ndarray) -> list[bool]:
    """Of each feature of the first set, whether its antipode, the least cosine, is in the second."""
    direction, half = W / np.linalg.norm(W, axis=0), W.shape[1] // 2
    return list((direction.T @ direction)[:half].argmin(axis=1) >= half)


def _transitions(results: xr.Dataset) -> list[Claim]:
    at = {name: places(results[f"{name}_jump"]) for name in ("loss", "dimensionality", "llc")}
    known = len(results.known) - 1
    right = [len(run) == known for run in at["loss"]]
    across = falls(results.loss, results.dimensionality_low, results.dimensionality_high)
    found = [coincide(text, at[one], at[other], results.sizes["step"]) for one, other, text in PAIRS]
    return [
        share(f"runs whose loss has {known} transitions", right, "the levels of the theory", "all", holds=every(right)),
        *found,
        _fall("fall of log(loss) across a jump of D_i", across),
    ]


def coincide(text: str, one: list[list[int]], other: list[list[int]], length: int) -> Claim:
    """The share of the transitions with one of the other curve within three checkpoints, beside both nulls."""
    text, headline = f"{text} within {TOLERANCE} checkpoints", text in HEADLINES
    shuffled = slt.align(one, other, tolerance=TOLERANCE)
    shifted = slt.align_shifted(one, other, length=length, tolerance=TOLERANCE)
    source = "null: runs shuffled; shifted in time"
    if not shuffled.count:
        return Claim(text, source, "p < .05 for both", np.nan, count=0, unit="share", headline=headline)
    holds = bool(shuffled.p_value < 0.05 and shifted.p_value < 0.05)
    expected = f"> {shuffled.null:.0%}; {shifted.null:.0%}, p < .05"
    return Claim(
        text, source, expected, shuffled.share, count=shuffled.count, unit="share", holds=holds, headline=headline
    )


def _fall(text: str, found: changes.Falls) -> Claim:
    holds = bool(found.p_value < 0.05) if found.count else None
    return Claim(text, ELHAGE, f"> {found.null:.2g}, p < .05", found.mean, count=found.count, holds=holds)


def steps_of(results: xr.Dataset) -> list[list[float]]:
    """For the first, second, ... transition of the loss: the change of lambda-hat in each run that shows both sides."""
    found: list[list[float]] = []
    for run in range(results.sizes["run"]):
        for i, change in enumerate(np.diff(changes.medians(results, run))):
            found += [[] for _ in range(i + 1 - len(found))]
            found[i] += [float(change)] if np.isfinite(change) else []
    return found


def _llc(results: xr.Dataset) -> list[Claim]:
    steps = steps_of(results)
    rises = [change > 0 for found in steps for change in found]
    text = "transitions of the loss at which lambda-hat rises"
    made = [share(text, rises, "Chen et al. 2023, for polygons", "all", holds=every(rises), headline=True)]
    for i, change in enumerate(steps[:4]):
        made.append(mean(f"its change at transition {i + 1} of the loss, by medians between", change, tell.ASKED))
    for name, square in squares(results).items():
        made.append(Claim(f"R^2 of usable lambda-hat with {name}, pooled", tell.ASKED, "-", square))
    made += [together(results, "llc", "lambda-hat"), together(results, "dimensionality", "a D_i")]
    for name in results.setting.values:
        made.append(tell.disguise(results, str(name), headline=name == changes.MAIN)[0])
        made.append(tell.believed(results, str(name))[0])
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


def squares(results: xr.Dataset) -> dict[str, float]:
    """R^2 of the main lambda-hat with what is known without sampling, over all checkpoints at which it is usable."""
    value = usable(results)[0]
    known = {
        "the loss": results.loss.values,
        "log(loss)": np.log(results.loss.values),
        "sum D_i": results.dimensionality.values.sum(-1),
        "1/2 sum h/(h + gamma/nbeta)": changes.hessian_sum(results),
    }
    seen = np.isfinite(value + sum(known.values()))
    if seen.sum() < 3:
        return dict.fromkeys(known, np.nan)
    square = lambda x: np.corrcoef(x[seen], value[seen])[0, 1] ** 2 if np.ptp(x[seen]) > 0 else np.nan
    return {name: float(square(x)) for name, x in known.items()}


def _levels(results: xr.Dataset) -> list[Claim]:
    first, D = settled(results), results.level_dimensionality.values
    near = (np.abs(D[:, -1, :, None] - FRACTIONS) < WIDTH).any(axis=-1)
    names = [name for names in results.level_figures.values for name in str(names).split(", ")]
    digons = np.array(names) == "digon"
    after = on_level(D[:, first:], width=WIDTH, hold=HOLD)
    at = {}
    for name in ("loss", "dimensionality"):
        at[name] = [[i - first for i in run] for run in places(results[f"level_{name}_jump"])]
    length = results.sizes["level_step"] - first
    low, high = results.level_dimensionality_low, results.level_dimensionality_high
    across = falls(results.level_loss, low, high, first=first)
    drops = results.level_loss_jump.values
    gained = -drops[np.isfinite(drops)] / changes.digon(results)
    one = bool(abs(np.median(gained) - 1) < 0.25) if gained.size else None
    many, half = "many features", bool(near.mean() > 0.5)
    most, text = bool(digons.mean() > 0.5), f"{many}: drops of the loss, with D_i"
    return [
        share(f"{many}: final D_i within .03 of a figure's", near, ELHAGE, "most", holds=half, headline=True),
        share(f"{many}: digons among the final figures", digons, ELHAGE, "most", holds=most),
        Claim(f"{many}: time on a level, settled", ELHAGE, "> 90%", after, unit="share", holds=after > 0.9),
        coincide(text, at["loss"], at["dimensionality"], length),
        coincide(f"{many}: jumps of D_i, with the loss", at["dimensionality"], at["loss"], length),
        _fall(f"{many}: fall of log(loss) across a jump of D_i", across),
        median(f"{many}: a drop over what one more digon spares", gained, "exact for unit weights", "1", holds=one),
    ]
