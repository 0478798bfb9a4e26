"""What is said of grokking, beside what was measured: the jump, what falls, and what announces it."""

import numpy as np
import xarray as xr

import slt
from experiments.grokking.announce import FIXED, THRESHOLDS, ahead, jumps, memorised, ratios, silent, sounded
from experiments.grokking.case import CONTROLS, GROKKING
from experiments.shared import tell
from experiments.shared.claims import RESAMPLES, Claim, every, median, share
from experiments.shared.tell import ASKED

SIMPLER = ("test loss", "Gini of W_E")


def claims(results: xr.Dataset) -> list[Claim]:
    """The jump; at each temperature what falls and what lambda-hat announces; what simpler numbers announce."""
    made, main = jumped(results), str(results.setting.values[0])
    for setting in map(str, results.setting.values):
        made += [*falls(results, setting), *announced(results, setting)]
    return [*made, *simpler(results), beside_loss(results, main), tell.believed(results, main)[0]]


def of_kind(results: xr.Dataset, kind: str) -> xr.Dataset:
    """The runs of one kind."""
    return results.isel(run=results.kind.values == kind)


def jumped(results: xr.Dataset) -> list[Claim]:
    """That runs grok, long after they have memorised, and that controls memorise and never grok."""
    grok, controls = of_kind(results, GROKKING), results.isel(run=results.kind.values != GROKKING)
    known = grok.step.values[np.minimum(memorised(grok), grok.sizes["step"] - 1)]
    late = jumps(grok) > 3 * known  # NaN is not
    never = (controls.train_accuracy.values[:, -1] > 0.99) & (controls.test_accuracy.values.max(axis=1) < 0.5)
    text = "the test loss jumps, after thrice the steps of memorising"
    made = [share(text, late, "Power et al. 2022", "all", holds=every(late), headline=True)]
    text = "controls: training set known, test set never"
    return [*made, share(text, never, "that these are controls", "all", holds=every(never))] if never.size else made


def falls(results: xr.Dataset, setting: str) -> list[Claim]:
    """lambda-hat from memorisation to the end, in each kind of run."""
    value, since, made = results.value.sel(setting=setting).values, memorised(results), []
    with np.errstate(invalid="ignore", divide="ignore"):  # of a run that went non-finite
        left = value[:, -1] / value[np.arange(len(since)), np.minimum(since, value.shape[1] - 1)]
    for kind in dict.fromkeys(results.kind.values.tolist()):
        own, text = left[results.kind.values == kind], f"{kind}, {setting}: lambda-hat, end / memorised"
        if kind == GROKKING:
            made.append(median(text, own, "devinterp, modular addition", "< 1", holds=every(own < 1)))
        else:
            kept, main = every(own >= 0.1), kind == CONTROLS[0]
            made.append(median(text, own, "if grokking made it fall", "> .1", holds=kept, headline=main))
    return made


def beside_loss(results: xr.Dataset, setting: str) -> Claim:
    """R^2 of log lambda-hat on log L(w*) from memorisation on, of the estimates that are positive (four or more)."""
    squared, here = [], results.sel(setting=setting)
    for value, loss, at in zip(here.value.values, results.loss.values, memorised(results), strict=True):
        fine = (value > 0) & (loss > 0) & (np.arange(len(loss)) >= at)
        if fine.sum() >= 4:
            squared.append(slt.regress(np.log(loss[fine]), np.log(value[fine])).r_squared)
    return median(f"{setting}: R^2 of log lambda-hat on log train loss", squared, ASKED)


def announced(results: xr.Dataset, setting: str) -> list[Claim]:
    """The question: does lambda-hat sound before the test loss, also where both are silent on runs that never grok?"""
    each, kind, step, name = ratios(results), results.kind.values, results.step.values, f"lambda-hat, {setting}"
    seen = np.isfinite(jumps(of_kind(results, GROKKING)))
    sounds = lambda name, below: sounded(each[name][kind == GROKKING][seen], step, below)
    fixed = ahead(*(sounds(other, THRESHOLDS.get(other, FIXED)) for other in (name, "test loss")))
    made = [lead(f"{setting}: lambda-hat before the test loss, fixed thresholds", fixed, sign=True, headline=True)]
    if (kind != GROKKING).any():
        alarms = np.isfinite(sounded(each[name][kind != GROKKING], step, FIXED))
        text = f"{setting}: false alarms of lambda-hat on controls"
        made.append(share(text, alarms, ASKED, "none", holds=every(~alarms)))
    for control in (control for control in CONTROLS if (kind == control).any()):
        quiet = [sounds(other, silent(each[other][kind == control])) for other in (name, "test loss")]
        text = f"{setting}: lambda-hat before the test loss, both silent on {control}"
        made.append(lead(text, ahead(*quiet), sign=True))
    return made


def simpler(results: xr.Dataset) -> list[Claim]:
    """By how much simpler numbers announce the jump where they are silent on all controls."""
    each, jump, made = ratios(results), jumps(of_kind(results, GROKKING)), []
    controls = results.kind.values != GROKKING
    for name in SIMPLER if controls.any() else ():
        at = sounded(each[name][~controls], results.step.values, silent(each[name][controls]))
        leads = ahead(at, jump)[np.isfinite(jump)]
        made.append(lead(f"{name} before the jump, silent on all controls", leads))
    return made


def lead(text: str, leads: np.ndarray, *, sign: bool = False, headline: bool = False) -> Claim:
    """The median, in steps: minus infinity where a detector never sounds. `sign` claims that it is above 0.

    The interval's ends are resampled medians themselves, since between infinities nothing is interpolated.
    """
    value = low = high = np.nan
    if len(leads):
        resampled = np.median(np.random.default_rng(0).choice(leads, (RESAMPLES, len(leads))), axis=1)
        low, high = np.quantile(resampled, [0.025, 0.975], method="inverted_cdf")
        value = float(np.median(leads))
    holds = bool(low > 0) if sign and len(leads) else None
    expected = "> 0 (-inf: never)" if sign else "(-inf: never)"
    return Claim(text, ASKED, expected, value, low, high, len(leads), "steps", holds, headline)
