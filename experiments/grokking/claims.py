"""What is said of grokking, beside what was measured: the jump, its waves, what falls, and what announces it."""

import numpy as np
import xarray as xr

from experiments.grokking.announce import THRESHOLDS, ahead, jumps, memorised, ratios, silent, sounded
from experiments.grokking.case import CONTROLS, GROKKING, KINDS
from experiments.shared import tell
from experiments.shared.claims import RESAMPLES, Claim, every, median, share
from experiments.shared.curves import bends, meeting
from experiments.shared.tell import ASKED

POWER, NANDA = "Power et al. 2022", "Nanda et al. 2023, section 5"
SMALL = 1e-3  # stages are those of asinh(lambda-hat / SMALL): logarithmic, and linear through 0


def claims(results: xr.Dataset) -> list[Claim]:
    """Each network: the jump, waves, what falls, leads. Then lambda-hat beside its loss, and at the two temperatures."""
    made = []
    for model in dict.fromkeys(results.model.values.tolist()):
        part = results.isel(run=results.model.values == model)
        made += [*jumped(part, model), *waves(part, model)]
        for setting in map(str, results.setting.values):
            made += [*falls(part, model, setting), *announced(part, model, setting)]
        made += simpler(part, model)
    for setting in map(str, results.setting.values):
        made += [*tell.disguise(results, setting), *tell.believed(results, setting)]
    return [*made, temperatures(results)]


def of_kind(results: xr.Dataset, kind: str) -> xr.Dataset:
    """The runs of one kind."""
    return results.isel(run=results.kind.values == kind)


def jumped(part: xr.Dataset, model: str) -> list[Claim]:
    """That runs grok, long after they have memorised, and that controls memorise and never grok."""
    grok = of_kind(part, GROKKING)
    jump, known = jumps(grok), part.step.values[np.minimum(memorised(grok), part.sizes["step"] - 1)]
    late = jump > 3 * known  # NaN is not
    text = f"{model}: the test loss jumps, after thrice the steps of memorising"
    made = [share(text, late, POWER, "all", holds=every(late), headline=model == "mlp")]
    made.append(median(f"{model}: the jump of the test loss", jump, POWER, unit="steps"))
    for control in CONTROLS:
        here = of_kind(part, control)
        if here.sizes["run"]:
            never = (here.train_accuracy.values[:, -1] > 0.99) & (here.test_accuracy.values.max(axis=1) < 0.5)
            text = f"{model}, {control}: training set known, test set never"
            made.append(share(text, never, "that these are controls", "all", holds=every(never)))
    return made


def waves(part: xr.Dataset, model: str) -> list[Claim]:
    """Key frequencies carry the answer at the end, and at the jump the restricted loss is below the test loss."""
    grok = of_kind(part, GROKKING)
    jump = jumps(grok)
    grok, jump = grok.isel(run=np.isfinite(jump)), jump[np.isfinite(jump)]
    end, logs = grok.isel(step=-1), np.log(grok.test_loss / grok.restricted).values
    gap = np.exp([np.interp(at, part.step.values, row) for at, row in zip(jump, logs, strict=True)])
    carried, excluded = end.explained.values, end.excluded.values / end.loss.values
    says = lambda text: f"{model}: {text}"
    return [
        median(says(f"key frequencies at the end, of {int(part.p[0]) // 2}"), end["keys"], NANDA, "5 of 56"),
        median(says("their share of the variance of logits"), carried, NANDA, "> .5", holds=every(carried > 0.5)),
        median(says("test loss over restricted loss at the jump"), gap, NANDA, "> 1", holds=every(gap > 1)),
        median(says("excluded over train loss at the end"), excluded, NANDA, "> 1", holds=every(excluded > 1)),
    ]


def falls(part: xr.Dataset, model: str, setting: str) -> list[Claim]:
    """lambda-hat from memorisation to the end, in each kind of run, and what the train loss says of it."""
    value, loss, since, made = part.value.sel(setting=setting).values, part.loss.values, memorised(part), []
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
    """R^2 of log lambda-hat on log L(w*), of the estimates that are positive."""
    fine = (value > 0) & (loss > 0)
    if fine.sum() < 4 or np.ptp(loss[fine]) == 0 or np.ptp(value[fine]) == 0:
        return np.nan
    return float(np.corrcoef(np.log(loss[fine]), np.log(value[fine]))[0, 1] ** 2)


def announced(part: xr.Dataset, model: str, setting: str) -> list[Claim]:
    """The question: does lambda-hat sound before the test loss, also where both are silent on runs that never grok?"""
    each, kind, step, name = ratios(part), part.kind.values, part.step.values, f"lambda-hat, {setting}"
    seen, main = np.isfinite(jumps(of_kind(part, GROKKING))), model == "mlp"
    sounds = lambda name, below: sounded(each[name][kind == GROKKING][seen], step, below)
    fixed = lambda other: ahead(sounds(name, THRESHOLDS[name]), sounds(other, THRESHOLDS[other]))
    text = f"{model}, {setting}: lambda-hat before the"
    made = [
        lead(f"{text} test loss, fixed thresholds", fixed("test loss"), sign=True, headline=main),
        lead(f"{text} train loss, fixed thresholds", fixed("train loss")),
    ]
    if (kind != GROKKING).any():
        alarms = np.isfinite(sounded(each[name][kind != GROKKING], step, THRESHOLDS[name]))
        text = f"{model}, {setting}: false alarms of lambda-hat on controls"
        made.append(share(text, alarms, ASKED, "none", holds=every(~alarms)))
    for control in (control for control in CONTROLS if (kind == control).any()):
        quiet = [sounds(other, silent(each[other][kind == control])) for other in (name, "test loss")]
        made.append(lead(f"{model}, {setting}: the same, both silent on {control}", ahead(*quiet), sign=True))
    return made


def simpler(part: xr.Dataset, model: str) -> list[Claim]:
    """By how much simpler numbers, which do not know the end, announce the jump where they are silent on all controls."""
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


def stages(results: xr.Dataset, setting: str) -> list:
    """The changes of slope of asinh(lambda-hat / SMALL) in log(step + 50), of every run."""
    here = results.sel(setting=setting)
    value, stderr = here.value.values, here.stderr.values
    return bends(np.log(results.step.values + 50.0), np.arcsinh(value / SMALL), stderr / np.sqrt(value**2 + SMALL**2))


def temperatures(results: xr.Dataset) -> Claim:
    """Whether boundaries at the first temperature have one at the second whose interval meets theirs."""
    meet = meeting(*(stages(results, str(setting)) for setting in results.setting.values))
    holds = bool(np.mean(meet) > 0.5) if meet else None
    return share("boundaries of stages that are there at both n*beta", meet, ASKED, "most", holds=holds)
