"""What is said of in-context Markov chains and of lambda-hat at their transition, beside what was measured."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from experiments.curves import aligned, believed, disguise, largest, places, transitions
from experiments.experiment import Claim
from slt.phases import ChangePoint

EDELMAN, TRIAL, OURS = (
    "Edelman et al. 2024",
    "earlier trial, one run",
    "this experiment",
)
SETTLE = 3  # estimates at the start, of a model that leaves the uniform prediction, in which no transition is sought
TOLERANCE = 1  # estimates between two transitions that count as one


def study(results: xr.Dataset) -> xr.Dataset:
    """The curves of the first runs under all settings, in the form that `experiments.curves` has them."""
    names = [str(n) for n in [*results.data_vars, *results.dims] if str(n).startswith("study_")]
    part = results[[n for n in names if n in results.data_vars]]
    return part.rename({n: n.removeprefix("study_") for n in names})


def main(results: xr.Dataset, symbols: int) -> xr.Dataset:
    """The localised curves of all runs with this many symbols, in the same form."""
    own = [n for n in results.data_vars if not str(n).startswith("study_")]
    part = results[own].sel(symbols=symbols)
    part = part.expand_dims(setting=["localised"])
    return part.assign({n: ("setting", [float(results.attrs[n])]) for n in ("nbeta", "gamma", "step_size")})


def at_estimates(results: xr.Dataset, name: str, symbols: int) -> np.ndarray:
    """A reading at the checkpoints that have an estimate: (run, time)."""
    here = results.sel(symbols=symbols)
    return here[name].values[:, np.searchsorted(here.reading_step.values, here.step.values)]


def crossing(results: xr.Dataset, symbols: int) -> list[int | None]:
    """Of each run the reading from which on the model is nearer to the bigram than to the unigram for good."""
    here = results.sel(symbols=symbols)
    away = ~(here.kl_bigram.values < here.kl_unigram.values)  # NaN is away
    since = [int(np.flatnonzero(row)[-1]) + 1 if row.any() else 0 for row in away]
    return [at if at < away.shape[1] else None for at in since]


class Phases(NamedTuple):
    """lambda-hat of each run that induces: mean on the plateau before, nearest estimate to the transition, mean after."""

    before: np.ndarray
    at: np.ndarray
    after: np.ndarray


def phases(results: xr.Dataset, symbols: int, setting: str = "localised") -> Phases:
    """What lambda-hat is before, at and after the crossing, of the runs that have at least an estimate of each.

    The time from the crossing on is divided in the middle: what is in its second half is after; before is what is
    earlier than half of the crossing's step, the settling left out. Chains about a transition meet nothing still.
    """
    whole = main(results, symbols) if setting == "localised" else study(results)
    skip = 0 if setting == "localised" else SETTLE
    value = whole.sel(setting=setting).value.values
    here = results.sel(symbols=symbols)
    steps, made = here.step.values, []
    for run, c in list(enumerate(crossing(results, symbols)))[: len(value)]:
        if c is None:
            continue
        t = here.reading_step.values[c]
        usable = np.arange(len(steps)) >= SETTLE
        before, after = usable & (steps < 0.75 * t), steps >= (t + steps[-1]) / 2
        if before.any() and after.any() and t < steps[-1]:
            row = np.concatenate([np.full(skip, np.nan), value[run]])
            made.append((row[before].mean(), row[np.argmin(np.abs(steps - t))], row[after].mean()))
    return Phases(*np.array(made).reshape(-1, 3).T)


def claims(results: xr.Dataset) -> list[Claim]:
    """The transition itself; lambda-hat at it; other settings and layers; its boundaries, and what is not believed."""
    made = []
    for symbols in results.symbols.values:
        made += [*_learned(results, int(symbols)), *_peak(results, int(symbols)), *_aligned(results, int(symbols))]
    return [*made, *_settings(results), *_layers(results), *_boundaries(results), _negative(results)]


def difference(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Mean over runs of one - other, and its standard error; NaN where there are fewer than two."""
    d = one - other
    return (float(d.mean()), float(d.std(ddof=1) / np.sqrt(len(d)))) if len(d) > 1 else (np.nan, np.nan)


def _learned(results: xr.Dataset, symbols: int) -> list[Claim]:
    here, cross = results.sel(symbols=symbols), crossing(results, symbols)
    last = lambda name: float(here[name].isel(reading=-1).median())
    induced = np.array([c is not None for c in cross])
    steps = ", ".join("-" if c is None else str(int(here.reading_step.values[c])) for c in cross)
    plateau = here.kl_unigram.values.min(axis=1)
    gap = float(here.true_unigram[0, 0] - here.true_bigram[0, 0])
    fell = (here.kl_true.values[:, -1] - here.true_bigram.values[:, -1])[induced]
    baselines = ", ".join(
        f"{name} {float(here[f'true_{name}'][0, 0]):.3f}" for name in ("uniform", "unigram", "bigram")
    )
    beyond = ", ".join(f"{v:.3f}" for v in fell)
    attends = lambda name: ", ".join(f"{v:.2f}" for v in here[name].values[:, -1])
    rise = here.previous.values[:, -1] - here.previous.values[:, 0]
    held = bool((rise[induced] > 0.2).all()) if induced.any() else None
    return [
        Claim(f"k = {symbols}: runs that come nearer to the bigram than to the unigram, and at which step", EDELMAN, f"all {len(cross)}, at once", f"{induced.sum()}: {steps}", bool(induced.all())),
        Claim(f"k = {symbols}: least KL(unigram | model), a plateau of the uniform-to-bigram way", EDELMAN, f"below .3 of KL(unigram) - KL(bigram) = {gap:.3f}", f"median {np.median(plateau):.4f}", bool((plateau < 0.3 * gap).all())),
        Claim(f"k = {symbols}: KL(truth | model) at the end, less that of the bigram, of the runs that induce", f"{EDELMAN}; KL from the truth: {baselines}", f"below .2 of the gap {gap:.3f} in all", beyond, bool((fell < 0.2 * gap).all()) if len(fell) else None),
        Claim(f"k = {symbols}: attention of the first layer to the previous token rises by .2 in the runs that induce", EDELMAN, "all", f"at the end {attends('previous')}", held),
        Claim(f"k = {symbols}: attention of the second layer to what followed the present token", EDELMAN, f"above uniform attention, {last('induction_uniform'):.2f}", f"at the end {attends('induction')}", bool((here.induction.values[:, -1][induced] > last("induction_uniform")).all()) if induced.any() else None),
    ]  # fmt: skip


def _peak(results: xr.Dataset, symbols: int) -> list[Claim]:
    found = phases(results, symbols)
    show = lambda values: f"{values.mean():.1f}" if len(values) else "-"
    levels = f"before {show(found.before)}, at {show(found.at)}, after {show(found.after)}, {len(found.at)} runs"
    up, down = difference(found.at, found.before), difference(found.after, found.at)
    lasting = difference(found.after, found.before)
    judged = lambda d, sign: None if np.isnan(d[1]) else bool(sign * d[0] > 2 * d[1])
    text = f"k = {symbols}, localised: lambda-hat "
    return [
        Claim(text + "is higher at the transition than on the plateau before", TRIAL, "+19 (7 to 26); above 2 s.e. over runs", f"{up[0]:+.1f} +- {up[1]:.1f} ({levels})", judged(up, 1)),
        Claim(text + "is lower after the transition than at it", TRIAL, "-11 (26 to 15)", f"{down[0]:+.1f} +- {down[1]:.1f}", judged(down, -1)),
        Claim(text + "is higher after than on the plateau before", TRIAL, "+8 (7 to 15)", f"{lasting[0]:+.1f} +- {lasting[1]:.1f}", judged(lasting, 1)),
    ]  # fmt: skip


def changes(results: xr.Dataset, symbols: int) -> dict[str, list[list[ChangePoint]]]:
    """The changes of lambda-hat, of KL(bigram | model) and of the previous-token score of every run, settling left out."""
    here = results.sel(symbols=symbols)
    noise = at_estimates(results, "kl_bigram_stderr", symbols)
    curve = {
        "lambda-hat": (here.value.values, here.stderr.values),
        "KL": (at_estimates(results, "kl_bigram", symbols), noise),
        "attention to the previous token": (at_estimates(results, "previous", symbols), 0.02),
    }
    late = lambda x: np.asarray(x)[..., SETTLE:] if np.ndim(x) else x
    return {name: transitions(late(values), late(error)) for name, (values, error) in curve.items()}


def _aligned(results: xr.Dataset, symbols: int) -> list[Claim]:
    found = changes(results, symbols)
    kl = found["KL"]
    what = f"k = {symbols}: runs' largest change of "
    return [
        aligned(
            f"{what}{name} and their largest of KL", largest(found[name]), largest(kl), tolerance=TOLERANCE, source=OURS
        )
        for name in ("lambda-hat", "attention to the previous token")
    ]


def _settings(results: xr.Dataset) -> list[Claim]:
    part, made = study(results), []
    for setting in ("localised", "lower nbeta", "loose"):
        made.append(disguise(part, setting, source="published curves of loose chains" if setting == "loose" else OURS, expected=setting == "loose"))  # fmt: skip
        found = phases(results, 2, setting)
        levels = ", ".join(f"{name} {values.mean():.1f}" if len(values) else f"{name} -" for name, values in found._asdict().items())  # fmt: skip
        made.append(Claim(f"{setting} (nbeta {float(part.nbeta.sel(setting=setting)):g}): lambda-hat before, at, after, of the {len(found.at)} runs that have all", OURS, "-", levels, None))  # fmt: skip
    loose = part.sel(setting="loose")
    rate = float(np.median(at_estimates(results, "loss", 2) - at_estimates(results, "kl_true", 2)))
    unigram = rate + float(results.sel(symbols=2).true_unigram[0, 0])
    rise, room = (loose.mean_loss - loose.loss_at_centre).values[:, -1], unigram - loose.loss_at_centre.values[:, -1]
    ratios = f"{float(loose.saturation[:, -1].median()):.2f} towards log 2, {np.median(rise / room):.2f} towards the unigram's {unigram:.3f}"  # fmt: skip
    spread = f"E[L] {loose.mean_loss.values.min():.3f} to {loose.mean_loss.values.max():.3f}, L(w*) {loose.loss_at_centre.values.min():.3f} to {loose.loss_at_centre.values.max():.3f}"  # fmt: skip
    made.append(Claim("loose: how much of the way to chance its chains go at the end (saturation)", OURS, "above .3", f"{ratios}; {spread}", bool(np.median(rise / room) > 0.3)))  # fmt: skip
    return [*made, *[believed(part, str(s)) for s in part.setting.values]]


def _layers(results: xr.Dataset) -> list[Claim]:
    part = study(results)
    found = {layer: transitions(part.value.sel(setting=layer).values, part.stderr.sel(setting=layer).values) for layer in ("layer 0", "layer 1")}  # fmt: skip
    first, second = (largest(found[layer]) for layer in ("layer 0", "layer 1"))
    lags = [b[0] - a[0] for a, b in zip(first, second, strict=True) if a and b]
    steps = results.sel(symbols=2).step.values[SETTLE:]
    where = lambda rows: ", ".join(str(int(steps[r[0]])) if r else "-" for r in rows)
    return [
        Claim("coefficients of one layer, the others held: steps of each run's largest change; which moves first", OURS, "-", f"layer 0: {where(first)}; layer 1: {where(second)}; layer 1 later by {lags} estimates", None),
        *[disguise(part, layer, source=OURS) for layer in ("layer 0", "layer 1")],
    ]  # fmt: skip


def _boundaries(results: xr.Dataset) -> list[Claim]:
    """Every boundary with its interval; and that of the first runs at two temperatures."""
    made = []
    for symbols in results.symbols.values:
        steps = results.sel(symbols=symbols).step.values[SETTLE:]
        found = changes(results, int(symbols))
        for name in ("lambda-hat", "KL"):
            made.append(Claim(f"k = {int(symbols)}: boundaries of {name}, step [95 % interval], run by run", OURS, "-", _listed(found[name], steps), None))  # fmt: skip
    part, steps = study(results), results.sel(symbols=2).step.values[SETTLE:]
    by = {s: transitions(part.value.sel(setting=s).values, part.stderr.sel(setting=s).values) for s in ("localised", "lower nbeta")}  # fmt: skip
    for setting, found in by.items():
        made.append(Claim(f"boundaries at nbeta {float(part.nbeta.sel(setting=setting)):g}, the same runs", OURS, "-", _listed(found, steps), None))  # fmt: skip
    return [*made, aligned("boundaries at the first n*beta and at the second", places(by["localised"]), places(by["lower nbeta"]), tolerance=TOLERANCE, source=OURS)]  # fmt: skip


def _listed(found: list[list[ChangePoint]], steps: np.ndarray) -> str:
    one = lambda c: f"{steps[c.index]:.0f} [{steps[c.low]:.0f}, {steps[min(c.high, len(steps) - 1)]:.0f}] {c.jump:+.3g}"
    return "; ".join(", ".join(one(c) for c in run) or "none" for run in found)


def negative(results: xr.Dataset) -> np.ndarray:
    """Which estimates verdict calls negative: (symbols, run, time)."""
    return np.char.find(results.findings.values.astype(str), "negative") >= 0


def _negative(results: xr.Dataset) -> Claim:
    bad, value = negative(results), results.value.values
    early = bad[..., :SETTLE]
    below = value < 0
    least = np.nanmin(value) if np.isfinite(value).any() else np.nan
    return Claim(
        "localised: estimates below zero are kept and named (w* is no minimum, chains slide down its slope)",
        "earlier trial: early in training", "some among the first estimates",
        f"{below.sum()} of {value.size} below zero, {bad.sum()} named; {early.sum()} of {early.size} among the first {SETTLE}; least {least:.1f}",
        bool(early.any()),
    )  # fmt: skip
