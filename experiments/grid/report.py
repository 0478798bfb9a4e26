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
    """What is known of each cell whose exact value is: how far off it is, and which of three rules doubts it.

    off: by more than 20 % beyond two standard errors, or not finite.      near: within 5 %.      flagged: by `verdict`.
    bounded: by `verdict`, or above d/2 by two standard errors: no minimum with d parameters has lambda > d/2 (Watanabe
    2009).      suspicious: by the trace of the loss alone, not finite, negative, or with halves that differ by 10 %.
    """

    off: np.ndarray
    near: np.ndarray
    flagged: np.ndarray
    bounded: np.ndarray
    suspicious: np.ndarray


RULES = {"verdict": "flagged", "verdict, or λ̂ > d/2": "bounded", "trace alone": "suspicious"}


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
        above = value - 2 * stderr > r.parameters.values[:, None, None, None] / 2
    flagged = r.findings.values != ""
    return Cells(*(a[known] for a in (off, near, flagged, flagged | above, suspicious)))


def silent(results: xr.Dataset) -> np.ndarray:
    """Cells of one model and n*beta that are off and in which nothing was found, (step_size, gamma)."""
    apart, exact = np.abs(results.value.values - results.exact.values[None]), results.exact.values[None]
    off = apart > OFF * exact + 2 * np.hypot(results.stderr.values, results.exact_stderr.values[None])
    return off & (results.findings.values == "")


def claims(results: xr.Dataset) -> list[Claim]:
    """What the verdict is worth, where the plateau lies, and what other tools' settings give."""
    return [*_verdict_claims(results), *_plateau_claims(results), *_published_claims(results)]


def _verdict_claims(results: xr.Dataset) -> list[Claim]:
    c = cells(results)
    models = {str(name): cells(results.sel(model=[name])) for name in results.model.values}
    each = lambda of, among: ", ".join(f"{n} {share(getattr(m, of), getattr(m, among))}" for n, m in models.items())
    missed = share(c.off, ~c.flagged)
    return [
        Claim(
            "cells off by more than 20 % beyond two standard errors that verdict flags",
            HERE,
            ">= 90 %",
            f"{share(c.flagged, c.off)}: {each('flagged', 'off')}",
            _at_least(0.9, c.flagged, c.off),
        ),
        Claim(
            "cells within 5 % of the exact value that it flags",
            HERE,
            "<= 20 %",
            f"{share(c.flagged, c.near)}: {each('flagged', 'near')}; of these {_kinds(results, near=True)}",
            _at_least(0.8, ~c.flagged, c.near),
        ),
        Claim(
            "cells in which it finds nothing that are off by more than 20 %",
            HERE,
            "<= 5 %",
            missed,
            _at_least(0.95, ~c.off, ~c.flagged),
        ),
        *(
            Claim(
                f"the same three by {rule}",
                "the obvious",
                "-",
                f"{share(found, c.off)}, {share(found, c.near)}, {share(c.off, ~found)}",
                None,
            )
            for rule, found in (("verdict, or lambda-hat > d/2", c.bounded), ("the loss trace alone", c.suspicious))
        ),
        Claim("what verdict finds, share of all cells", HERE, "-", _kinds(results, near=False), None),
    ]


def _at_least(least: float, of: np.ndarray, among: np.ndarray) -> bool | None:
    return bool(of[among].mean() >= least) if among.any() else None


def _kinds(results: xr.Dataset, *, near: bool) -> str:
    """What is found, share of the cells: of all, or of those that are within 5 % and flagged."""
    value, exact, findings = (a.values for a in xr.broadcast(results.value, results.exact, results.findings))
    with np.errstate(invalid="ignore"):
        chosen = (np.abs(value - exact) <= NEAR * exact) & (findings != "") if near else np.ones(value.shape, bool)
    said = Counter(kind for cell in findings[chosen].ravel() for kind in str(cell).split(", ") if kind)
    return ", ".join(f"{kind} {count / chosen.sum():.0%}" for kind, count in said.most_common()) or "nothing"


def _plateau_claims(results: xr.Dataset) -> list[Claim]:
    at = ", ".join(f"{nbeta:.3g}" for nbeta in results.nbeta.values)
    out = [_plateau_claim(results.sel(model=name), str(name), at) for name in results.model.values]
    text, holds = _inside(results)
    return [
        *out,
        Claim("estimates on the plateaus against their exact values: the farthest", HERE, "<= 20 %", text, holds),
    ]


def _plateau_claim(r: xr.Dataset, name: str, at: str) -> Claim:
    """Does the plateau at the largest n*beta that has one lie within 20 % of lambda?"""
    texts = [
        f"{p:.3g} [{low:.3g}, {high:.3g}]" if np.isfinite(p) else "none"
        for p, low, high in zip(r.plateau.values, r.plateau_low.values, r.plateau_high.values, strict=True)
    ]
    found = r.plateau.values[np.isfinite(r.plateau.values)]
    geometry = float(r.gaussian.isel(nbeta=-1).sel(gamma=1, method="nearest"))
    across = f"over all three {float(r.across):.3g}" if np.isfinite(r.across) else "over all three none"
    return Claim(
        f"{name}: plateau [least, most] at n*beta {at}",
        "theory",
        f"lambda = {float(r.truth):g}",
        f"{', '.join(texts)}; {across} (Hessian {geometry:.3g}, half the parameters {float(r.parameters) / 2:g})",
        bool(abs(found[-1] / float(r.truth) - 1) < OFF) if found.size else None,
    )


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
    return f"{of[among].mean():.0%} of {among.sum()}" if among.any() else "none"
