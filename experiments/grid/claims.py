"""What the `grid` experiment claims: how often the verdict is right about a cell, from its results alone."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from experiments.shared.claims import Claim, median, share

OFF, NEAR = 0.2, 0.05  # an error of the estimate, in units of the exact value
FLAT = 0.1  # a trace whose halves agree to this share looks flat
DEVINTERP, HERE, OBVIOUS = "devinterp 1.3.2 and 2.0.1", "asked here", "the obvious"


class Cells(NamedTuple):
    """What is known of each cell whose exact value is: how far off it is, and which of two rules doubts it.

    off: by more than 20 % beyond two standard errors, or not finite.      near: within 5 %.      flagged: by `verdict`.
    suspicious: by the trace of the loss alone, not finite, negative, or with halves that differ by 10 %.
    """

    off: np.ndarray
    near: np.ndarray
    flagged: np.ndarray
    suspicious: np.ndarray


def cells(results: xr.Dataset) -> Cells:
    """Over (model, step_size, nbeta, gamma), flattened; cells without an exact value are left out."""
    r = results.transpose("model", "step_size", "nbeta", "gamma", ...)
    value, stderr = r.value.values, r.stderr.values
    exact, truth_error = (np.broadcast_to(r[name].values[:, None], value.shape) for name in ("exact", "exact_stderr"))
    known = np.isfinite(exact)
    with np.errstate(invalid="ignore"):
        apart = np.abs(value - exact)
        off = ~(apart <= OFF * exact + 2 * np.hypot(stderr, truth_error))
        near = apart <= NEAR * exact
        suspicious = ~((value > 0) & (np.abs(r.drift.values) <= FLAT))
    flagged = r.findings.values != ""
    return Cells(*(a[known] for a in (off, near, flagged, suspicious)))


def silent(results: xr.Dataset) -> np.ndarray:
    """Cells of one model and n*beta that are off and in which nothing was found, (step_size, gamma)."""
    apart, exact = np.abs(results.value.values - results.exact.values[None]), results.exact.values[None]
    off = apart > OFF * exact + 2 * np.hypot(results.stderr.values, results.exact_stderr.values[None])
    return off & (results.findings.values == "")


def claims(results: xr.Dataset) -> list[Claim]:
    """What the verdict is worth, where the plateau lies, and what other tools' settings give."""
    return [*verdicts(results), *plateaus(results), *members(results), *published(results)]


def verdicts(results: xr.Dataset) -> list[Claim]:
    """How often the verdict, and a look at the trace, doubt the cells that are off, and those that are near."""
    c, made = cells(results), []
    for rule, found in (("verdict", c.flagged), ("the loss trace alone", c.suspicious)):
        ours = rule == "verdict"
        asked = {
            f"{rule} doubts, of cells off by more than 20 %": (found[c.off], 0.9, 1.0),
            f"{rule} doubts, of cells within 5 %": (found[c.near], 0.0, 0.2),
            f"off, of cells that {rule} does not doubt": (c.off[~found], 0.0, 0.05),
        }
        for text, (hits, low, high) in asked.items():
            expected = f">= {low:.0%}" if low > 0 else f"<= {high:.0%}"
            claim = share(text, hits, HERE if ours else OBVIOUS, expected, headline=ours)
            made.append(claim._replace(holds=low <= claim.value <= high) if ours and hits.size else claim)
    return made


def plateaus(results: xr.Dataset) -> list[Claim]:
    """Does the plateau at the largest n*beta that has one lie within 20 % of lambda, beside the simplest geometry?"""
    made = []
    for name in map(str, results.model.values):
        r = results.sel(model=name)
        truth, source = float(r.truth), f"lambda = {float(r.truth):g}"
        found = r.dropna("nbeta", subset=["plateau"])
        last = found.isel(nbeta=-1) if found.sizes["nbeta"] else r.isel(nbeta=-1)
        value, low, high = (float(last[field]) for field in ("plateau", "plateau_low", "plateau_high"))
        holds = bool(abs(value / truth - 1) < OFF) if np.isfinite(value) else None
        made.append(Claim(f"{name}: plateau [least, most]", "theory", source, value, low, high, holds=holds))
        geometry = float(r.gaussian.isel(nbeta=-1).sel(gamma=1, method="nearest"))
        made.append(Claim(f"{name}: Gaussian at w*, gamma 1", OBVIOUS, source, geometry))
    return made


def members(results: xr.Dataset) -> list[Claim]:
    """The cells of plateaus against what an exact sampler returns with their settings."""
    value, exact, member = (a.values for a in xr.broadcast(results.value, results.exact, results.member))
    inside = member.astype(bool) & np.isfinite(exact)
    apart = np.abs(value[inside] / exact[inside] - 1)
    most, text = float(apart.max()) if apart.size else np.nan, "estimates on plateaus: {} error against the exact value"
    holds = bool(most <= OFF) if apart.size else None
    return [
        Claim(text.format("largest"), HERE, f"<= {OFF}", most, count=apart.size, holds=holds, headline=True),
        median(text.format("median"), apart, HERE),
    ]


def published(results: xr.Dataset) -> list[Claim]:
    """What the settings of another tool give on the models, without warm-up."""
    made = []
    for setting in map(str, results.setting.values):
        off = np.abs(results.published.sel(setting=setting).values / results.truth.values - 1)
        made.append(median(f"{setting}: |lambda-hat/lambda - 1|, models", off, DEVINTERP, "0"))
    return made
