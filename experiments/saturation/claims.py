"""What is said of loose chains, and what localised ones leave of a curve, beside what was measured."""

import numpy as np
import xarray as xr

import slt
from experiments.shared import tell
from experiments.shared.claims import Claim, every, median, share

PUBLISHED = "published files of Hoogland et al. 2024"
SAXE, SECOND, EXACT = "Saxe et al. 2014", "second-order expansion of the loss", "r(12 - r)/2, exact"
LEARNED = 0.5  # of a singular value: from then on it counts as learned
STILL = 1e-4  # a plateau: the loss changes by less than this share of the chance loss to either neighbour
TOLERANCE = 1  # checkpoints between two transitions that count as one
SURE = 0.05  # by how much an estimate may be off, of what it is held against
BELOW = "negative", "escaped", "diverged"


def loose(results: xr.Dataset) -> xr.Dataset:
    """The curves of the loosest setting."""
    return results.sel(temperature="loose").isel(strength=0)


def localised(results: xr.Dataset) -> xr.Dataset:
    """The curves of the setting called localised: its gamma/nbeta is the attribute `strength`."""
    return results.sel(temperature="localised").sel(strength=float(results.attrs["strength"]), method="nearest")


def held(results: xr.Dataset) -> xr.Dataset:
    """The curves of the localised temperature with the least gamma, which holds chains only at a minimum."""
    return results.sel(temperature="localised").isel(strength=0)


def claims(results: xr.Dataset) -> list[Claim]:
    """Saturation of the loose curves; what the localised ones add; what loss, slope and Hessian show already."""
    return [*saturated(results), *sizes(results), *plateaus(results), *slopes(results), *times(results)]


def both(results: xr.Dataset) -> xr.Dataset:
    """The loose and the localised curves, with the axis `setting`."""
    parts = [part.drop_vars(["temperature", "strength"]) for part in (loose(results), localised(results))]
    names = xr.DataArray(["loose", "localised"], dims="setting", name="setting")
    return xr.concat(parts, names).assign(loss_at_centre=results.loss)


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


def shares(results: xr.Dataset, curve: np.ndarray) -> np.ndarray:
    """Which share of its whole change a curve makes as each singular value is learned: the median over runs."""
    return middle(steps(levels(results, curve)))


def middle(values: np.ndarray) -> np.ndarray:
    """The median over runs, of those that are finite; NaN where none is."""
    return np.array([np.median(v[np.isfinite(v)]) if np.isfinite(v).any() else np.nan for v in values.T])


def curves(results: xr.Dataset) -> dict[str, np.ndarray]:
    """The four readings of each checkpoint that are held against each other, by name."""
    chains = {"loose": loose(results).value.values, "localised": localised(results).value.values}
    return chains | {"the loss": results.loss.values, "tr of the Hessian": results.trace.values}


def trouble(part: xr.Dataset) -> np.ndarray:
    """Where `verdict` finds that the chains went to lower losses than L(w*), or nowhere finite."""
    return np.any([tell.has(part, kind) for kind in BELOW], axis=0)


def learned_at(results: xr.Dataset) -> list[list[int]]:
    """For each run, the first checkpoint at which each singular value counts as learned."""
    return [sorted(int(np.argmax(value)) for value in run.T if value.any()) for run in known(results) > LEARNED]


def transitions(results: xr.Dataset) -> dict[str, list[list[int]]]:
    """The change points of the four readings in each run. Of lambda-hat those without trouble, by their own errors.

    Loss and trace are taken as known to a thousandth of their range.
    """
    errors = {"loose": loose(results).stderr.values}
    errors["localised"] = np.where(trouble(localised(results)), np.nan, localised(results).stderr.values)
    found = {}
    for name, curve in curves(results).items():
        known_to = np.ptp(curve, axis=1, keepdims=True) * np.full(curve.shape, 1e-3)
        found[name] = [_changes(*run) for run in zip(curve, errors.get(name, known_to), strict=True)]
    return found


def _changes(curve: np.ndarray, stderr: np.ndarray) -> list[int]:
    seen = np.flatnonzero(np.isfinite(curve + stderr) & (stderr > 0))
    enough = len(seen) >= 4
    found = slt.change_points(curve[seen].astype(float), stderr[seen].astype(float), min_size=2) if enough else []
    return [int(seen[change.index]) for change in found]


def saturated(results: xr.Dataset) -> list[Claim]:
    """Whether loose chains forget where they start, so that their curve is the loss, and localised ones do not."""
    part, two, still = loose(results), both(results), rank(results) >= 0
    spread = np.ptp(part.mean_loss.values, axis=1) / np.ptp(part.loss.values, axis=1)
    slopes = -tell.fits(two, "loose")[1] / float(part.nbeta)
    here = localised(results)
    level = slt.regress(here.loss.values[still], here.value.values[still]).r_squared  # levels, which all runs share
    says = "curve_verdict calls it saturated"
    named = tell.has(two.assign(findings=two.curve_findings), "saturated curve")  # (setting, seed)
    return [
        median("loose: range of E[L] / range of L(w*)", spread, PUBLISHED, "about 0", holds=every(spread < 0.1)),
        *tell.disguise(two, "loose", PUBLISHED, expected=True, headline=True),
        median("loose: slope on the loss / -nbeta", slopes, PUBLISHED, "1", holds=every(np.abs(slopes - 1) < 0.1)),
        *tell.disguise(two, "localised", expected=False, headline=True),
        Claim("localised: the same on plateaus, all runs", tell.ASKED, "<= .99", level, holds=bool(level < 0.99)),
        share(f"loose: {says}", named[0], tell.ASKED, "all", holds=every(named[0])),
        share(f"localised: {says}", named[1], tell.ASKED, "none", holds=every(~named[1])),
        *tell.believed(two, "localised"),
    ]


def sizes(results: xr.Dataset) -> list[Claim]:
    """How much of its change each reading makes at the last learned value: the loss's share or the coefficient's."""
    found = {name: shares(results, curve) for name, curve in curves(results).items()}
    loss, theory = found["the loss"], f"exact lambda: {steps(exact(results))[-1]:.2f}"
    text = "{}: share of the whole change made by the last value"
    near, far = (np.abs(found["loose"] - loss) < 0.02).all(), found["localised"][-1] > 2 * loss[-1]
    expected = {
        "loose": ("the loss's within .02", bool(near)),
        "localised": ("> twice the loss's", bool(far)),
        "tr of the Hessian": (theory, None),
        "the loss": (theory, None),
    }
    made = []
    for name, (said, holds) in expected.items():
        last, head = float(found[name][-1]), name in ("localised", "tr of the Hessian")
        made.append(Claim(text.format(name), EXACT, said, last, unit="share", holds=holds, headline=head))
    return made


def plateaus(results: xr.Dataset) -> list[Claim]:
    """The levels of lambda-hat on the plateaus, beside those of the Hessian and the exact ones."""
    part, weak, lam = localised(results), held(results), exact(results)
    chain, hessian = (levels(results, part[name].values) for name in ("value", "hessian_sum"))
    off = middle(np.abs(chain[:, 1:] / hessian[:, 1:] - 1))  # of none learned both are 0
    weakly, made = middle(levels(results, weak.value.values)), []
    for r in range(1, len(lam)):
        value, expected = middle(chain)[r], middle(hessian)[r]
        holds = bool(off[r - 1] < SURE)
        text = f"localised: lambda-hat with {r} learned"
        made.append(Claim(text, SECOND, f"{expected:.3g} within 5 %", value, holds=holds))
    name = f"gamma = {float(weak.strength):.3g} nbeta: lambda-hat"
    size, values = results.sizes["value_of"], len(lam) - 1
    minimum = float(slt.deep_linear([size, values, values, size], values)[0])
    near = bool(abs(weakly[-1] / minimum - 1) < SURE)
    made.append(
        Claim(f"{name} of the minimum", EXACT, f"{minimum:.3g} within 5 %", weakly[-1], holds=near, headline=True)
    )
    return [*made, Claim("gamma/nbeta that calibrate chooses", tell.ASKED, "-", float(results.attrs["strength"]))]


def slopes(results: xr.Dataset) -> list[Claim]:
    """The negative values of the localised curve: chains that slide down the slope of a w* that is no minimum."""
    part = localised(results)
    value, expected = part.value.values, part.quadratic.values
    deep = (value < -1) & np.isfinite(expected) & (expected != 0)
    ratio = value[deep] / expected[deep]
    holds = bool(abs(np.median(ratio) - 1) < 0.1) if deep.any() else None
    text = "localised: values below -1 over -nbeta^2 g^2/(nbeta h + gamma) of the slope"
    return [median(text, ratio, SECOND, "1 within 10 %", holds=holds)]


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
