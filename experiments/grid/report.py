"""What the `grid` experiment claims: how often the verdict is right about a cell, from its results alone."""

from collections import Counter
from typing import NamedTuple

import numpy as np
import xarray as xr

from experiments.experiment import Claim

OFF, NEAR = 0.2, 0.05  # an error of the estimate, in units of the exact value
FLAT = 0.1  # a trace whose halves agree to this share looks flat
DEVINTERP, HERE = "devinterp 1.3.2 and 2.0.1", "this experiment"


class Cells(NamedTuple):
    """What is known of each cell whose exact value is: the error beyond two standard errors, what was found."""

    off: np.ndarray
    near: np.ndarray
    flagged: np.ndarray
    suspicious: np.ndarray  # by the trace alone: not finite, negative, or its halves differ


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
    return Cells(*(a[known] for a in (off, near, r.findings.values != "", suspicious)))


def claims(results: xr.Dataset) -> list[Claim]:
    """What the verdict is worth, where the plateau lies, and what other tools' settings give."""
    return [*_verdict_claims(results), *_plateau_claims(results), *_published_claims(results)]


def _verdict_claims(results: xr.Dataset) -> list[Claim]:
    c, recalls, alarms = cells(results), [], []
    for name in results.model.values:
        one = cells(results.sel(model=[name]))
        recalls.append(f"{name} {share(one.flagged, one.off)}")
        alarms.append(f"{name} {share(one.flagged, one.near)}")
    said = Counter(kind for cell in results.findings.values.ravel() for kind in str(cell).split(", ") if kind)
    said_near = ", ".join(f"{kind} {count / results.findings.size:.0%}" for kind, count in said.most_common())
    good = lambda ratio, least: None if np.isnan(ratio) else bool(ratio >= least)
    recall, quiet = _mean(c.flagged, c.off), 1 - _mean(c.flagged, c.near)
    return [
        Claim(
            "cells off by more than 20 % beyond two standard errors that the verdict flags", HERE, ">= 90 %",
            f"{share(c.flagged, c.off)}: {', '.join(recalls)}", good(recall, 0.9),
        ),
        Claim(
            "cells within 5 % of the exact value that it flags (false alarms)", HERE, "<= 20 %",
            f"{share(c.flagged, c.near)}: {', '.join(alarms)}", good(quiet, 0.8),
        ),
        Claim("cells it finds nothing in that are off by more than 20 %", HERE, "<= 5 %", share(c.off, ~c.flagged),
              good(1 - _mean(c.off, ~c.flagged), 0.95)),
        Claim(
            "the same three by the loss trace alone (finite, positive, halves within 10 %)", "the obvious", "-",
            f"{share(c.suspicious, c.off)}, {share(c.suspicious, c.near)}, {share(c.off, ~c.suspicious)}", None,
        ),
        Claim("what the verdict finds, share of all cells", HERE, "-", said_near or "nothing", None),
    ]  # fmt: skip


def _plateau_claims(results: xr.Dataset) -> list[Claim]:
    last, rows = results.isel(nbeta=-1), []
    for name in results.model.values:
        r = results.sel(model=name)
        texts = [
            f"{p:.3g} [{a:.3g}, {b:.3g}]" if np.isfinite(p) else "none"
            for p, a, b in zip(r.plateau.values, r.plateau_low.values, r.plateau_high.values, strict=True)
        ]
        geometry = float(r.gaussian.isel(nbeta=-1).sel(gamma=1, method="nearest"))
        beside = f"Hessian {geometry:.3g}, half the parameters {float(r.parameters) / 2:g}"
        rows.append((name, float(r.truth), ", ".join(texts), beside))
    at = ", ".join(f"{nbeta:.3g}" for nbeta in results.nbeta.values)
    near = np.abs(last.plateau.values / last.truth.values - 1)
    return [
        *(
            Claim(
                f"{name}: plateau [least, most] at n*beta {at}",
                "theory",
                f"lambda = {truth:g}",
                f"{text} ({beside})",
                None if np.isnan(distance) else bool(distance < OFF),
            )
            for (name, truth, text, beside), distance in zip(rows, near, strict=True)
        ),
        Claim(
            "estimates on the plateaus, largest distance from their exact values", HERE, "<= 20 %", *_inside(results)
        ),
    ]


def _inside(results: xr.Dataset) -> tuple[str, bool | None]:
    """The cells of plateaus against what an exact sampler returns with their settings."""
    value, exact, member = xr.broadcast(results.value, results.exact, results.member)
    inside = member.values.astype(bool) & np.isfinite(exact.values)
    if not inside.any():
        return "no plateau", None
    apart = np.abs(value.values[inside] / exact.values[inside] - 1)
    return f"{apart.max():.0%}, median {np.median(apart):.1%}, of {inside.sum()} cells", bool(apart.max() <= OFF)


def _published_claims(results: xr.Dataset) -> list[Claim]:
    out = []
    for setting in results.setting.values:
        texts = []
        for name in results.model.values:
            r = results.sel(model=name, setting=setting)
            found = str(r.published_findings.values) or "nothing found"
            texts.append(f"{name} {float(r.published):.3g} for {float(r.truth):.3g} ({found})")
        out.append(
            Claim(
                f"lambda-hat from 4 x 200 draws without warm-up, {setting}", DEVINTERP, "lambda", "; ".join(texts), None
            )
        )
    return out


def share(of: np.ndarray, among: np.ndarray) -> str:
    return f"{_mean(of, among):.0%} of {among.sum()}" if among.any() else "none"


def _mean(of: np.ndarray, among: np.ndarray) -> float:
    return float(of[among].mean()) if among.any() else np.nan
