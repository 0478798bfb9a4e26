"""What is reported of grokking, beside what was measured: the jump, what falls, what announces it, and where stages end."""

import numpy as np
import xarray as xr

from experiments.curves import believed, disguise
from experiments.experiment import Claim
from experiments.grokking.announce import (
    Lead,
    ahead,
    calibrated,
    calibrated_lead,
    fixed_lead,
    halves,
    jumps,
    memorised,
    negative,
    ratios,
    reach,
    sounded,
    threshold,
)
from experiments.grokking.cases import KINDS

POWER = "Power et al. 2022"
NANDA = "Nanda et al. 2023, section 5"
EXAMPLE = "devinterp, example of modular addition: falls with the test loss"
ASKED = "this experiment"
CONTROLS = KINDS[1:]


def claims(results: xr.Dataset) -> list[Claim]:
    """The jump; lambda-hat in every kind of run, and beside the loss; the leads of all announcers; the boundaries."""
    found = []
    for model in dict.fromkeys(results.model.values.tolist()):
        part = results.isel(run=results.model.values == model)
        found += [*_runs(part, model), *_structure(part, model)]
        for setting in results.setting.values:
            found += _falls(part, model, str(setting))
        found += leads_claims(part, model)
    for setting in results.setting.values:
        here = f"{setting}"
        found += [disguise(results, here, source=ASKED), believed(results, here), _negatives(results, here)]
        found.append(_boundaries(results, here))
    return [*found, _temperature(results)]


def of_kind(results: xr.Dataset, kind: str) -> xr.Dataset:
    """The runs of one kind."""
    return results.isel(run=results.kind.values == kind)


def leads(results: xr.Dataset, jump: np.ndarray | None = None) -> dict[str, dict[str, Lead]]:
    """For every announcer its lead with the fixed threshold, and with that calibrated on each kind of control."""
    grok = of_kind(results, KINDS[0])
    jump, step, each = jumps(grok) if jump is None else jump, results.step.values, ratios(results)
    kind, found = results.kind.values, {}
    for name, ratio in each.items():
        own = ratio[kind == KINDS[0]]
        found[name] = {"fixed": fixed_lead(jump, sounded(own, step, threshold(name)))}
        for control in CONTROLS:
            found[name][control] = calibrated_lead(jump, own, ratio[kind == control], step)
    return found


def false_alarms(results: xr.Dataset, name: str) -> str:
    """In how many of the controls of each kind the fixed threshold sounds."""
    ratio, kind = ratios(results)[name], results.kind.values
    count = lambda control: (
        f"{int((reach(ratio[kind == control]) < threshold(name)).sum())} of {int((kind == control).sum())}"
    )
    return ", ".join(f"{control} {count(control)}" for control in CONTROLS if (kind == control).any()) or "no controls"


def _middle(values: np.ndarray, form: str = ".3g") -> str:
    """Median and range over runs."""
    values = np.asarray(values, float)
    values = values[np.isfinite(values)]
    if len(values) == 0:
        return "none"
    return f"{np.median(values):{form}} [{values.min():{form}}, {values.max():{form}}]"


def _runs(part: xr.Dataset, model: str) -> list[Claim]:
    grok = of_kind(part, KINDS[0])
    jump, half, first = jumps(grok), halves(grok), memorised(grok)
    memory = grok.step.values[np.minimum(first, len(grok.step) - 1)][np.isfinite(jump)]
    found = [
        Claim(
            f"{model}: the test loss jumps long after the training set is known ({grok.sizes['run']} seeds; median and range)",
            POWER,
            "all runs",
            f"{np.isfinite(jump).sum()} of {len(jump)} grok: known at step {_middle(memory, '.0f')}, "
            f"jump {_middle(jump, '.0f')}, half of the answers right at {_middle(half, '.0f')}",
            bool(np.isfinite(jump).all() and (jump > 3 * memory).all()) if np.isfinite(jump).any() else None,
        )
    ]
    for control in CONTROLS:
        here = of_kind(part, control)
        if here.sizes["run"]:
            known, best = here.train_accuracy.values[:, -1], here.test_accuracy.values.max()
            found.append(
                Claim(
                    f"{model}, {control}: the training set is known and the test set never",
                    "that these are controls",
                    "train 100 %, test < 50 %",
                    f"train {known.min():.0%}, test at most {best:.1%} in {len(known)} runs",
                    bool(known.min() > 0.99 and best < 0.5),
                )
            )
    return found


def _structure(part: xr.Dataset, model: str) -> list[Claim]:
    grok = of_kind(part, KINDS[0])
    jump = jumps(grok)
    seen = np.isfinite(jump)
    if not seen.any():
        return []
    end = grok.isel(time=-1, run=seen)
    before = np.array([np.interp(jump[i], grok.step.values, np.log(grok.restricted.values[i])) for i in np.flatnonzero(seen)])  # fmt: skip
    test = np.array([np.interp(jump[i], grok.step.values, np.log(grok.test_loss.values[i])) for i in np.flatnonzero(seen)])  # fmt: skip
    gap = np.exp(test - before)
    return [
        Claim(
            f"{model}: a few key frequencies carry the answer at the end (number; share of the variance of the logits)",
            NANDA,
            "5 of 56 at p = 113",
            f"{_middle(end['keys'].values, '.0f')} of {int(part.p[0]) // 2}; {_middle(end.explained.values, '.2f')}",
            bool((end.explained.values > 0.5).all()),
        ),
        Claim(
            f"{model}: at the jump the restricted loss is far below the test loss (test/restricted, own frequencies)",
            NANDA,
            "> 1",
            _middle(gap),
            bool((gap > 1).all()),
        ),
        Claim(
            f"{model}: at the end, excluded loss / train loss",
            NANDA,
            "> 1",
            _middle(end.excluded.values / end.loss.values),
            bool((end.excluded > end.loss).all()),
        ),
    ]


def _falls(part: xr.Dataset, model: str, setting: str) -> list[Claim]:
    """lambda-hat from memorisation to the end, in each kind of run, and what the train loss says of it."""
    here, found = part.sel(setting=setting), []
    for kind in KINDS:
        run = of_kind(here, kind)
        if not run.sizes["run"]:
            continue
        first = np.minimum(memorised(run), run.sizes["time"] - 1)
        begin, end = run.value.values[np.arange(len(first)), first], run.value.values[:, -1]
        grows = "test loss jumps" if kind == KINDS[0] else "test loss never falls"
        found.append(
            Claim(
                f"{model}, {kind}, {setting}: lambda-hat falls after memorisation ({grows})",
                EXAMPLE if kind == KINDS[0] else "if it fell because of grokking, not here",
                "falls" if kind == KINDS[0] else "does not fall tenfold",
                f"{_middle(begin)} at memorisation, {_middle(end, '.2g')} at the end",
                bool((end < begin).all()) if kind == KINDS[0] else bool(not (end < begin / 10).any()),
            )
        )
    fits = [_log_fit(here.isel(run=i), int(since)) for i, since in enumerate(memorised(part))]
    squared = _middle(np.array([r for r, _ in fits]), ".3f")
    found.append(
        Claim(
            f"{model}, {setting}: after memorisation, R^2 of log lambda-hat on log train loss (all kinds; slope)",
            "the simplest account: nbeta L is small",
            "-",
            f"{squared}; {_middle(np.array([s for _, s in fits]), '.2f')}",
            None,
        )
    )
    return found


def _log_fit(run: xr.Dataset, since: int) -> tuple[float, float]:
    """R^2 and slope of log lambda-hat on log L(w*) from the memorised checkpoint on, positive estimates."""
    value, loss = run.value.values[since:], run.loss.values[since:]
    fine = (value > 0) & (loss > 0)
    if fine.sum() < 4:
        return np.nan, np.nan
    x, y = np.log(loss[fine]), np.log(value[fine])
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return np.nan, np.nan
    return float(np.corrcoef(x, y)[0, 1] ** 2), float(np.polyfit(x, y, 1)[0])


def leads_claims(part: xr.Dataset, model: str) -> list[Claim]:
    """The table of announcers, the question itself, and the same under the other definition of the jump."""
    grok = of_kind(part, KINDS[0])
    jump, half, step = jumps(grok), halves(grok), part.step.values
    table, second = leads(part), leads(part, half)
    there = [c for c in CONTROLS if (part.kind.values == c).any()]
    silent = lambda row: "".join(f"; silent on {c}: {row[c]}" for c in there)
    found = [
        Claim(
            f"{model}: steps by which {name} announces the jump (threshold {threshold(name):g} of its own extreme)",
            ASKED,
            "-",
            f"{row['fixed']}; false alarms: {false_alarms(part, name)}{silent(row)}; "
            f"before half of the answers are right: {second[name]['fixed']}",
            None,
        )
        for name, row in table.items()
    ]
    seen, each, kind = np.isfinite(jump), ratios(part), part.kind.values
    sound = lambda name: sounded(each[name][kind == KINDS[0]][seen], step, threshold(name))
    quiet = lambda name, c: calibrated(each[name][kind == KINDS[0]][seen], each[name][kind == c], step)
    for name in (n for n in table if n.startswith("lambda-hat")):
        over = {other: ahead(sound(name), sound(other)) for other in ("test loss", "train loss")}
        beside = {c: ahead(quiet(name, c), quiet("test loss", c)) for c in there}
        found.append(
            Claim(
                f"{model}: {name} sounds before the test loss does, also where both are silent on runs that never grok",
                "asked: does the coefficient announce the jump?",
                "before",
                f"before the test loss by {over['test loss']}; before the train loss by {over['train loss']}; false alarms: "
                f"{false_alarms(part, name)}" + "".join(f"; both silent on {c}, by {lead}" for c, lead in beside.items()),
                bool(min(lead.low for lead in (over["test loss"], *beside.values())) > 0) if there and seen.any() else None,
            )
        )  # fmt: skip
    return found


def _negatives(results: xr.Dataset, setting: str) -> Claim:
    here = results.sel(setting=setting)
    below = negative(here)
    flagged = here.findings.str.contains("negative").values
    steps = np.broadcast_to(here.step.values, below.shape)[below]
    return Claim(
        f"{setting}: negative coefficients, as they are (of which by more than two standard errors)",
        ASKED,
        "shown",
        f"{below.sum()} of {below.size} ({flagged.sum()})" + (f", at steps {_middle(steps, '.0f')}, least {np.nanmin(here.value.values):.2g}" if below.any() else ""),
        None,
    )  # fmt: skip


def stages(results: xr.Dataset, setting: str) -> list[list[tuple[int, int, int]]]:
    """Every boundary of every run under a setting: checkpoint, and its interval."""
    here = results.sel(setting=setting)
    low, high = here.boundary_low.values, here.boundary_high.values
    return [[(int(t), int(low[r, t]), int(high[r, t])) for t in np.flatnonzero(np.isfinite(low[r]))] for r in range(len(low))]  # fmt: skip


def _boundaries(results: xr.Dataset, setting: str) -> Claim:
    step, found = results.step.values, stages(results, setting)
    said = []
    for run, bounds in enumerate(found):
        if results.kind.values[run] == KINDS[0]:
            listed = ", ".join(f"{step[t]} [{step[low]}, {step[high]}]" for t, low, high in bounds) or "none"
            said.append(f"{results.model.values[run]} {int(results.seed[run])}: {listed}")
    return Claim(
        f"{setting}: boundaries of stages of lambda-hat, in steps with their 95 % intervals, of the runs that may grok",
        ASKED,
        "-",
        "; ".join(said),
        None,
    )


def _temperature(results: xr.Dataset) -> Claim:
    """Do the boundaries at the two temperatures agree: share that has one of the other within the two intervals."""
    one, other = (stages(results, str(s)) for s in results.setting.values)
    step = results.step.values
    meet = [any(low <= h and l <= high for _, l, h in b) for a, b in zip(one, other, strict=True) for _, low, high in a]
    near = [
        min((step[u] - step[t] for u, *_ in b), key=abs) for a, b in zip(one, other, strict=True) for t, *_ in a if b
    ]
    return Claim(
        "boundaries at the first n*beta whose interval meets one of a boundary at the second (all runs)",
        ASKED,
        "most",
        f"{np.mean(meet):.0%} of {len(meet)}; the nearest is off by a median of {np.median(np.abs(near)) if near else np.nan:.0f} steps"
        if meet
        else "no boundaries",
        bool(np.mean(meet) > 0.5) if meet else None,
    )
