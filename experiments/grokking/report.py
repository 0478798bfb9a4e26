"""What is said of grokking, beside what was measured: the jump, what falls, and what announces it."""

import numpy as np
import xarray as xr

import slt
from experiments.grokking.announce import THRESHOLDS, ahead, jumps, memorised, ratios, silent, sounded
from experiments.grokking.case import CONTROLS, GROKKING, KINDS
from experiments.shared import tell
from experiments.shared.claims import RESAMPLES, Claim, every, median, share
from experiments.shared.tell import ASKED

POWER = "Power et al. 2022"


def claims(results: xr.Dataset) -> list[Claim]:
    """Each network: the jump, what falls, what announces it. Then lambda-hat beside its loss."""
    made = []
    for model in dict.fromkeys(results.model.values.tolist()):
        part = results.isel(run=results.model.values == model)
        made += jumped(part, model)
        for setting in map(str, results.setting.values):
            made += [*falls(part, model, setting), *announced(part, model, setting)]
        made += simpler(part, model)
    for setting in map(str, results.setting.values):
        made += [tell.disguise(results, setting)[0], tell.believed(results, setting)[0]]
    return made


def of_kind(results: xr.Dataset, kind: str) -> xr.Dataset:
    """The runs of one kind."""
    return results.isel(run=results.kind.values == kind)


def jumped(part: xr.Dataset, model: str) -> list[Claim]:
    """That runs grok, long after they have memorised, and that controls memorise and never grok."""
    grok, controls = of_kind(part, GROKKING), part.isel(run=part.kind.values != GROKKING)
    jump, known = jumps(grok), part.step.values[np.minimum(memorised(grok), part.sizes["step"] - 1)]
    late = jump > 3 * known  # NaN is not
    never = (controls.train_accuracy.values[:, -1] > 0.99) & (controls.test_accuracy.values.max(axis=1) < 0.5)
    text = f"{model}: the test loss jumps, after thrice the steps of memorising"
    made = [
        share(text, late, POWER, "all", holds=every(late), headline=model == "mlp"),
        median(f"{model}: the jump of the test loss", jump, POWER, unit="steps"),
    ]
    text = f"{model}, controls: training set known, test set never"
    return [*made, share(text, never, "that these are controls", "all", holds=every(never))] if never.size else made


def falls(part: xr.Dataset, model: str, setting: str) -> list[Claim]:
    """lambda-hat from memorisation to the end, in each kind of run, and what the train loss says of it."""
    value, loss, since, made = part.value.sel(setting=setting).values, part.loss.values, memorised(part), []
    with np.errstate(invalid="ignore", divide="ignore"):  # of a run that went non-finite
        left = value[:, -1] / value[np.arange(len(since)), np.minimum(since, value.shape[1] - 1)]
    for kind in KINDS:
        own, text = left[part.kind.values == kind], f"{model}, {kind}, {setting}: lambda-hat, end / memorised"
        if kind == GROKKING and own.size:
            made.append(median(text, own, "devinterp, modular addition", "< 1", holds=every(own < 1)))
        elif own.size:
            kept, main = every(own >= 0.1), model == "mlp" and kind == CONTROLS[0]
            made.append(median(text, own, "if grokking made it fall", "> .1", holds=kept, headline=main))
    squared = [_squared(value[run, at:], loss[run, at:]) for run, at in enumerate(since)]
    return [*made, median(f"{model}, {setting}: R^2 of log lambda-hat on log train loss", squared, ASKED)]


def _squared(value: np.ndarray, loss: np.ndarray) -> float:
    """R^2 of log lambda-hat on log L(w*), of the estimates that are positive; NaN of fewer than four."""
    fine = (value > 0) & (loss > 0)
    return slt.regress(np.log(loss[fine]), np.log(value[fine])).r_squared if fine.sum() >= 4 else np.nan


def announced(part: xr.Dataset, model: str, setting: str) -> list[Claim]:
    """The question: does lambda-hat sound before the test loss, also where both are silent on runs that never grok?"""
    each, kind, step, name = ratios(part), part.kind.values, part.step.values, f"lambda-hat, {setting}"
    seen, says = np.isfinite(jumps(of_kind(part, GROKKING))), lambda text: f"{model}, {setting}: {text}"
    sounds = lambda name, below: sounded(each[name][kind == GROKKING][seen], step, below)
    fixed = lambda other: ahead(sounds(name, THRESHOLDS[name]), sounds(other, THRESHOLDS[other]))
    text = says("lambda-hat before the test loss, fixed thresholds")
    made = [
        lead(text, fixed("test loss"), sign=True, headline=model == "mlp"),
        lead(says("lambda-hat before the train loss, fixed thresholds"), fixed("train loss")),
    ]
    if (kind != GROKKING).any():
        alarms = np.isfinite(sounded(each[name][kind != GROKKING], step, THRESHOLDS[name]))
        text = says("false alarms of lambda-hat on controls")
        made.append(share(text, alarms, ASKED, "none", holds=every(~alarms)))
    for control in (control for control in CONTROLS if (kind == control).any()):
        quiet = [sounds(other, silent(each[other][kind == control])) for other in (name, "test loss")]
        made.append(lead(says(f"the same, both silent on {control}"), ahead(*quiet), sign=True))
    return made


def simpler(part: xr.Dataset, model: str) -> list[Claim]:
    """By how much simpler numbers announce the jump where they are silent on all controls."""
    each, kind, jump = ratios(part), part.kind.values, jumps(of_kind(part, GROKKING))
    controls, made = kind != GROKKING, []
    for name in ("test loss", "weight norm", "restricted loss", "excluded loss", "Gini of W_E"):
        if controls.any():
            at = sounded(each[name][~controls], part.step.values, silent(each[name][controls]))
            leads = ahead(at, jump)[np.isfinite(jump)]
            made.append(lead(f"{model}: {name} before the jump, silent on all controls", leads))
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
