"""Whether a curve of estimates says more than the loss, and how many of its checkpoints can be believed."""

from collections import Counter
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from slt.diagnostics import Finding, Kind, rows, verdict
from slt.estimate import LLC

DISGUISE = 0.99  # R^2 of lambda-hat on the loss


class Regression(NamedTuple):
    """lambda-hat = slope * L(w*) + intercept over a curve, by least squares; NaN if either is constant."""

    slope: float
    intercept: float
    r_squared: float


def regress(loss: Float[Array | np.ndarray, "*axes"], value: Float[Array | np.ndarray, "*axes"]) -> Regression:
    """lambda-hat on L(w*) over the checkpoints of a curve.

    Where chains forget the checkpoint, E[L] is the same at all, and the slope is -nbeta with R^2 = 1.
    """
    loss, value = (np.ravel(np.asarray(leaf, float)) for leaf in (loss, value))
    if loss.size < 2 or not np.isfinite(loss + value).all() or np.ptp(loss) == 0 or np.ptp(value) == 0:
        return Regression(np.nan, np.nan, np.nan)
    slope, intercept = np.polyfit(loss, value, 1)
    return Regression(float(slope), float(intercept), float(np.corrcoef(loss, value)[0, 1]) ** 2)


def curve_verdict(llc: LLC) -> list[Finding]:
    """What is wrong with a curve (leading axes of checkpoints): first what only the curve can show.

    It needs five checkpoints or more. Then, how many checkpoints each finding of `verdict` is true of.
    """
    each = rows(llc)
    counts: Counter[Kind] = Counter(finding.kind for row in each for finding in verdict(row))
    found = _disguise(llc)
    for kind, count in counts.most_common():
        found.append(Finding(kind, f"{count} of {len(each)} checkpoints; see verdict of one of them"))
    return found


def _disguise(llc: LLC) -> list[Finding]:
    slope, intercept, r_squared = regress(llc.loss_at_centre, llc.value)
    if np.size(llc.value) < 5 or not r_squared > DISGUISE:
        return []
    fit = f"lambda-hat = {intercept:.4g} {'-' if slope < 0 else '+'} {abs(slope):.4g} L(w*) with R^2 = {r_squared:.4f}"
    chain, centre = np.ptp(llc.mean_loss), np.ptp(llc.loss_at_centre)
    spread = f"E[L] varies by {chain:.3g} over the checkpoints, L(w*) by {centre:.3g}"
    nbeta = np.median(np.asarray(llc.value) / (np.asarray(llc.mean_loss) - np.asarray(llc.loss_at_centre)))
    if abs(slope / nbeta + 1) < 0.1:
        advice = "chains forget where they start: raise gamma, or lower nbeta"
        return [Finding("saturated curve", f"{fit}, and {spread}: {advice}")]
    return [
        Finding("affine in the loss", f"{fit} ({spread}): the curve tells nothing that the loss does not; show both")
    ]
