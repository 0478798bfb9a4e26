"""What the `tms` experiment claims: the sources' numbers beside the measured ones, from its results alone."""

import itertools
from collections import Counter
from typing import NamedTuple

import numpy as np
import xarray as xr

from experiments.experiment import Claim
from experiments.statistics import Interval, added, auc
from slt.phases import Alignment, align

LEVEL_WIDTH = 1.5e-3  # how near a level of the theory a checkpoint must be to count as on it
SETTLE = 3  # checkpoints at the start, of a model that has not reached a polygon yet, in which no transition is sought
TOLERANCE = 2  # checkpoints between two transitions that count as one
CHEN, TRIAL, NULL = "Chen et al. 2023", "earlier trial of this project", "null: runs shuffled"


def claims(results: xr.Dataset) -> list[Claim]:
    """What Chen et al. and earlier trials say, beside what was measured."""
    return [
        *_geometry_claims(results),
        *_curve_claims(results),
        *_alignment_claims(results),
        *_forecast_claims(results),
    ]


def places(jumps: xr.DataArray) -> list[list[int]]:
    """For each run, the checkpoints of its transitions."""
    return [[int(i) for i in np.flatnonzero(np.isfinite(row))] for row in jumps.values]


def polygons(results: xr.Dataset, run: int) -> list[str]:
    """The polygons one run goes through, in order."""
    names = results.kgon.values[run]
    return [str(names[i]) for i in (SETTLE, *places(results.kgon_jump)[run])]


def _geometry_claims(results: xr.Dataset) -> list[Claim]:
    on_level = float((results.level_distance < LEVEL_WIDTH).mean())
    agree = float((results.kgon == results.level).mean())
    sequences = [polygons(results, run) for run in range(results.sizes["run"])]
    steps = {step for names in sequences for step in itertools.pairwise(names)}
    counts = Counter(" -> ".join(names) for names in sequences if len(names) > 1)
    moved = "".join(f"{name}: {count}, " for name, count in counts.most_common())
    both = {("4++", "5+"), ("4+", "5")} <= steps
    return [
        Claim(
            "checkpoints within 1.5e-3 of a level of the theory",
            CHEN,
            ">= 95 %",
            f"{on_level:.1%}",
            on_level >= 0.95,
        ),
        Claim(
            "polygon read off W and b = nearest level of the loss",
            "two independent readings",
            "most",
            f"{agree:.1%}",
            agree > 0.9,
        ),
        Claim(
            "sequences of polygons (runs)",
            CHEN,
            "4++ -> 5+ and 4+ -> 5",
            f"{moved}no change: {len(sequences) - counts.total()}",
            both,
        ),
    ]


def _curve_claims(results: xr.Dataset) -> list[Claim]:
    steps = [step for run in range(results.sizes["run"]) for step in _steps(results, run) if step[0] < 0]
    rising = sum(step[1] > 0 for step in steps)
    usable = ~negative(results)
    plateaus = {name: results.value.values[usable & (results.kgon.values == name)] for name in ("4++", "5+")}
    means = {name: values.mean() for name, values in plateaus.items() if values.size}
    comparable = means and results.gamma == 1
    near = all(abs(mean - TRIAL_PLATEAU[name]) <= 1 for name, mean in means.items()) if comparable else None
    return [
        Claim(
            "polygon transitions that lower the loss and raise lambda-hat",
            CHEN,
            "all",
            f"{rising} of {len(steps)}",
            rising == len(steps) if steps else None,
        ),
        Claim(
            "mean lambda-hat on the plateaus",
            TRIAL,
            "4++ 5-6, 5+ 8 (at gamma 1)",
            ", ".join(f"{name}: {mean:.1f}" for name, mean in means.items()) or "none reached",
            near,
        ),
        Claim(
            "R^2 of lambda-hat with the loss, all checkpoints but the negative estimates",
            TRIAL,
            ".94 at gamma 1, .83 at 10, .73 at 100",
            f"{r_squared(results):.2f} at gamma {results.gamma:g}",
            None,
        ),
        Claim("what verdict finds, share of the estimates", "this experiment", "-", _health(results), None),
    ]


TRIAL_PLATEAU = {"4++": 5.5, "5+": 8.0}


def _steps(results: xr.Dataset, run: int) -> list[tuple[float, float]]:
    """For each change of polygon: the plateau means of the loss and of lambda-hat after it less those before it."""
    edges = [SETTLE, *places(results.kgon_jump)[run], results.sizes["epoch"]]
    steps = []
    for left, at, right in zip(edges, edges[1:], edges[2:], strict=False):
        before, after = slice(left, max(at - TOLERANCE, left + 1)), slice(min(at + TOLERANCE, right - 1), right)
        rise = lambda curve: float(curve.values[run, after].mean() - curve.values[run, before].mean())
        steps.append((rise(results.loss), rise(results.value)))
    return steps


def negative(results: xr.Dataset) -> np.ndarray:
    """Where lambda-hat says of itself that w* was no minimum, or where there is none."""
    return results.findings.str.contains("negative").values | ~np.isfinite(results.value.values)


def r_squared(results: xr.Dataset) -> float:
    """Squared correlation of lambda-hat with the population loss, all checkpoints but the negative estimates."""
    usable = ~negative(results)
    return float(np.corrcoef(results.loss.values[usable], results.value.values[usable])[0, 1] ** 2)


def _health(results: xr.Dataset) -> str:
    kinds = Counter(kind for cell in results.findings.values.ravel() for kind in str(cell).split(", ") if kind)
    return ", ".join(f"{kind} {count / results.findings.size:.0%}" for kind, count in kinds.most_common()) or "nothing"


def _alignment_claims(results: xr.Dataset) -> list[Claim]:
    kgon, llc, loss = (places(results[name]) for name in ("kgon_jump", "llc_jump", "loss_jump"))
    found, back, plain = (align(*pair, tolerance=TOLERANCE) for pair in ((kgon, llc), (llc, kgon), (kgon, loss)))
    beyond = lambda a: bool(a.p_value < 0.05) if a.count else None
    return [
        Claim(
            "polygon transitions with one in lambda-hat within two checkpoints",
            NULL,
            "more than the null",
            _say(found),
            beyond(found),
        ),
        Claim(
            "lambda-hat transitions with one of the polygon within two checkpoints",
            NULL,
            "more than the null",
            _say(back),
            beyond(back),
        ),
        Claim("polygon transitions with one in the loss within two checkpoints", "the obvious", "-", _say(plain), None),
    ]


def _say(a: Alignment) -> str:
    if a.count == 0:
        return "no transitions"
    return f"{a.share:.0%} of {a.count} (null {a.null:.0%}, p = {a.p_value:.3f}), lag {a.lag:+.0f}"


class Forecast(NamedTuple):
    """Which runs on a 4-gon leave it; the AUC of each early reading for that; what lambda-hat adds to the others."""

    leave: np.ndarray
    scores: dict[str, Interval]
    gains: dict[str, Interval]


def forecast(results: xr.Dataset) -> Forecast:
    """Does lambda-hat, read early, tell which runs leave the 4-gon, and more than the loss and the geometry do?

    The training loss stands beside the population loss because lambda-hat contains it, as L(w*): what the data set of
    a run says about its future is in both.
    """
    there = results.on_square.values & np.isfinite(results.read_llc.values)
    read = lambda name: results[name].values[there]
    leave, llc = read("leaves"), read("read_llc")
    known = {"population loss": read("read_loss"), "largest dead norm": read("read_dead_norm")}
    known["training loss"] = read("read_empirical_loss")
    scores = {"-lambda-hat": auc(leave, -llc)} | {name: auc(leave, value) for name, value in known.items()}
    beside = {"population loss and norm": list(known.values())[:2], "these and training loss": list(known.values())}
    gains = {name: added(leave, np.stack(values, axis=1), llc[:, None]) for name, values in beside.items()}
    return Forecast(leave, scores, gains)


def _forecast_claims(results: xr.Dataset) -> list[Claim]:
    leave, scores, gains = forecast(results)
    at = f"epoch {results.read}: {len(leave)} runs on a 4-gon, {leave.sum()} leave by {results.horizon}"
    trial = {"-lambda-hat": ".84", "population loss": ".91", "largest dead norm": ".92", "training loss": "-"}
    told = [
        Claim(f"AUC of {name} for leaving the 4-gon ({at})", TRIAL, trial[name], str(score), None)
        for name, score in scores.items()
    ]
    open_question = [
        Claim(f"what lambda-hat adds to the AUC of {name}, held out", "open", "?", str(gain), None)
        for name, gain in gains.items()
    ]
    return told + open_question
