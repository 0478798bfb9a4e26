"""What is said of loose chains, and what localised ones leave of a curve, beside what was measured."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import xarray as xr

from experiments.experiment import Claim
from slt.curves import Regression, regress
from slt.estimate import LLC
from slt.phases import Alignment, align_shifted, change_points
from slt.theory import deep_linear

PUBLISHED = "published files of Hoogland et al. 2024"
SAXE, SECOND = "Saxe et al. 2014", "second-order expansion of the loss"
LEARNED = 0.5  # of a singular value: from then on it counts as learned
STILL = 1e-4  # a plateau: the loss changes by less than this share of the chance loss to either neighbour
TOLERANCE = 1  # checkpoints between two transitions that count as one
SURE = 0.05  # by how much an estimate may be off, of what it is held against
CURVES = {"loose": "loose", "localised": "localised", "loss": "the loss", "trace": "tr of the Hessian"}


def loose(results: xr.Dataset) -> xr.Dataset:
    """The curves of the loosest setting."""
    return results.sel(temperature="loose").isel(strength=0)


def localised(results: xr.Dataset) -> xr.Dataset:
    """The curves of the setting called localised: its gamma/nbeta is the attribute `strength`."""
    return results.sel(temperature="localised").sel(strength=float(results.attrs["strength"]), method="nearest")


def held(results: xr.Dataset) -> xr.Dataset:
    """The curves of the localised temperature with the least gamma, which holds the chains only where w* is a minimum."""
    return results.sel(temperature="localised").isel(strength=0)


def claims(results: xr.Dataset) -> list[Claim]:
    """Saturation of the loose curves; what the localised ones add; what loss, slope and Hessian show already."""
    return [*_saturated(results), *_sizes(results), *_plateaus(results), _slopes(results), *_times(results)]


def regressions(part: xr.Dataset) -> list[Regression]:
    """lambda-hat on the loss, for each run."""
    return [pooled(part.isel(run=run), np.ones(part.sizes["time"], bool)) for run in range(part.sizes["run"])]


def pooled(part: xr.Dataset, where: np.ndarray) -> Regression:
    """lambda-hat on the loss, of the checkpoints `where`."""
    nothing = LLC(*[np.float32(np.nan)] * len(LLC._fields))  # type: ignore[arg-type]
    return regress(nothing._replace(value=part.value.values[where], loss_at_centre=part.loss.values[where]))


def rank(results: xr.Dataset) -> np.ndarray:
    """How many singular values each checkpoint has learned, where it is on a plateau of the loss; -1 elsewhere."""
    change = np.abs(np.diff(results.loss.values, axis=1)) / results.attrs["chance"]
    none = np.zeros((len(change), 1))
    still = np.maximum(np.append(change, none, 1), np.append(none, change, 1)) < STILL
    return np.where(still, np.sum(known(results) > LEARNED, axis=-1), -1)


def known(results: xr.Dataset) -> np.ndarray:
    """The share of each nonzero singular value that is learned."""
    target = results.target.values
    return results.learned.values[..., target > 0] / target[target > 0]


def exact(results: xr.Dataset) -> np.ndarray:
    """lambda of the plateaus, by how many values are learned: r (12 - r)/2, the codimension of the rank, halved."""
    size, values = results.sizes["value_of"], int((results.target.values > 0).sum())
    return np.array([r * (2 * size - r) / 2 for r in range(values + 1)])


def levels(results: xr.Dataset, curve: np.ndarray) -> np.ndarray:
    """The median of a curve on the plateau of each rank, for each run; NaN where a run has no such checkpoint."""
    at, ranks = rank(results), range(len(exact(results)))
    return np.array(
        [[np.median(row[here == r]) if (here == r).any() else np.nan for r in ranks] for row, here in zip(curve, at, strict=True)]
    )  # fmt: skip


def shares(results: xr.Dataset, curve: np.ndarray) -> np.ndarray:
    """Which share of its whole change a curve makes as each singular value is learned: the median over runs."""
    return _median(share(levels(results, curve)))


def share(level: np.ndarray) -> np.ndarray:
    """The changes from each plateau to the next, over the whole change."""
    return np.diff(level, axis=-1) / (level[..., -1:] - level[..., :1])


def curves(results: xr.Dataset) -> dict[str, np.ndarray]:
    """The four readings of each checkpoint that are held against each other, by name."""
    return {
        "loose": loose(results).value.values,
        "localised": localised(results).value.values,
        "loss": results.loss.values,
        "trace": results.trace.values,
    }


def trouble(part: xr.Dataset) -> np.ndarray:
    """Where `verdict` finds that the chains went to lower losses than L(w*), or nowhere finite."""
    return np.array([[any(k in text for k in ("negative", "escaped", "diverged")) for text in row] for row in part.findings.values.astype(str)])  # fmt: skip


def learned_at(results: xr.Dataset) -> list[list[int]]:
    """For each run, the first checkpoint at which each singular value counts as learned."""
    return [sorted(int(np.argmax(value)) for value in run.T if value.any()) for run in known(results) > LEARNED]


def transitions(results: xr.Dataset) -> dict[str, list[list[int]]]:
    """The change points of the four readings in each run. Of lambda-hat those without trouble, by their own errors.

    Loss and trace are taken as known to a thousandth of their range.
    """
    found = {}
    for name, curve in curves(results).items():
        part = {"loose": loose, "localised": localised}.get(name)
        stderr = np.ptp(curve, axis=1, keepdims=True) * np.full(curve.shape, 1e-3)
        if part is not None:
            stderr = np.where(trouble(part(results)) & (name == "localised"), np.nan, part(results).stderr.values)
        found[name] = [_changes(row, error) for row, error in zip(curve, stderr, strict=True)]
    return found


def _changes(curve: np.ndarray, stderr: np.ndarray) -> list[int]:
    seen = np.flatnonzero(np.isfinite(curve + stderr) & (stderr > 0))
    if len(seen) < 4:
        return []
    return [
        int(seen[c.index]) for c in change_points(curve[seen].astype(float), stderr[seen].astype(float), min_size=2)
    ]


def _median(values: np.ndarray) -> np.ndarray:
    """Over runs, of those that are finite; NaN where none is."""
    return np.array([np.median(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan for v in values.T])


def _percent(values: Iterable[float]) -> str:
    return " / ".join(f"{100 * v:.0f}" for v in values) + " %"


def _range(values: Any) -> str:
    return f"{np.median(values):.5g} (from {np.min(values):.5g} to {np.max(values):.5g})"


def _saturated(results: xr.Dataset) -> list[Claim]:
    part, nbeta = loose(results), float(loose(results).nbeta)
    fits = regressions(part)
    r_squared, slopes = np.array([fit.r_squared for fit in fits]), np.array([-fit.slope / nbeta for fit in fits])
    spread = np.ptp(part.mean_loss.values, axis=1) / np.ptp(part.loss.values, axis=1)
    ours = np.array([fit.r_squared for fit in regressions(localised(results))])
    still = pooled(localised(results), rank(results) >= 0).r_squared  # levels, which all runs share
    named = {name: np.char.find(sel(results).curve_findings.values.astype(str), "saturated curve") >= 0 for name, sel in (("loose", loose), ("localised", localised))}  # fmt: skip
    runs = results.sizes["run"]
    return [
        Claim("loose: range of E[L] over the checkpoints / range of L(w*)", PUBLISHED, "about 0", _range(spread), bool((spread < 0.1).all())),
        Claim("loose: R^2 of lambda-hat on the loss", PUBLISHED, ">= .9999 over five seeds; > .99 here", _range(r_squared), bool((r_squared > 0.99).all())),
        Claim("loose: slope of lambda-hat on the loss / -nbeta", PUBLISHED, "1 (-66.7 at nbeta 66.67)", _range(slopes), bool((np.abs(slopes - 1) < 0.1).all())),
        Claim("localised: R^2 of lambda-hat on the loss, of all checkpoints; of those on plateaus, runs together", "this experiment", "< .99 both", f"{_range(ours)}; {still:.4g}", bool((ours < 0.99).all() and still < 0.99)),
        Claim(
            "curve_verdict calls the loose curve saturated, and not the localised one", "this experiment",
            f"{runs} and 0 of {runs} runs", f"{named['loose'].sum()} and {named['localised'].sum()}",
            bool(named["loose"].all() and not named["localised"].any()),
        ),
    ]  # fmt: skip


def _sizes(results: xr.Dataset) -> list[Claim]:
    """How much of its change each reading makes at each learned value: the loss's shares or the coefficient's."""
    found, theory = {name: shares(results, curve) for name, curve in curves(results).items()}, share(exact(results))
    beyond = found["localised"][-1] / found["loss"][-1]
    beside = f"the loss: {_percent(found['loss'])}"
    text = "share of the whole change made as each singular value is learned: "
    return [
        Claim(text + "loose", "this experiment", f"{beside}, within 2", _percent(found["loose"]), bool((np.abs(found["loose"] - found["loss"]) < 0.02).all())),
        Claim(text + "localised", "exact lambda of the plateaus", f"{_percent(theory)}; the last at least twice the loss's. {beside}", _percent(found["localised"]), bool(beyond > 2)),
        Claim(text + "tr of the Hessian", "the simplest geometry", f"exact lambda: {_percent(theory)}", _percent(found["trace"]), None),
    ]  # fmt: skip


def _plateaus(results: xr.Dataset) -> list[Claim]:
    part, weak, lam = localised(results), held(results), exact(results)
    chain, hessian = (levels(results, part[name].values) for name in ("value", "hessian_sum"))
    off = _median(np.abs(chain[:, 1:] / hessian[:, 1:] - 1))
    level = _median(levels(results, weak.value.values))
    size = results.sizes["value_of"]
    minimum = deep_linear([size, len(lam) - 1, len(lam) - 1, size], len(lam) - 1)[0]
    numbers = lambda values: ", ".join(f"{v:.4g}" for v in values)
    return [
        Claim(
            f"localised, gamma = {float(results.attrs['strength']):.3g} nbeta: lambda-hat on the plateaus of 0, 1, 2, 3 learned values",
            f"1/2 sum nbeta h/(nbeta h + gamma); {SECOND}", numbers(_median(hessian)) + ", within 5 % from the second on",
            numbers(_median(chain)), bool((off < SURE).all()),
        ),
        Claim(
            f"gamma = {float(weak.strength):.3g} nbeta: lambda-hat of the minimum, on the last plateau", "r(12 - r)/2, exact",
            f"{float(minimum):.4g}, within 5 %", numbers(level[-1:]), bool(abs(level[-1] / float(minimum) - 1) < SURE),
        ),
        Claim(
            f"gamma = {float(weak.strength):.3g} nbeta: lambda-hat on the plateaus that are saddles", "r(12 - r)/2, exact",
            numbers(lam[:-1]), numbers(level[:-1]), None,
        ),
        Claim("what calibrate chooses for the localised temperature", "this experiment", "-", _reason(results), None),
    ]  # fmt: skip


def _reason(results: xr.Dataset) -> str:
    lines = str(results.attrs["calibration"]).splitlines()
    return next((line for line in lines if line.startswith("gamma")), lines[0])


def _slopes(results: xr.Dataset) -> Claim:
    """The negative values of the localised curve: chains that slide down the slope of a w* that is no minimum."""
    part = localised(results)
    value, expected = part.value.values, part.quadratic.values
    flagged = np.char.find(part.findings.values.astype(str), "negative") >= 0
    deep = (value < -1) & np.isfinite(expected)
    with np.errstate(divide="ignore"):
        ratio = np.median(value[deep] / expected[deep]) if deep.any() else np.nan
    measured = f"{flagged.sum()} of {flagged.size} flagged; {deep.sum()} below -1, least {np.nanmin(value, initial=0):.3g}, ratio {ratio:.3g}"
    holds = bool(abs(ratio - 1) < 0.1) if deep.any() else None
    return Claim("localised: negative lambda-hat between plateaus is the slope's, -nbeta^2 g^2/(nbeta h + gamma)", SECOND, "median ratio 1 within 10 %", measured, holds)  # fmt: skip


def _times(results: xr.Dataset) -> list[Claim]:
    """Whether every learned singular value has a transition beside it, and whether transitions have a learned value."""
    truth, found = learned_at(results), transitions(results)
    made = []
    for name, places in found.items():
        recall = align_shifted(truth, places, length=results.sizes["time"], tolerance=TOLERANCE)
        spare = sum(map(len, places)) - _hits(
            align_shifted(places, truth, length=results.sizes["time"], tolerance=TOLERANCE)
        )
        measured = f"{_hits(recall)} of {recall.count} (at random {recall.null:.0%}, p = {recall.p_value:.2g}), {spare} besides"
        holds = bool(recall.share >= 0.9) if name == "localised" else None
        made.append(Claim(f"learned singular values with a change point of {CURVES[name]} within {TOLERANCE} checkpoint", SAXE, "all" if name == "localised" else "-", measured, holds))  # fmt: skip
    return made


def _hits(found: Alignment) -> int:
    return round(found.share * found.count) if found.count else 0
