"""What is said of the stages of in-context regression, beside what was measured; of lambda-hat, beside the loss."""

import numpy as np
import xarray as xr
from scipy.stats import t as student

from experiments.curves import believed, disguise
from experiments.experiment import Claim
from experiments.icl_regression.stages import READINGS, edges

HOOGLAND, RAVENTOS, HERE = "Hoogland et al. 2024", "Raventos et al. 2023", "this experiment"
FILES = "published files of Hoogland et al. 2024"
SETTINGS = ("loose", "localised", "second")
NEAR = 0.1  # of the way from the zero predictor to ridge, or to it from where the comparison starts
# Their five stages: first and last step, and over five seeds the least and greatest change of lambda-hat and of MSE.
PUBLISHED = {
    "LR1": (0, 1000, (7.5, 20.9), (-0.31, -0.11)),
    "LR2": (1000, 40_000, (149.5, 152.8), (-2.29, -2.25)),
    "LR3": (40_000, 126_000, (-15.5, -11.7), (-0.08, -0.04)),
    "LR4": (126_000, 320_000, (-44.0, -25.0), (-0.05, -0.04)),
    "LR5": (320_000, 500_000, (-0.7, 9.7), (-0.03, -0.03)),
}


def claims(results: xr.Dataset) -> list[Claim]:
    """What is learned, and when; what the loose curve is; what survives of each stage; where the boundaries lie."""
    return [
        *_learned(results),
        *[disguise(results, name, source=FILES if name == "loose" else HERE, expected=True if name == "loose" else None) for name in SETTINGS],
        *[claim for stage in range(3) for claim in _survives(results, stage)],
        *_boundaries(results),
        *_temperatures(results),
        *[_negative(results, name) for name in SETTINGS],
        *_diversity(results),
        *_published(results),
        *[believed(results, name) for name in SETTINGS],
    ]  # fmt: skip


def curve(results: xr.Dataset, name: str) -> np.ndarray:
    """lambda-hat of every run, or its loss."""
    return results.loss.values if name == "loss" else results.value.sel(setting=name).values


def title(results: xr.Dataset, name: str) -> str:
    """A setting by its name and temperature."""
    return (
        name
        if name == "loss"
        else f"{'localised' if name == 'second' else name} at nbeta {float(results.nbeta.sel(setting=name)):g}"
    )


def change(results: xr.Dataset, name: str, stage: int) -> np.ndarray:
    """By how much a curve changes over the stage (0: to LR1's end, 1: LR2, 2: what follows), in each run."""
    values, at = curve(results, name), edges(results)
    marks = np.column_stack([np.zeros(len(at), int), at, np.full(len(at), values.shape[1] - 1)])
    rows = np.arange(len(at))
    return values[rows, marks[:, stage + 1]] - values[rows, marks[:, stage]]


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean over runs with its 95 % interval by Student's t; without one for a single run."""
    n = len(values)
    half = float(student.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    return float(values.mean()), float(values.mean() - half), float(values.mean() + half)


def _text(values: np.ndarray) -> str:
    mean, low, high = interval(values)
    return f"{mean:+.3g} [{low:+.3g}, {high:+.3g}]"


def _learned(results: xr.Dataset) -> list[Claim]:
    fresh = results.sel(prior="fresh", on="fresh").mean("position")
    at, rows = edges(results), np.arange(results.sizes["run"])
    mse, ridge, size = (fresh[name].values for name in ("mse", "ridge", "size"))
    zero = fresh.zero.values
    first, step = at[:, 0], results.step.values
    ratio, small = (mse / zero)[rows, first], (size / zero)[rows, first]
    inside = bool((first > 0).all() and (first < step.size - 1).all())
    left = ((mse - ridge) / (zero - ridge))[:, -1]
    return [
        Claim("LR1 ends where |y-hat|^2 is least: there the model predicts zero (MSE over the zero predictor's; |y-hat|^2 over E y^2)", HOOGLAND, "1 within 5 %; below 5 %", f"{_each(ratio)} and {_each(small)} at steps {_each(step[first], 'd')}", bool(inside and np.all(np.abs(ratio - 1) < 0.05) and np.all(small < 0.05))),
        Claim(f"the exact loss of the zero predictor, D + sigma^2 = {float(results.attrs['chance']):g}, on the sequences measured", "exact", f"within 4 standard errors, {4 * _zero_error(results):.2g}", _each(zero[:, 0]), bool(np.all(np.abs(zero[:, 0] - results.attrs["chance"]) < 4 * _zero_error(results)))),
        Claim("LR2: at the end regression in context is near ridge (share of the way from zero that is left)", HOOGLAND, f"below {NEAR:.0%}", f"{_each(left, '.1%')}; MSE {_each(mse[:, -1])}, ridge {_each(ridge[:, -1])}; learned at steps {_each(step[at[:, 1]], 'd')}", bool(np.all(left < NEAR))),
    ]  # fmt: skip


def _zero_error(results: xr.Dataset) -> float:
    """The exact standard error of the zero predictor's loss: of K squares given w, and of |w|^2."""
    d, k, chance = (results.attrs[name] for name in ("dimensions", "examples", "chance"))
    return float(np.sqrt((2 * (2 * d + chance**2) / k + 2 * d) / results.attrs["samples"]))


def _each(values: np.ndarray, form: str = ".3g") -> str:
    return ", ".join(format(v, form) for v in values)


def _survives(results: xr.Dataset, stage: int) -> list[Claim]:
    """The change of lambda-hat over a stage under each setting, and what nbeta times the loss's change would give."""
    name = ("LR1", "LR2", "after LR2")[stage]
    loss = change(results, "loss", stage)
    made = [Claim(f"{name}: change of the loss alone", HOOGLAND, "-" if stage == 2 else "below 0", _text(loss), None if stage == 2 or len(loss) < 2 else _signed(-loss))]  # fmt: skip
    for setting in SETTINGS:
        values, nbeta = change(results, setting, stage), float(results.nbeta.sel(setting=setting))
        ratio = _text(values / (-nbeta * loss)) if np.all(loss != 0) else "-"
        made.append(Claim(f"{name}: change of lambda-hat, {title(results, setting)} (over -nbeta times the loss's)", HOOGLAND, "-" if stage == 2 else "above 0, interval without 0", f"{_text(values)} ({ratio})", None if stage == 2 else _signed(values)))  # fmt: skip
    return made


def _signed(values: np.ndarray) -> bool | None:
    """Whether the mean is positive, where its interval does not hold zero."""
    _, low, high = interval(values)
    return True if low > 0 else False if high < 0 else None


def largest(results: xr.Dataset, name: str) -> np.ndarray:
    """(run, 3): step, low and high of the largest change of level of each run's curve; NaN where there is none."""
    return results.change.sel(reading=name, at=["step", "low", "high"]).isel(number=0).values


def between(results: xr.Dataset, one: str, other: str) -> np.ndarray:
    """How many checkpoints the largest change of one curve comes after that of the other, in each run."""
    step = results.step.values
    place = lambda name: [float(np.argmin(np.abs(step - s))) if np.isfinite(s) else np.nan for s in largest(results, name)[:, 0]]  # fmt: skip
    return np.subtract(place(one), place(other))


def _boundaries(results: xr.Dataset) -> list[Claim]:
    """Three ways: the largest change of level, the plateaus of a Gaussian process; off the model, see LR1 and LR2 above."""
    made = []
    for name in READINGS:
        spans = "; ".join(f"{a:.0f} [{b:.0f}, {c:.0f}]" if np.isfinite(a) else "none" for a, b, c in largest(results, name))  # fmt: skip
        made.append(Claim(f"largest change of level, {title(results, name)}: first step after it, with its interval, of each run", HERE, "-", spans, None))  # fmt: skip
    for name in READINGS:
        both = [f"{recipe}: {_milestones(results, name, recipe)}" for recipe in results.recipe.values]
        made.append(Claim(f"milestones, {title(results, name)}: plateaus of a Gaussian process, those between certain stages", HOOGLAND, "-", " | ".join(both), None))  # fmt: skip
    for name in SETTINGS:
        lag = between(results, name, "loss")
        holds = None if np.isnan(lag).all() else bool(np.all(np.abs(lag) <= 1))
        made.append(Claim(f"the largest change of lambda-hat, {title(results, name)}, is the loss's (checkpoints after it)", HERE, "within 1", _each(lag, "+.0f"), holds))  # fmt: skip
    return made


def _milestones(results: xr.Dataset, name: str, recipe: str) -> str:
    rows = results.milestone.sel(reading=name, recipe=recipe).values
    one = lambda row: f"{row[0]:.0f} [{row[1]:.0f}, {row[2]:.0f}]"
    return "; ".join(", ".join(one(row) for row in run if np.isfinite(row[0])) or "none" for run in rows)


def _temperatures(results: xr.Dataset) -> list[Claim]:
    """The localised boundary and curve at two temperatures."""
    lag = between(results, "second", "localised")
    one, other = curve(results, "localised"), curve(results, "second")
    after = edges(results)[:, 1]
    ratio = np.array([np.median(b[i:] / a[i:]) for a, b, i in zip(one, other, after, strict=True)])
    together = np.array([_ranks(a, b) for a, b in zip(one, other, strict=True)])
    names = f"{title(results, 'second')} against {float(results.nbeta.sel(setting='localised')):g}"
    return [
        Claim(f"boundary {names}: the largest change of lambda-hat does not depend on nbeta (checkpoints after it)", HERE, "within 1", _each(lag, "+.0f"), None if np.isnan(lag).all() else bool(np.all(np.abs(lag) <= 1))),
        Claim(f"lambda-hat {names}: median ratio once LR2 is over; rank correlation of the curves", "a coefficient does not depend on nbeta", "1 within 10 %", f"{_each(ratio)}; {_each(together, '.2f')}", bool(np.all(np.abs(ratio - 1) < 0.1))),
        Claim("step at which the localised lambda-hat is largest, at either nbeta; share of its largest value left at the end", HERE, "-", f"{_peak(results, one)} | {_peak(results, other)}", None),
    ]  # fmt: skip


def _ranks(a: np.ndarray, b: np.ndarray) -> float:
    if not np.isfinite(a + b).all():
        return np.nan
    rank = lambda v: np.argsort(np.argsort(v))
    return float(np.corrcoef(rank(a), rank(b))[0, 1])


def _peak(results: xr.Dataset, curves: np.ndarray) -> str:
    finite = [row for row in curves if np.isfinite(row).any()]
    return (
        "; ".join(f"{results.step.values[np.nanargmax(row)]} ({row[-1] / np.nanmax(row):.2f})" for row in finite)
        or "none"
    )


def _negative(results: xr.Dataset, name: str) -> Claim:
    """Coefficients below zero: how many, of which `verdict` says so; they are drawn as they are."""
    here = results.sel(setting=name)
    below = here.value.values < 0
    flagged = np.char.find(here.findings.values.astype(str), "negative") >= 0
    when = results.step.values[below.any(axis=0)]
    measured = f"{below.sum()} of {below.size}, {flagged.sum()} of them flagged as beyond two standard errors"
    if below.any():
        measured += f"; at steps {when.min()} to {when.max()}; least {here.value.values[below].min():.3g}"
    return Claim(f"negative lambda-hat, {title(results, name)}: w* is no minimum there", HERE, "-", measured, None)


def _diversity(results: xr.Dataset) -> list[Claim]:
    """At the end, the distances to ridge and to the Bayes predictor of the run's own few tasks."""
    last = results.isel(time=-1).mean("position")
    pool = int(results.attrs["pool"])
    made = []
    for prior, nearer, text in (("fresh", "ridge", "trained on fresh tasks"), ("few", "dmmse", f"trained on {pool} tasks")):  # fmt: skip
        here = last.sel(prior=prior)
        to = {name: here.sel(on=prior)[f"to_{name}"].values for name in ("ridge", "dmmse")}
        other = "dmmse" if nearer == "ridge" else "ridge"
        made.append(Claim(f"{text}: nearer to {nearer} than to {other}, on its own kind of task (mean squared distances)", RAVENTOS, f"to {nearer} the smaller", f"to ridge {_each(to['ridge'])}; to dmmse {_each(to['dmmse'])}", bool(np.all(to[nearer] < to[other]))))  # fmt: skip
    away = last.sel(prior="few", on="fresh")
    excess = (away.mse / away.ridge).values
    made.append(Claim(f"trained on {pool} tasks: MSE on fresh ones, over ridge's", RAVENTOS, "-", f"{_each(excess)}; distance to ridge {_each(away.to_ridge.values)}, to dmmse {_each(away.to_dmmse.values)}", None))  # fmt: skip
    return made


def _published(results: xr.Dataset) -> list[Claim]:
    """The five stages of the published runs; nothing where the run is not one of their length and task."""
    if results.attrs["steps"] != 500_000 or results.attrs["dimensions"] != 4 or results.attrs["examples"] != 8:
        return []
    step, made = results.step.values, []
    for name, (start, stop, llc, loss) in PUBLISHED.items():
        a, b = (int(np.argmin(np.abs(step - edge))) for edge in (start, stop))
        for what, (low, high) in (("loose", llc), ("loss", loss)):
            values = curve(results, what)[:, b] - curve(results, what)[:, a]
            slack = max(0.1 * max(abs(low), abs(high)), 4.0 if what == "loose" else 0.02)
            inside = bool(low - slack <= values.mean() <= high + slack)
            made.append(Claim(f"{name}, steps {start} to {stop}: change of {'lambda-hat' if what == 'loose' else 'MSE'}, {title(results, what)}", FILES, f"{low:g} to {high:g}, {slack:.2g} more", _text(values), inside))  # fmt: skip
    return made
