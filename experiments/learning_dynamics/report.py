"""What the `learning_dynamics` experiment claims: the source's words beside the measured numbers, from its results alone."""

import itertools
from collections import Counter

import numpy as np
import xarray as xr
from scipy.stats import spearmanr

from experiments import curves
from experiments.experiment import Claim
from experiments.learning_dynamics.changes import (
    HOLD,
    MAIN,
    WIDTH,
    Falls,
    falls,
    hessian_sum,
    on_level,
    places,
    settled,
    stretches,
    usable,
)
from experiments.learning_dynamics.jumps import sequence
from slt.phases import Alignment, align, align_shifted

ELHAGE, HERE, NULL = "Elhage et al. 2022", "this experiment", "null: runs shuffled; shifted in time"
TOLERANCE = 3  # checkpoints between two transitions that count as one; a third of the time, for the octahedron
FRACTIONS = {"0": 0.0, "1/3": 1 / 3, "2/5": 0.4, "1/2": 0.5, "2/3": 2 / 3, "3/4": 0.75, "1": 1.0}
NEAR = 0.05  # of the logarithm of a loss, to a level of the theory


def claims(results: xr.Dataset) -> list[Claim]:
    """First the octahedron's geometry and its transitions, then what lambda-hat says, then the many features."""
    return [*_figures(results), *_transitions(results), *_llc(results), *_levels(results)]


def figures_of(results: xr.Dataset, run: int) -> list[tuple[int, str]]:
    """The figures of one run that last, with the checkpoint at which each begins."""
    return sequence([str(name) for name in results.figure.values[run]], HOLD)


def frames(results: xr.Dataset, run: int) -> int | None:
    """The checkpoint from which on every D_i is 1/2, if there is one."""
    off = np.flatnonzero(~(np.abs(results.dimensionality.values[run] - 0.5) < WIDTH).all(axis=-1))
    first = int(off[-1]) + 1 if len(off) else 0
    return first if first < results.sizes["time"] else None


def _figures(results: xr.Dataset) -> list[Claim]:
    runs = range(results.sizes["run"])
    last, D = results.figure.values[:, -1], results.dimensionality.values
    seen = [[name for _, name in figures_of(results, run)] for run in runs]
    octahedra, lines = int(np.sum(last == "octahedron")), sum("two lines" in names for names in seen)
    across = [_across(results.W.values[run, -1]) for run in runs if last[run] == "octahedron"]
    counts = Counter(name for names in seen for name in sorted(set(names))).most_common()
    merged = D[results.figure.values == "two lines"]
    reached = [np.nanmin(np.abs(np.log(results.loss.values / level)), axis=1) for level in results.figure_loss.values]
    near = [f"{name} {float(level):.4f}: {np.sum(at < NEAR)}" for name, level, at in zip(results.known.values, results.figure_loss.values, reached, strict=True)]  # fmt: skip
    half = float(np.mean(np.abs(D[:, -1] - 0.5) < WIDTH))
    return [
        Claim("runs that end in the octahedron: three antipodal pairs", ELHAGE, "all", f"{octahedra} of {len(last)}", octahedra == len(last)),
        Claim("D_i at the end that are 1/2 within .03", "exact", "all", f"{half:.0%} (mean {np.mean(D[:, -1]):.3f})", half == 1),
        Claim("antipodal pairs that join the two sets", ELHAGE, "all", f"{sum(across)} of {3 * len(across)}", all(n == 3 for n in across) if across else None),
        Claim("runs that pass through the two lines, each set merged on one (D_i = 1/3)", ELHAGE, "all", f"{lines} of {len(last)}; D_i there {np.median(merged) if merged.size else np.nan:.3f}", lines == len(last)),
        Claim("runs that a figure lasts in (n/m: n features in m dimensions, none of the named)", ELHAGE, "several trajectories exist", ", ".join(f"{name}: {count}" for name, count in counts), None),
        Claim("runs whose loss comes within 5 % of each level of the theory", "exact; merged pairs: a saddle found numerically", "all", ", ".join(near), bool(np.all(np.array(reached) < NEAR))),
        _unseen(results),
    ]  # fmt: skip


def _across(W: np.ndarray) -> int:
    """How many features of the first set have their antipode, the least cosine, in the second."""
    direction = W / np.linalg.norm(W, axis=0)
    half = W.shape[1] // 2
    return int(np.sum((direction.T @ direction)[:half].argmin(axis=1) >= half))


def _unseen(results: xr.Dataset) -> Claim:
    """Two orthonormal frames have D_i = 1/2 however they are turned against each other: the loss and D_i hardly move."""
    step, runs = results.step.values, []
    for run in range(results.sizes["run"]):
        begin = [i for i, name in figures_of(results, run) if name == "octahedron"]
        first = frames(results, run)
        if begin and first is not None and first < begin[-1]:
            loss = results.loss.values[run]
            runs.append((step[begin[-1]] / step[first], loss[begin[-1]] / loss[first] - 1))
    ratio, fall = np.median(runs, axis=0) if runs else (np.nan, np.nan)
    return Claim(
        "runs in which all D_i are 1/2 before the pairs are antipodal: two orthonormal frames, which turn",
        HERE,
        "-",
        f"{len(runs)} of {results.sizes['run']}; the octahedron is there {ratio:.1f} times later, the loss {fall:+.1%}",
        None,
    )


def _transitions(results: xr.Dataset) -> list[Claim]:
    at = {name: places(results[f"{name}_jump"]) for name in ("loss", "dimensionality", "llc")}
    length = results.sizes["time"]
    across = falls(results.loss, results.dimensionality_low, results.dimensionality_high)
    numbers = [len(run) for run in at["loss"]]
    known = len(results.known) - 1
    return [
        Claim("transitions of the loss, each run", "the levels of the theory", f"{known}", str(dict(Counter(numbers))), all(n == known for n in numbers)),
        _aligned("jumps of D_i with a transition of the loss", at["dimensionality"], at["loss"], length),
        Claim("fall of the logarithm of the loss across a jump of D_i", ELHAGE, "each jump a drop", _say_falls(across), bool(across.p_value < 0.05) if across.count else None),
        _aligned("jumps of D_i with a transition of lambda-hat", at["dimensionality"], at["llc"], length),
        _aligned("transitions of the loss with one of lambda-hat", at["loss"], at["llc"], length),
        _aligned("transitions of lambda-hat with one of the loss", at["llc"], at["loss"], length),
    ]  # fmt: skip


def aligned(one: list[list[int]], other: list[list[int]], length: int) -> tuple[Alignment, Alignment]:
    """Against runs paired at random, and against shifts in time."""
    return align(one, other, tolerance=TOLERANCE), align_shifted(one, other, length=length, tolerance=TOLERANCE)


def _aligned(what: str, one: list[list[int]], other: list[list[int]], length: int) -> Claim:
    shuffled, shifted = aligned(one, other, length)
    measured = "no transitions"
    if shuffled.count:
        measured = (
            f"{shuffled.share:.0%} of {shuffled.count}, median lag {shuffled.lag:+g}; null {shuffled.null:.0%}, "
            f"p = {shuffled.p_value:.3f}; shifted {shifted.null:.0%}, p = {shifted.p_value:.3f}"
        )
    holds = bool(shuffled.p_value < 0.05 and shifted.p_value < 0.05) if shuffled.count else None
    return Claim(f"{what} within {TOLERANCE} checkpoints", NULL, "p < .05 against both", measured, holds)


def _say_falls(f: Falls) -> str:
    if f.count == 0:
        return "no jumps"
    return f"{f.mean:.3f}, windows at random {f.null:.3f}, p = {f.p_value:.3f}; {f.share:.0%} of {f.count} fall more than the median window"


def steps_of(results: xr.Dataset) -> list[list[float]]:
    """For the first, second, ... transition of the loss: the change of lambda-hat in each run that shows both sides."""
    found: list[list[float]] = []
    for run in range(results.sizes["run"]):
        for i, ((_, before, _), (_, after, _)) in enumerate(itertools.pairwise(stretches(results, run))):
            found += [[] for _ in range(i + 1 - len(found))]
            found[i] += [after - before] if np.isfinite(after - before) else []
    return found


def _llc(results: xr.Dataset) -> list[Claim]:
    steps = steps_of(results)
    error = usable(results)[1]
    error = float(np.median(error[np.isfinite(error)])) if np.isfinite(error).any() else np.nan
    said = [f"{i + 1}: {np.mean(d):+.2f} ({sum(x > 0 for x in d)} of {len(d)} rise)" for i, d in enumerate(steps) if d]
    rises = [x > 0 for d in steps for x in d]
    fits = _squares(results)
    ask = lambda name: curves.disguise(results, name, source=HERE)
    believed = [curves.believed(results, str(name)) for name in results.setting.values]
    return [
        Claim("change of lambda-hat at each transition of the loss, in their order (medians between transitions)", "Chen et al. 2023, for polygons", "the loss falls, lambda-hat rises", f"{'; '.join(said)}; error of one estimate {error:.2f}" if said else "none", all(rises) if rises else None),
        Claim("R^2 of lambda-hat, where w* may be a minimum, with: the loss, its logarithm, sum D_i, 1/2 sum h/(h + gamma/nbeta)", HERE, "-", ", ".join(f"{name} {value:.2f}" for name, value in fits.items()), None),
        _by_figure(results),
        _together(results, "loss", "llc", "the loss, the later that of lambda-hat"),
        _together(results, "loss", "dimensionality", "the loss, the later that of a D_i"),
        *(ask(str(name)) for name in results.setting.values),
        *believed,
    ]  # fmt: skip


def together(results: xr.Dataset, one: str, other: str) -> tuple[float, float, int]:
    """Spearman's correlation over runs of when the last transition of one curve and of another is, its p, and the runs."""
    last = [(a[-1], b[-1]) for a, b in zip(places(results[f"{one}_jump"]), places(results[f"{other}_jump"]), strict=True) if a and b]  # fmt: skip
    if len(last) < 4 or np.ptp(last, axis=0).min() == 0:
        return np.nan, np.nan, len(last)
    rho, p_value = np.asarray(spearmanr(*np.transpose(last)), float)
    return float(rho), float(p_value), len(last)


def _together(results: xr.Dataset, one: str, other: str, what: str) -> Claim:
    rho, p_value, count = together(results, one, other)
    return Claim(
        f"the later the last transition of {what}: Spearman's correlation over runs",
        HERE,
        "positive, p < .05",
        f"{rho:.2f}, p = {p_value:.4f}, {count} runs",
        bool(rho > 0 and p_value < 0.05) if np.isfinite(rho) else None,
    )


def _by_figure(results: xr.Dataset) -> Claim:
    """The zero input is a kink of the loss at b = 0, where the octahedron has its biases: the Hessian sees one side."""
    value, gaussian = usable(results)[0], hessian_sum(results)
    said = []
    for name in ("nothing", "two lines", "octahedron"):
        here = (results.figure.values == name) & np.isfinite(value) & np.isfinite(gaussian)
        if here.any():
            said.append(f"{name} {np.median(value[here]):.2f} ({np.median(gaussian[here]):.2f})")
    return Claim(
        "lambda-hat by figure, median (in brackets: 1/2 sum h/(h + gamma/nbeta), the Gaussian at w*)",
        HERE,
        "-",
        ", ".join(said) or "none",
        None,
    )


def _squares(results: xr.Dataset) -> dict[str, float]:
    """R^2 of lambda-hat of the main setting with what is known without sampling, over all checkpoints it is usable at."""
    value = usable(results)[0]
    known = {
        "loss": results.loss.values,
        "log loss": np.log(results.loss.values),
        "sum D_i": results.dimensionality.values.sum(-1),
        "Hessian": hessian_sum(results),
    }
    seen = np.isfinite(value) & np.all([np.isfinite(x) for x in known.values()], axis=0)
    if seen.sum() < 3:
        return dict.fromkeys(known, np.nan)
    square = lambda x: float(np.corrcoef(x[seen], value[seen])[0, 1] ** 2) if np.ptp(x[seen]) > 0 else np.nan
    return {name: square(x) for name, x in known.items()}


def _levels(results: xr.Dataset) -> list[Claim]:
    first, D = settled(results), results.level_dimensionality.values
    at = {name: places(results[f"{name}_jump"]) for name in ("level_loss", "level_dimensionality")}
    length = results.sizes["level_time"] - first
    inner = {name: [[i - first for i in run] for run in runs] for name, runs in at.items()}
    near = np.abs(D[:, -1, :, None] - np.array(list(FRACTIONS.values()))) < WIDTH
    shares = {name: float(np.mean(near[..., i])) for i, name in enumerate(FRACTIONS)}
    share = float(near.any(-1).mean())
    drops = results.level_loss_jump.values
    gained = -drops[np.isfinite(drops)] / (results.attrs["digon_gain"] / np.nanmedian(results.level_loss.values[:, -1]))
    across = falls(results.level_loss, results.level_dimensionality_low, results.level_dimensionality_high, first=first)
    figures = Counter(name for names in results.level_figures.values for name in str(names).split(", "))
    after = on_level(D[:, first:]).mean()
    return [
        Claim("many features: D_i at the end within .03 of a fraction of a figure", ELHAGE, "most", f"{share:.0%} ({', '.join(f'{name}: {x:.0%}' for name, x in shares.items() if x > 0)})", share > 0.5),
        Claim("many features: figures at the end, of all runs", ELHAGE, "digons", ", ".join(f"{name}: {n}" for name, n in figures.most_common(4)), figures.most_common(1)[0][0] == "digon"),
        Claim(f"many features: share of the time from step {results.attrs['settle']} on that a D_i is on a level", ELHAGE, "discrete levels, > 90 %", f"{after:.1%}", bool(after > 0.9)),
        _aligned("many features: drops of the loss with a jump of D_i", inner["level_loss"], inner["level_dimensionality"], length),
        _aligned("many features: jumps of D_i with a drop of the loss", inner["level_dimensionality"], inner["level_loss"], length),
        Claim("many features: fall of the logarithm of the loss across a jump of D_i", ELHAGE, "each jump a drop", _say_falls(across), bool(across.p_value < 0.05) if across.count else None),
        Claim("many features: size of a drop, in units of what one more digon spares, p/3 - p^2/4 - p^2/3", "exact for unit weights", "1", f"{np.median(gained):.2f} (median of {gained.size})" if gained.size else "no drop", bool(abs(np.median(gained) - 1) < 0.25) if gained.size else None),
    ]  # fmt: skip


__all__ = ["MAIN", "claims"]
