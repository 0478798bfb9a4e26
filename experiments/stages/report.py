"""What each method is said to do, beside what it did on the planted curves."""

import numpy as np
import xarray as xr

from experiments.experiment import Claim

OURS = "this experiment"
SUITED = {"jumps": "change points, inflated", "rises": "process, supported", "kinks": "slope changes, inflated"}
"""Shape -> the method that is meant for it."""


def claims(results: xr.Dataset) -> list[Claim]:
    """False alarms of every method against those stated; recall and precision where it should work; `align`."""
    alarms = [_alarms(results, str(method)) for method in results.detector.values]
    return [*alarms, *[_found(results, shape) for shape in SUITED], _intervals(results), *_alignment(results)]


def _alarms(results: xr.Dataset, method: str) -> Claim:
    white, correlated = (
        float(results.alarms.sel(detector=method, shape="noise", noise=noise).isel(size=0)) for noise in ("white", "correlated")
    )  # fmt: skip
    stated = {"differences": 0.02, "change points": 0.05, "slope changes": 0.05, "process, as published": np.nan}
    bound = stated.get(method, 0.15)
    both = "inflated" in method
    worst = max(white, correlated) if both else white
    return Claim(
        f"{method}: curves of noise alone in which it finds a boundary (white; correlated)",
        "the recipe of Hoogland et al. 2024" if method == "process, as published" else OURS,
        "not stated" if np.isnan(bound) else f"at most {bound:.0%}" + (" in both" if both else " in white noise"),
        f"{white:.0%}; {correlated:.0%}",
        None if np.isnan(bound) else bool(worst <= bound),
    )


def _found(results: xr.Dataset, shape: str) -> Claim:
    here = results.sel(shape=shape)
    method = SUITED[shape]
    best = here.sel(noise="white").isel(size=-1)
    show = lambda name, method, noise: ", ".join(
        "-" if np.isnan(v) else f"{v:.2f}" for v in here[name].sel(detector=method, noise=noise).values
    )
    sizes = ", ".join(f"{size:g}" for size in results["size"].values)
    other = here.recall.sel(noise="white").mean("size") + here.precision.sel(noise="white").fillna(0).mean("size")
    winner = str(results.detector.values[int(np.argmax(other.values))])
    good = float(best.recall.sel(detector=method)) >= 0.9 and float(best.precision.sel(detector=method)) >= 0.8
    return Claim(
        f"{shape}: recall / precision of {method} at changes of {sizes} standard errors (white; correlated)",
        OURS,
        ">= .9 / >= .8 at the largest, white",
        "; ".join(f"{show('recall', method, n)} / {show('precision', method, n)}" for n in ("white", "correlated"))
        + f"; best of all methods in white noise: {winner}",
        bool(good),
    )


def _intervals(results: xr.Dataset) -> Claim:
    pairs = [("jumps", "change points, inflated"), ("kinks", "slope changes, inflated")]
    values = [results.coverage.sel(shape=s, detector=m, noise="white").values for s, m in pairs]
    text = "; ".join(f"{s} {', '.join('-' if np.isnan(v) else f'{v:.2f}' for v in row)}" for (s, _), row in zip(pairs, values, strict=True))  # fmt: skip
    least = np.nanmin([np.nanmin(row[1:]) if np.isfinite(row[1:]).any() else np.nan for row in values])
    return Claim(
        "intervals of 95 %: share that holds the planted place, white noise, by size",
        OURS,
        ">= .9 from the second size on",
        text,
        bool(least >= 0.9),
    )


def _alignment(results: xr.Dataset) -> list[Claim]:
    null, planted = results.p_value.values
    below = float(np.mean(null <= 0.05))
    return [
        Claim(
            "align: p <= .05 for unrelated transitions of twelve runs",
            "a permutation test",
            "at most 5 %, within its error",
            f"{below:.0%} of {len(null)}",
            bool(below <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(null))),
        ),
        Claim(
            "align: p <= .05 where half of the transitions coincide",
            OURS,
            ">= 90 %",
            f"{np.mean(planted <= 0.05):.0%}",
            bool(np.mean(planted <= 0.05) >= 0.9),
        ),
    ]
