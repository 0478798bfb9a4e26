"""What is published of the stages of small language models, and what this one and its loss alone show."""

import numpy as np
import xarray as xr

import slt
from experiments.shared import tell
from experiments.shared.claims import Claim, every, median, share
from experiments.shared.coefficient_curves import bends, meeting, places
from experiments.shared.tell import ASKED

HOOGLAND, WANG = "Hoogland et al. 2024, published files", "Wang et al. 2024"
TOLERANCE = 1  # checkpoints between two boundaries that count as one
PLACED, RISEN = 0.02, 1.5  # from which on positions are used, and a head attends to the previous token
MAIN = ("loose", "localised")


def claims(results: xr.Dataset) -> list[Claim]:
    """What is learned; what the curves are; which stages they and the loss show; what the localised one is worth."""
    made = [*learned(results), outside(results)]
    made.append(tell.disguise(results, "loose", "Hoogland et al. 2024", expected=True, headline=True)[0])
    made.append(tell.disguise(results, "localised", headline=True)[0])
    made += [*seen(results), *rises(results), temperature(results), aligned(results)]
    return [*made, tell.believed(results, "localised")[0]]


def boundaries(results: xr.Dataset, name: str) -> list[list[slt.SlopeChange]]:
    """Where each run's curve changes its slope in log(step + 1), with intervals: that of a setting, or of the loss.

    Slopes and not levels: these curves rise and fall gradually, and a fit by levels makes stairs of them.
    """
    here = results if name == "loss" else results.sel(setting=name)
    curve, error = (here.loss, here.loss_error) if name == "loss" else (here.value, here.stderr)
    return bends(np.log(results.step.values + 1.0), curve.values, error.values)


def bigram_minimum(results: xr.Dataset) -> np.ndarray:
    """For each run the checkpoint with the least bigram score: the end of LM1."""
    return np.argmin(np.nan_to_num(results.bigram.values, nan=np.inf), axis=1)


def markers(results: xr.Dataset) -> dict[str, np.ndarray]:
    """For each run the checkpoint at which a stage shows in what the model does; the number of checkpoints if never."""
    first = lambda here: np.where(here.any(axis=1), here.argmax(axis=1), here.shape[1])
    previous = results.previous.isel(layer=0).max("head").values
    return {
        "LM1 ends": bigram_minimum(results),
        "LM2, positions are used": first((results.unplaced - results.loss).values > PLACED),
        "LM3, a previous-token head": first(previous > RISEN * float(results.even_previous)),
    }


def at_minimum(results: xr.Dataset, curve: np.ndarray) -> np.ndarray:
    """The value of each run's curve, (seed, step), at the least bigram score."""
    return curve[np.arange(len(curve)), bigram_minimum(results)]


def learned(results: xr.Dataset) -> list[Claim]:
    """LM1, LM3 and LM4: the bigram score, the head that attends to the previous token, the in-context score."""
    at, last, steps = bigram_minimum(results), results.sizes["step"] - 1, results.step.values
    previous, context = results.previous.isel(layer=0).max("head").values, results.context.values
    ahead = previous[:, -1] / np.maximum(float(results.even_previous), previous[:, 0])
    early, since = every((at > 0) & (at < last)), context[:, -1] - at_minimum(results, context)
    text = "LM1: step of the least bigram score"
    return [
        median(text, steps[at], HOOGLAND, "before the end", holds=early, headline=True),
        median("LM3: previous-token head, over even and start", ahead, HOOGLAND, "> 1", holds=every(ahead > 1)),
        median("LM4: change of the in-context score since LM1, nats", since, HOOGLAND, "-.15"),
    ]


def outside(results: xr.Dataset) -> Claim:
    """Loose chains are where the loss is above that of a model that knows nothing."""
    E, text = results.mean_loss.sel(setting="loose").values, "loose: E[L] of the chains is above ln V"
    above = float(results.uniform_loss) < E
    return share(text, above, HOOGLAND, "all", holds=None if np.isnan(E).any() else every(above))


def seen(results: xr.Dataset) -> list[Claim]:
    """Which curves have a boundary where a stage shows in what the model does."""
    made = []
    for what, at in markers(results).items():
        for name in ("loss", *MAIN):
            pairs = zip(places(boundaries(results, name)), at, strict=True)
            near = [any(abs(place - mark) <= TOLERANCE for place in found) for found, mark in pairs]
            text = f"{what}: runs with a boundary there of {name if name == 'loss' else f'lambda-hat, {name}'}"
            made.append(share(text, near, ASKED, headline=name == "localised"))
    return made


def rises(results: xr.Dataset) -> list[Claim]:
    """By how much lambda-hat rises in LM1 and after it, each by more than two standard errors."""
    here, made = results.sel(setting="localised"), []
    value, error = here.value.values, here.stderr.values
    ends = [(curve[:, 0], at_minimum(results, curve), curve[:, -1]) for curve in (value, error)]
    for i, (when, published) in enumerate((("in LM1", "+26.4"), ("after LM1", "+22.5 in LM2"))):
        rise, noise = ends[0][i + 1] - ends[0][i], np.hypot(ends[1][i], ends[1][i + 1])
        text = f"localised: rise of lambda-hat {when}"
        made.append(median(text, rise, HOOGLAND, f"> 0; {published}", holds=every(rise > 2 * noise)))
    return made


def temperature(results: xr.Dataset) -> Claim:
    """Boundaries of the localised curve that the other temperature has as well within the intervals, and back."""
    one, other = boundaries(results, "localised"), boundaries(results, "localised, hotter")
    both = meeting(one, other) + meeting(other, one)
    return share("localised: boundaries that are there at both n*beta", both, WANG, "all", holds=every(both))


def aligned(results: xr.Dataset) -> Claim:
    """Whether the boundaries of the localised curve are the loss's, against shifts in log time."""
    one, other = (places(boundaries(results, curve)) for curve in ("localised", "loss"))
    found = slt.align_shifted(one, other, length=results.sizes["step"], tolerance=TOLERANCE)
    text = "localised: its boundaries are the loss's, p against shifts in log time"
    return Claim(text, ASKED, "-", found.p_value, count=found.count)
