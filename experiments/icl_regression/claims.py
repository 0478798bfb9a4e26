"""What is said of the stages of in-context regression, beside what was measured; of lambda-hat, beside the loss."""

import numpy as np
import scipy.stats
import xarray as xr

from experiments.icl_regression.stages import edges
from experiments.shared import tell
from experiments.shared.claims import Claim, median, share

HOOGLAND, RAVENTOS = "Hoogland et al. 2024", "Raventos et al. 2023"
FILES = "published files of Hoogland et al. 2024"
SETTINGS = ("loose", "localised", "second")
NEAR = 0.1  # of the way from the zero predictor to ridge
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
        *tell.disguise(results, "loose", FILES, expected=True, headline=True),
        *tell.disguise(results, "localised"),
        *_survives(results),
        *_boundaries(results),
        *_diversity(results),
        *published(results),
        *tell.believed(results, "loose"),
        *tell.believed(results, "localised"),
    ]


def curve(results: xr.Dataset, name: str) -> np.ndarray:
    """lambda-hat of every run, or its loss."""
    return results.loss.values if name == "loss" else results.value.sel(setting=name).values


def title(results: xr.Dataset, name: str) -> str:
    """A setting by its name and temperature."""
    if name == "loss":
        return name
    return f"{'localised' if name == 'second' else name} at nbeta {float(results.nbeta.sel(setting=name)):g}"


def change(results: xr.Dataset, name: str, stage: int) -> np.ndarray:
    """By how much a curve changes over the stage (0: to LR1's end, 1: LR2, 2: what follows), in each run."""
    values, at = curve(results, name), edges(results)
    marks = np.column_stack([np.zeros(len(at), int), at, np.full(len(at), values.shape[1] - 1)])
    rows = np.arange(len(at))
    return values[rows, marks[:, stage + 1]] - values[rows, marks[:, stage]]


def over_runs(text: str, values: np.ndarray, source: str, *, sign: int = 0, headline: bool = False) -> Claim:
    """The mean over runs with its interval by Student's t; whether it has the sign is open if that has both."""
    n, mean, low, high = len(values), float(np.mean(values)), np.nan, np.nan
    if n > 1:
        half = float(scipy.stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n))
        low, high = mean - half, mean + half
    decided = sign != 0 and (low > 0 or high < 0)
    holds = bool(sign * mean > 0) if decided else None
    return Claim(text, source, {1: "> 0", -1: "< 0", 0: "-"}[sign], mean, low, high, n, "", holds, headline)


def _learned(results: xr.Dataset) -> list[Claim]:
    """The zero predictor at the end of LR1, and ridge at the end of training."""
    fresh = results.sel(prior="fresh", on="fresh").mean("position")
    at, rows, step = edges(results), np.arange(results.sizes["seed"]), results.step.values
    mse, ridge, size, zero = (fresh[name].values for name in ("mse", "ridge", "size", "zero"))
    first = at[:, 0]
    ratio, small = (mse / zero)[rows, first], (size / zero)[rows, first]
    inside = bool((first > 0).all() and (first < step.size - 1).all())
    predicts = bool(inside and np.all(np.abs(ratio - 1) < 0.05) and np.all(small < 0.05))
    left = ((mse - ridge) / (zero - ridge))[:, -1]
    off = np.abs(zero[:, 0] - results.attrs["chance"]) / zero_error(results)
    text, end = "LR1 ends in the zero predictor: MSE over the zero predictor's", bool(np.all(left < NEAR))
    near = "LR2 ends near ridge: share of the way from zero that is left"
    return [
        median(text, ratio, HOOGLAND, "1 within 5 %, inside", holds=predicts, headline=True),
        median("its |y-hat|^2 over E y^2", small, HOOGLAND, "< .05", holds=bool(np.all(small < 0.05))),
        median(near, left, HOOGLAND, "< 10%", holds=end, headline=True),
        median("zero predictor's loss, off D + sigma^2", off, "exact", "< 4", unit="s.e.", holds=bool(np.all(off < 4))),
    ]


def zero_error(results: xr.Dataset) -> float:
    """The exact standard error of the zero predictor's loss: of K squares given w, and of |w|^2."""
    d, k, chance = (results.attrs[name] for name in ("dimensions", "examples", "chance"))
    return float(np.sqrt((2 * (2 * d + chance**2) / k + 2 * d) / results.attrs["samples"]))


def _survives(results: xr.Dataset) -> list[Claim]:
    """The change of loss and lambda-hat over each stage."""
    made = []
    for stage, name in enumerate(("LR1", "LR2", "after LR2")):
        rises = int(stage < 2)
        loss = change(results, "loss", stage)
        made.append(over_runs(f"{name}: change of the loss", loss, HOOGLAND, sign=-rises))
        for setting in SETTINGS:
            text, head = (
                f"{name}: change of lambda-hat, {title(results, setting)}",
                (stage, setting) == (1, "localised"),
            )
            made.append(over_runs(text, change(results, setting, stage), HOOGLAND, sign=rises, headline=head))
    return made


def largest(results: xr.Dataset, name: str) -> np.ndarray:
    """(run, 3): step, low and high of the largest change of level of each run's curve; NaN where there is none."""
    return results.change.sel(reading=name, at=["step", "low", "high"]).isel(number=0).values


def lag(results: xr.Dataset, one: str, other: str) -> np.ndarray:
    """How many checkpoints the largest change of one curve comes after that of the other, in each run."""
    places = []
    for name in (one, other):
        at = largest(results, name)[:, 0]
        nearest = np.abs(results.step.values[None] - np.nan_to_num(at)[:, None]).argmin(axis=1)
        places.append(np.where(np.isfinite(at), nearest, np.nan))
    return places[0] - places[1]


def _boundaries(results: xr.Dataset) -> list[Claim]:
    """Whether curves change most where the loss does, and what depends on the temperature."""
    made = []
    pairs = [(setting, "loss") for setting in SETTINGS] + [("second", "localised")]
    for one, other in pairs:
        found = lag(results, one, other)
        holds = None if np.isnan(found).all() else bool(np.all(np.abs(found) <= 1))
        text = f"largest change, {title(results, one)}, after {title(results, other)}"
        made.append(
            median(text, found, tell.ASKED, "within 1", unit="checkpoints", holds=holds, headline=one == "localised")
        )
    one, other, after = curve(results, "localised"), curve(results, "second"), edges(results)[:, 1]
    ratio = np.array([np.median(b[i:] / a[i:]) for a, b, i in zip(one, other, after, strict=True)])
    text = f"lambda-hat once LR2 is over, {title(results, 'second')} over the other"
    same = bool(np.all(np.abs(ratio - 1) < 0.1))
    return [*made, median(text, ratio, "a coefficient has no nbeta", "1 within 10 %", holds=same, headline=True)]


def _diversity(results: xr.Dataset) -> list[Claim]:
    """At the end, the distances to ridge and to the Bayes predictor of the run's own few tasks."""
    last, pool = results.isel(step=-1).mean("position"), int(results.attrs["pool"])
    made = []
    for prior, text in (("fresh", "trained on fresh tasks: nearer to ridge"), ("few", f"on {pool}: nearer to dmmse")):
        here = last.sel(prior=prior, on=prior)
        nearer = (here.to_ridge < here.to_dmmse).values == (prior == "fresh")
        made.append(share(text, nearer, RAVENTOS, "all", holds=bool(nearer.all())))
    away = last.sel(prior="few", on="fresh")
    return [*made, median(f"on {pool}: MSE on fresh tasks, over ridge's", (away.mse / away.ridge).values, RAVENTOS)]


def published(results: xr.Dataset) -> list[Claim]:
    """The five stages of the published runs; nothing where the run is not one of their length and task."""
    if [results.attrs[name] for name in ("steps", "dimensions", "examples")] != [500_000, 4, 8]:
        return []
    step, made = results.step.values, []
    for name, (start, stop, llc, loss) in PUBLISHED.items():
        a, b = (int(np.argmin(np.abs(step - edge))) for edge in (start, stop))
        for what, (low, high) in (("loose", llc), ("loss", loss)):
            values = curve(results, what)[:, b] - curve(results, what)[:, a]
            slack = max(0.1 * max(abs(low), abs(high)), 4.0 if what == "loose" else 0.02)
            inside = bool(low - slack <= values.mean() <= high + slack)
            text = f"{name}, steps {start} to {stop}: change, {title(results, what)}"
            claim = over_runs(text, values, FILES)
            made.append(claim._replace(expected=f"{low:g} to {high:g}, +-{slack:.2g}", holds=inside))
    return made
