"""What is said of the stages of in-context regression, beside what was measured; of lambda-hat, beside the loss."""

import numpy as np
import scipy.stats
import xarray as xr

from experiments.icl_regression.stages import edges
from experiments.shared import tell
from experiments.shared.claims import Claim, every, median, share

HOOGLAND, RAVENTOS = "Hoogland et al. 2024", "Raventos et al. 2023"
NEAR = 0.1  # of the way from the zero predictor to ridge


def claims(results: xr.Dataset) -> list[Claim]:
    """What is learned, and when; what the loose curve is; what survives of each stage; where the boundaries lie."""
    return [
        *_learned(results),
        tell.disguise(results, "loose", HOOGLAND, expected=True, headline=True)[0],
        tell.disguise(results, "localised")[0],
        *_survives(results),
        *_boundaries(results),
        *_diversity(results),
        tell.believed(results, "loose")[0],
        tell.believed(results, "localised")[0],
    ]


def curve(results: xr.Dataset, name: str) -> np.ndarray:
    """lambda-hat of every run under a setting, or its loss."""
    return results.loss.values if name == "loss" else results.value.sel(setting=name).values


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
    fresh, rows = results.sel(prior="fresh", on="fresh").mean("position"), np.arange(results.sizes["seed"])
    first, last = edges(results)[:, 0], results.sizes["step"] - 1
    mse, ridge, size, zero = (fresh[name].values for name in ("mse", "ridge", "size", "zero"))
    ratio, small = (mse / zero)[rows, first], (size / zero)[rows, first]
    predicts = (first > 0) & (first < last) & (np.abs(ratio - 1) < 0.05) & (small < 0.05)
    left = ((mse - ridge) / (zero - ridge))[:, -1]
    text, near = (
        "LR1 ends in the zero predictor: MSE over the zero predictor's",
        "LR2 ends near ridge: share of the way from zero that is left",
    )
    return [
        median(text, ratio, HOOGLAND, "1 within 5 %, inside", holds=every(predicts), headline=True),
        median(near, left, HOOGLAND, "< 10%", holds=every(left < NEAR), headline=True),
    ]


def _survives(results: xr.Dataset) -> list[Claim]:
    """The change of loss and lambda-hat over each stage."""
    made = []
    for stage, name in enumerate(("LR1", "LR2", "after LR2")):
        for what, direction in (("loss", -1), ("loose", 1), ("localised", 1)):
            text = f"{name}: change of {what if what == 'loss' else f'lambda-hat, {what}'}"
            sign, headline = direction * int(stage < 2), (stage, what) == (1, "localised")
            made.append(over_runs(text, change(results, what, stage), HOOGLAND, sign=sign, headline=headline))
    return made


def lag(results: xr.Dataset, one: str, other: str) -> np.ndarray:
    """How many checkpoints the largest change of one curve comes after that of the other, in each run."""
    at = results.change.sel(reading=[one, other], at="step").values
    first, second = np.where(np.isfinite(at), np.searchsorted(results.step.values, at), np.nan)
    return first - second


def _boundaries(results: xr.Dataset) -> list[Claim]:
    """Whether curves change most where the loss does, and what depends on the temperature."""
    made, main, hotter = [], "localised", "localised, hotter"
    for one, other in (("loose", "loss"), (main, "loss"), (hotter, main)):
        found = lag(results, one, other)
        holds = None if np.isnan(found).all() else bool(np.all(np.abs(found) <= 1))
        text, headline = f"largest change, {one}, after that of {other}", one == main
        made.append(median(text, found, tell.ASKED, "within 1", unit="checkpoints", holds=holds, headline=headline))
    after = edges(results)[:, 1]
    pairs = zip(curve(results, main), curve(results, hotter), after, strict=True)
    ratio = np.array([np.median(b[i:] / a[i:]) for a, b, i in pairs])
    text, same = "lambda-hat once LR2 is over, hotter over localised", every(np.abs(ratio - 1) < 0.1)
    return [*made, median(text, ratio, "a coefficient has no nbeta", "1 within 10 %", holds=same, headline=True)]


def _diversity(results: xr.Dataset) -> list[Claim]:
    """At the end, the distances to ridge and to the Bayes predictor of the run's own few tasks."""
    last, pool, made = results.isel(step=-1).mean("position"), int(results.attrs["pool"]), []
    for prior, text in (("fresh", "trained on fresh tasks: nearer to ridge"), ("few", f"on {pool}: nearer to dmmse")):
        here = last.sel(prior=prior, on=prior)
        nearer = (here.to_ridge < here.to_dmmse).values == (prior == "fresh")
        made.append(share(text, nearer, RAVENTOS, "all", holds=every(nearer)))
    return made
