"""What is said of in-context Markov chains and of lambda-hat at their transition, beside what was measured."""

import numpy as np
import xarray as xr

from experiments.shared import tell
from experiments.shared.claims import Claim, every, mean, share
from experiments.shared.coefficient_curves import largest, places, transitions

EDELMAN, TRIAL = "Edelman et al. 2024", "earlier trial, one run"
SETTLE = 3  # estimates at the start, of a model that leaves the uniform prediction, in which no transition is sought
TOLERANCE = 1  # estimates between two transitions that count as one


def claims(results: xr.Dataset) -> list[Claim]:
    """The transition itself; lambda-hat at it; whether it is the loss; other settings."""
    made = []
    for symbols in map(int, results.symbols.values):
        made += [learned(results, symbols), *peak(results, symbols), *coincide(results, symbols)]
    main = localised(results, 2)
    made += [tell.disguise(main, "localised")[0], *tell.believed(main, "localised")]
    return [*made, *other_settings(results)]


def study(results: xr.Dataset) -> xr.Dataset:
    """The curves of the first runs with two symbols under the other settings."""
    part = results[[name for name in results.data_vars if str(name).startswith("study_")]]
    return part.rename({str(name): str(name).removeprefix("study_") for name in [*part.data_vars, *part.dims]})


def localised(results: xr.Dataset, symbols: int) -> xr.Dataset:
    """The localised curves of all runs with this many symbols, in the same form, the settling left out."""
    part = results.sel(symbols=symbols).isel(estimate=slice(SETTLE, None)).rename(estimate="step")
    return part[["value", "stderr", "loss_at_centre", "saturation", "findings"]].expand_dims(setting=["localised"])


def crossing(results: xr.Dataset, symbols: int) -> list[int | None]:
    """Of each run the reading from which on the model is nearer to the bigram than to the unigram for good."""
    here = results.sel(symbols=symbols)
    away = ~(here.kl_bigram.values < here.kl_unigram.values)  # NaN is away
    since = [int(np.flatnonzero(row)[-1]) + 1 if row.any() else 0 for row in away]
    return [at if at < away.shape[1] else None for at in since]


def phases(results: xr.Dataset, symbols: int, curve: xr.Dataset) -> np.ndarray:
    """lambda-hat (before, at, after) the crossing of the runs that have an estimate of each: (3, runs).

    `curve` has one setting and begins after the settling. After is the second half of the time from the crossing on;
    before is what is earlier than three quarters of the crossing's step.
    """
    here, made = results.sel(symbols=symbols), []
    steps = here.estimate_step.values[SETTLE:]
    for value, place in zip(curve.value.values, crossing(results, symbols), strict=False):
        if place is None:
            continue
        crossed = here.reading_step.values[place]
        before, after = steps < 0.75 * crossed, steps >= (crossed + steps[-1]) / 2
        if before.any() and after.any() and crossed < steps[-1]:
            made.append((value[before].mean(), value[np.argmin(np.abs(steps - crossed))], value[after].mean()))
    return np.array(made).reshape(-1, 3).T


def learned(results: xr.Dataset, symbols: int) -> Claim:
    """That runs come to induce."""
    induced = np.array([place is not None for place in crossing(results, symbols)])
    text = f"k = {symbols}: runs that come nearer to the bigram for good"
    return share(text, induced, EDELMAN, "all", holds=every(induced), headline=symbols == 2)


def peak(results: xr.Dataset, symbols: int) -> list[Claim]:
    """The rise of localised lambda-hat to the transition, its fall after it, and what remains, paired by run."""
    before, at, after = phases(results, symbols, localised(results, symbols).isel(setting=0))
    says, two = lambda text: f"k = {symbols}, localised lambda-hat: {text}", symbols == 2
    return [
        mean(says("transition less plateau before"), at - before, TRIAL, "+19", sign=1, headline=True),
        mean(says("after less transition"), after - at, TRIAL, "-11", sign=-1, headline=two),
        mean(says("after less plateau before"), after - before, TRIAL, "+8", sign=1),
    ]


def coincide(results: xr.Dataset, symbols: int) -> list[Claim]:
    """Whether each run's largest change of lambda-hat, and of attention, is where its largest of KL is."""
    curve, here = localised(results, symbols).isel(setting=0), results.sel(symbols=symbols)
    read = here.isel(reading=np.searchsorted(here.reading_step.values, here.estimate_step.values[SETTLE:]))
    kl = places(largest(transitions(read.kl_bigram.values, read.kl_bigram_stderr.values)))
    llc = places(largest(transitions(curve.value.values, curve.stderr.values)))
    attention, k = places(largest(transitions(read.previous.values, 0.02))), f"k = {symbols}"
    return [
        tell.aligned(f"{k}: lambda-hat changes with KL", llc, kl, tolerance=TOLERANCE, headline=symbols == 2)[0],
        tell.aligned(f"{k}: attention changes with KL", attention, kl, tolerance=TOLERANCE)[0],
    ]


def other_settings(results: xr.Dataset) -> list[Claim]:
    """Another temperature, loose chains and single layers, on the first runs with two symbols."""
    part = study(results)
    made = tell.disguise(part, "loose", "published curves of loose chains", expected=True, headline=True)[:1]
    for name in map(str, part.setting.values):
        before, at, _ = phases(results, 2, part.sel(setting=name))
        made.append(mean(f"{name}: lambda-hat, transition less plateau before", at - before, tell.ASKED))
    return made
