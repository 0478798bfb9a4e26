"""What is said of loose chains, and what localised ones leave of a curve, beside what was measured."""

import numpy as np
import xarray as xr

import slt
from experiments.shared import tell
from experiments.shared.claims import Claim, every, median

PUBLISHED = "published files of Hoogland et al. 2024"
SAXE, SECOND, EXACT = "Saxe et al. 2014", "second-order expansion of the loss", "r(12 - r)/2, exact"
LEARNED = 0.5  # of a singular value: from then on it counts as learned
STILL = 1e-4  # a plateau: the loss changes by less than this share of the chance loss to either neighbour
TOLERANCE = 1  # checkpoints between two transitions that count as one
SURE = 0.05  # by how much an estimate may be off, of what it is held against
BELOW = "negative", "escaped", "diverged"


def claims(results: xr.Dataset) -> list[Claim]:
    """Saturation of the loose curves; what the localised ones add; what loss and Hessian show already."""
    return [*saturated(results), *sizes(results), *plateaus(results), *times(results)]


def rank(results: xr.Dataset) -> np.ndarray:
    """How many singular values each checkpoint has learned, where it is on a plateau of the loss; -1 elsewhere."""
    change = np.abs(np.diff(results.loss.values, axis=1)) / results.attrs["chance"]
    before, after = (np.pad(change, ((0, 0), side)) for side in ((1, 0), (0, 1)))
    return np.where(np.maximum(before, after) < STILL, np.sum(known(results) > LEARNED, axis=-1), -1)


def known(results: xr.Dataset) -> np.ndarray:
    """The share of each nonzero singular value that is learned."""
    target = results.target.values
    return results.learned.values[..., target > 0] / target[target > 0]


def exact(results: xr.Dataset) -> np.ndarray:
    """lambda of the plateaus, by how many values are learned: r (12 - r)/2, the codimension of the rank, halved."""
    ranks = np.arange(1 + (results.target.values > 0).sum())
    return ranks * (2 * results.sizes["value_of"] - ranks) / 2


def levels(results: xr.Dataset, curve: np.ndarray) -> np.ndarray:
    """The median of a curve on the plateau of each rank, for each run; NaN where a run has no such checkpoint."""
    at, ranks = rank(results), range(len(exact(results)))
    level = lambda row, where: np.median(row[where]) if where.any() else np.nan
    return np.array([[level(row, here == r) for r in ranks] for row, here in zip(curve, at, strict=True)])


def steps(level: np.ndarray) -> np.ndarray:
    """The changes from each plateau to the next, as shares of the whole change."""
    return np.diff(level, axis=-1) / (level[..., -1:] - level[..., :1])


def middle(values: np.ndarray) -> np.ndarray:
    """The median over runs, of those that are finite; NaN where none is."""
    return np.array([np.median(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan for v in values.T])


def shares(results: xr.Dataset) -> dict[str, np.ndarray]:
    """Which share of its whole change each reading makes as each singular value is learned: the median over runs."""
    readings = {name: results.value.sel(setting=name).values for name in ("loose", "localised")}
    readings |= {"the loss": results.loss.values, "tr of the Hessian": results.trace.values}
    return {name: middle(steps(levels(results, curve))) for name, curve in readings.items()}


def trouble(part: xr.Dataset) -> np.ndarray:
    """Where `verdict` finds that the chains went to lower losses than L(w*), or nowhere finite."""
    return np.any([tell.has(part, kind) for kind in BELOW], axis=0)


def learned_at(results: xr.Dataset) -> list[list[int]]:
    """For each run, the first checkpoint at which each singular value counts as learned."""
    return [sorted(int(np.argmax(value)) for value in run.T if value.any()) for run in known(results) > LEARNED]


def transitions(results: xr.Dataset) -> dict[str, list[list[int]]]:
    """The change points in each run of lambda-hat, without trouble and by its own errors; and of the loss.

    The loss is taken as known to a thousandth of its range.
    """
    part, loss = results.sel(setting="localised"), results.loss.values
    stderr = np.where(trouble(part), np.nan, part.stderr.values)
    known_to = np.ptp(loss, axis=1, keepdims=True) * np.full(loss.shape, 1e-3)
    return {"localised": _changes(part.value.values, stderr), "the loss": _changes(loss, known_to)}


def _changes(curves: np.ndarray, stderr: np.ndarray) -> list[list[int]]:
    """The change points of each run among the checkpoints that have an error."""
    made = []
    for curve, error in zip(curves.astype(float), stderr.astype(float), strict=True):
        seen = np.flatnonzero(np.isfinite(curve + error) & (error > 0))
        found = slt.change_points(curve[seen], error[seen], min_size=2) if len(seen) >= 4 else []
        made.append([int(seen[change.index]) for change in found])
    return made


def saturated(results: xr.Dataset) -> list[Claim]:
    """Whether loose chains forget where they start, so that their curve is the loss, and localised ones do not."""
    mean_loss, still = results.mean_loss.sel(setting="loose").values, rank(results) >= 0
    spread = np.ptp(mean_loss, axis=1) / np.ptp(results.loss.values, axis=1)
    value = results.value.sel(setting="localised").values
    level = slt.regress(results.loss.values[still], value[still]).r_squared  # levels, which all runs share
    text = "localised: R^2 of lambda-hat on the loss, plateaus of all runs"
    return [
        median("loose: range of E[L] / range of L(w*)", spread, PUBLISHED, "about 0", holds=every(spread < 0.1)),
        *tell.disguise(results, "loose", PUBLISHED, expected=True, headline=True),
        tell.disguise(results, "localised", expected=False, headline=True)[0],
        Claim(text, tell.ASKED, "<= .99", level, holds=bool(level < 0.99)),
        *tell.believed(results, "localised"),
    ]


def sizes(results: xr.Dataset) -> list[Claim]:
    """How much of its change each reading makes at the last learned value: the loss's share or the coefficient's."""
    found, theory = shares(results), f"exact lambda: {steps(exact(results))[-1]:.2f}"
    near = bool((np.abs(found["loose"] - found["the loss"]) < 0.02).all())
    far = bool(found["localised"][-1] > 2 * found["the loss"][-1])
    made, expected = [], {"loose": ("the loss's within .02", near), "localised": ("> twice the loss's", far)}
    for name in ("loose", "localised", "tr of the Hessian", "the loss"):
        said, holds = expected.get(name, (theory, None))
        text, last = f"{name}: share of the whole change made by the last value", float(found[name][-1])
        head = name in ("localised", "tr of the Hessian")
        made.append(Claim(text, EXACT, said, last, unit="share", holds=holds, headline=head))
    return made


def plateaus(results: xr.Dataset) -> list[Claim]:
    """The levels of lambda-hat on the plateaus, beside those of the Hessian and the exact ones."""
    part, weak, lam = results.sel(setting="localised"), results.sel(setting="weak"), exact(results)
    chain, hessian = (levels(results, curve.values) for curve in (part.value, results.hessian_sum))
    off = middle(np.abs(chain[:, 1:] / hessian[:, 1:] - 1))  # of none learned both are 0
    made = []
    for r in range(1, len(lam)):
        text, expected = f"localised: lambda-hat with {r} learned", f"{middle(hessian)[r]:.3g} within 5 %"
        made.append(Claim(text, SECOND, expected, middle(chain)[r], holds=bool(off[r - 1] < SURE)))
    value, minimum = middle(levels(results, weak.value.values))[-1], float(lam[-1])
    text, holds = "weak: lambda-hat of the minimum, gamma = .1 nbeta", bool(abs(value / minimum - 1) < SURE)
    return [*made, Claim(text, EXACT, f"{minimum:.3g} within 5 %", value, holds=holds, headline=True)]


def times(results: xr.Dataset) -> list[Claim]:
    """Whether every learned singular value has a transition beside it; against transitions shifted in time."""
    truth, length, made = learned_at(results), results.sizes["step"], []
    for name, places in transitions(results).items():
        found = slt.align_shifted(truth, places, length=length, tolerance=TOLERANCE)
        ours = name == "localised"
        text = f"learned values with a change point of {name} within {TOLERANCE} checkpoint"
        expected = "all" if ours else f"at random {found.null:.0%}" if found.count else "-"
        value, holds = (found.share, bool(found.share >= 0.9)) if found.count else (np.nan, None)
        claim = Claim(text, SAXE, expected, value, count=found.count, unit="share")
        made.append(claim._replace(holds=holds, headline=True) if ours else claim)
    return made
