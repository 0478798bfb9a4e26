"""What the `grid` experiment claims: how often the verdict is right about a cell, from its results alone."""

import numpy as np
import xarray as xr

from experiments.shared.claims import Claim, share

OFF, NEAR = 0.2, 0.05  # an error of the estimate, in units of the exact value
FLAT = 0.1  # a trace whose halves agree to this share looks flat
HERE, OBVIOUS = "asked here", "the obvious"


def off(results: xr.Dataset) -> xr.DataArray:
    """Whether each cell is off by more than 20 % beyond two standard errors, or not finite."""
    room = OFF * results.exact + 2 * np.hypot(results.stderr, results.exact_stderr)
    return ~(abs(results.value - results.exact) <= room)


def silent(results: xr.Dataset) -> xr.DataArray:
    """Cells that are off and in which nothing was found."""
    return off(results) & (results.findings == "") & np.isfinite(results.exact)


def cells(results: xr.Dataset) -> xr.Dataset:
    """What is known of each cell whose exact value is: how far off it is, and which of two rules doubts it.

    off: by more than 20 % beyond two standard errors, or not finite.      near: within 5 %.      flagged: by `verdict`.
    suspicious: by the trace of the loss alone, not finite, negative, or with halves that differ by 10 %.
    """
    known = {
        "off": off(results),
        "near": abs(results.value - results.exact) <= NEAR * results.exact,
        "flagged": results.findings != "",
        "suspicious": ~((results.value > 0) & (abs(results.drift) <= FLAT)),
        "exact": results.exact,
    }
    each = xr.Dataset(known).stack(cell=results.value.dims)
    return each.isel(cell=np.isfinite(each.exact.values))


def claims(results: xr.Dataset) -> list[Claim]:
    """What the verdict is worth, and where the plateau lies."""
    return [*verdicts(results), *plateaus(results), members(results)]


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


def members(results: xr.Dataset) -> Claim:
    """The cells of plateaus against what an exact sampler returns with their settings."""
    apart = abs(results.value / results.exact - 1).where(results.member.astype(bool)).values
    apart = apart[np.isfinite(apart)]
    most, text = max(apart, default=np.nan), "estimates on plateaus: largest error against the exact value"
    holds = bool(most <= OFF) if apart.size else None
    return Claim(text, HERE, f"<= {OFF}", most, count=apart.size, holds=holds, headline=True)
