"""What is said of in-context Markov chains and of lambda-hat at their transition, beside what was measured."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from experiments.shared import tell
from experiments.shared.claims import Claim, every, mean, median, share
from experiments.shared.curves import largest, places, transitions

EDELMAN, TRIAL = "Edelman et al. 2024", "earlier trial, one run"
SETTLE = 3  # estimates at the start, of a model that leaves the uniform prediction, in which no transition is sought
TOLERANCE = 1  # estimates between two transitions that count as one


def claims(results: xr.Dataset) -> list[Claim]:
    """The transition itself; lambda-hat at it; whether it is the loss; other settings; what is not believed."""
    made = []
    for symbols in map(int, results.symbols.values):
        made += [*learned(results, symbols), *peak(results, symbols), *coincide(results, symbols)]
    made += [*tell.disguise(localised(results, 2), "localised"), *tell.believed(localised(results, 2), "localised")]
    return [*made, *other_settings(results)]


def study(results: xr.Dataset) -> xr.Dataset:
    """The curves of the first runs with two symbols under the other settings."""
    names = [str(name) for name in results.data_vars if str(name).startswith("study_")]
    part = results[names]
    return part.rename({str(name): str(name).removeprefix("study_") for name in [*part.data_vars, *part.dims]})


def localised(results: xr.Dataset, symbols: int) -> xr.Dataset:
    """The localised curves of all runs with this many symbols, in the same form, the settling left out."""
    part = results.sel(symbols=symbols).isel(estimate=slice(SETTLE, None)).rename(estimate="step")
    part = part[["value", "stderr", "loss_at_centre", "mean_loss", "saturation", "findings"]]
    return part.expand_dims(setting=["localised"]).assign(nbeta=("setting", [float(results.attrs["nbeta"])]))


def at_estimates(results: xr.Dataset, name: str, symbols: int) -> np.ndarray:
    """A reading at the checkpoints that have an estimate: (seed, estimate)."""
    here = results.sel(symbols=symbols)
    return here[name].values[:, np.searchsorted(here.reading_step.values, here.estimate_step.values)]


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


def phases(results: xr.Dataset, symbols: int, curve: xr.Dataset) -> Phases:
    """What lambda-hat is before, at and after the crossing, of the runs that have at least an estimate of each.

    `curve` has one setting and begins after the settling. The time from the crossing on is divided in the middle: what
    is in its second half is after; before is what is earlier than three quarters of the crossing's step.
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
    return Phases(*np.array(made).reshape(-1, 3).T)


def learned(results: xr.Dataset, symbols: int) -> list[Claim]:
    """That runs come to induce, by way of the unigram, and what their heads attend to then."""
    here, k = results.sel(symbols=symbols), f"k = {symbols}"
    crossed = crossing(results, symbols)
    induced = np.array([place is not None for place in crossed])
    steps = [here.reading_step.values[place] for place in crossed if place is not None]
    gap = float(here.true_unigram[0, 0] - here.true_bigram[0, 0])  # KL from the truth, of the unigram less the bigram
    plateau = here.kl_unigram.values.min(axis=1) / gap
    left = (here.kl_true.values[:, -1] - here.true_bigram.values[:, -1])[induced] / gap
    attends = (here.previous.values[:, -1] - here.previous.values[:, 0])[induced]
    induces = (here.induction - here.induction_uniform).values[:, -1][induced]
    says = lambda text: f"{k}: {text}"
    return [
        share(
            says("runs that come nearer to the bigram for good"),
            induced,
            EDELMAN,
            "all",
            holds=every(induced),
            headline=True,
        ),
        median(says("step of that crossing"), steps, EDELMAN, unit="steps"),
        median(says("least KL(unigram | model) over the gap"), plateau, EDELMAN, "< .3", holds=every(plateau < 0.3)),
        median(
            says("KL(truth | model) beyond the bigram's, over the gap"), left, EDELMAN, "< .2", holds=every(left < 0.2)
        ),
        median(says("rise of attention to the previous token"), attends, EDELMAN, "> .2", holds=every(attends > 0.2)),
        median(says("attention to what followed, above uniform"), induces, EDELMAN, "> 0", holds=every(induces > 0)),
    ]


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
    here = localised(results, symbols).isel(setting=0)
    late = lambda name: at_estimates(results, name, symbols)[:, SETTLE:]
    kl = largest(transitions(late("kl_bigram"), late("kl_bigram_stderr")))
    llc, attention = transitions(here.value.values, here.stderr.values), transitions(late("previous"), 0.02)
    k = f"k = {symbols}"
    return [
        *tell.aligned(f"{k}: lambda-hat changes with KL", largest(llc), kl, tolerance=TOLERANCE, headline=symbols == 2),
        *tell.aligned(f"{k}: attention changes with KL", largest(attention), kl, tolerance=TOLERANCE),
    ]


def other_settings(results: xr.Dataset) -> list[Claim]:
    """Other temperatures, loose chains and single layers, on the first runs with two symbols."""
    part, main, made = study(results), localised(results, 2).isel(setting=0), []
    for name in map(str, part.setting.values):
        loose = name == "loose"
        source = "published curves of loose chains" if loose else tell.ASKED
        made += tell.disguise(part, name, source, expected=True if loose else None, headline=loose)
        made += tell.believed(part, name)
        found = phases(results, 2, part.sel(setting=name))
        text = f"{name}: lambda-hat, transition less plateau before"
        made.append(mean(text, found.at - found.before, tell.ASKED))
    of = lambda name: transitions(part.value.sel(setting=name).values, part.stderr.sel(setting=name).values)
    first, second = largest(of("layer 0")), largest(of("layer 1"))
    lags = [b[0] - a[0] for a, b in zip(first, second, strict=True) if a and b]
    made.append(median("layer 1's largest change after layer 0's", lags, tell.ASKED, unit="estimates"))
    few = part.sizes["seed"]
    own, other = places(transitions(main.value.values[:few], main.stderr.values[:few])), places(of("lower nbeta"))
    return [*made, *tell.aligned("boundaries at the two temperatures", own, other, tolerance=TOLERANCE)]
