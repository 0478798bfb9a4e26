"""What the `tms` experiment claims: the sources' numbers beside the measured ones, from its results alone."""

from collections import Counter

import numpy as np
import xarray as xr

from experiments.experiment import Claim
from experiments.statistics import Interval, added, auc
from slt.phases import Alignment, align

LEVEL_WIDTH = 1.5e-3  # how near a level of the theory a checkpoint must be to count as on it
SETTLE = 3  # checkpoints at the start, of a model that has not reached a polygon yet, in which no transition is sought
TOLERANCE = 2  # checkpoints between two transitions that count as one
CHEN = "Chen et al. 2023"


def claims(results: xr.Dataset) -> list[Claim]:
    """What Chen et al. and this project's reference values say, beside what was measured."""
    return [
        *_geometry_claims(results),
        *_curve_claims(results),
        *_alignment_claims(results),
        *_forecast_claims(results),
    ]


def _geometry_claims(results: xr.Dataset) -> list[Claim]:
    on_level = float((results.level_distance < LEVEL_WIDTH).mean())
    agree = float((results.kgon == results.level).mean())
    counts = Counter(sequence(results, run) for run in results.run.values)
    moved = {name: count for name, count in counts.most_common() if "->" in name}
    expected = all(any(pair in name for name in moved) for pair in ("4++ -> 5+", "4+ -> 5"))
    seen = ", ".join(f"{name}: {count}" for name, count in moved.items()) or "none"
    still = sum(counts.values()) - sum(moved.values())
    return [
        Claim("checkpoints within 1.5e-3 of a level of the theory", CHEN + ", Table 1", ">= 95 %", f"{on_level:.1%}", on_level >= 0.95),
        Claim("polygon read off W and b = nearest level of the loss", "two independent readings", "most", f"{agree:.1%}", agree > 0.9),
        Claim("sequences of polygons (runs)", CHEN + ", Figure 4", "4++ -> 5+ and 4+ -> 5", f"{seen}; none in {still}", expected),
    ]  # fmt: skip


def sequence(results: xr.Dataset, run: int) -> str:
    """The polygons one run goes through: `4++ -> 5+`."""
    names = results.kgon.values[run]
    return " -> ".join([str(names[SETTLE]), *(str(names[i]) for i in places(results.kgon_jump)[run])])


def places(jumps: xr.DataArray) -> list[list[int]]:
    """For each run, the checkpoints of its transitions."""
    return [[int(i) for i in np.flatnonzero(np.isfinite(row))] for row in jumps.values]


def _curve_claims(results: xr.Dataset) -> list[Claim]:
    usable = np.isfinite(results.value.values) & ~results.findings.str.contains("negative").values
    r2 = (
        np.corrcoef(results.loss.values[usable], results.value.values[usable])[0, 1] ** 2
        if usable.sum() > 2
        else np.nan
    )
    steps = [step for run in range(results.sizes["run"]) for step in _steps(results, run) if step[0] < 0]
    rising = sum(step[1] > 0 for step in steps)
    level = {name: results.value.values[usable & (results.kgon.values == name)] for name in ("4++", "5+")}
    plateau = (
        ", ".join(f"{name}: {values.mean():.1f}" for name, values in level.items() if values.size) or "none reached"
    )
    near = all(
        low <= level[name].mean() <= high for name, low, high in (("4++", 4.5, 6.5), ("5+", 7.5, 9)) if level[name].size
    )
    trouble = Counter(kind for cell in results.findings.values.ravel() for kind in str(cell).split(", ") if kind)
    health = (
        ", ".join(f"{kind} {count / results.findings.size:.0%}" for kind, count in trouble.most_common()) or "nothing"
    )
    return [
        Claim("polygon transitions that lower the loss and raise lambda-hat", CHEN + ", Figure 4", "all", f"{rising} of {len(steps)}", rising == len(steps) if steps else None),
        Claim("lambda-hat on the plateaus", "trial of this project, gamma = 1", "4-gons 5-6, 5+ 8", plateau, near if any(v.size for v in level.values()) else None),
        Claim("R^2 of lambda-hat with the loss, all checkpoints (negative estimates left out)", "trial of this project", ".94 at gamma 1, .83 at 10, .73 at 100", f"{r2:.2f} at gamma {results.gamma:g}", None),
        Claim("what verdict finds, share of the estimates", "this project", "-", health, None),
    ]  # fmt: skip


def _steps(results: xr.Dataset, run: int) -> list[tuple[float, float]]:
    """For each change of polygon: by how much the plateau means of the loss and of lambda-hat differ after and before."""
    edges = [SETTLE, *places(results.kgon_jump)[run], results.sizes["epoch"]]
    step = []
    for left, at, right in zip(edges, edges[1:], edges[2:], strict=False):
        before, after = slice(left, max(at - TOLERANCE, left + 1)), slice(min(at + TOLERANCE, right - 1), right)
        step.append(
            tuple(
                float(np.mean(c.values[run, after]) - np.mean(c.values[run, before]))
                for c in (results.loss, results.value)
            )
        )
    return step


def _alignment_claims(results: xr.Dataset) -> list[Claim]:
    kgons, llc, loss = (places(results[name]) for name in ("kgon_jump", "llc_jump", "loss_jump"))
    one_way, back, plain = (
        align(kgons, llc, tolerance=TOLERANCE),
        align(llc, kgons, tolerance=TOLERANCE),
        align(kgons, loss, tolerance=TOLERANCE),
    )
    significant = lambda a: bool(a.p_value < 0.05) if a.count else None
    return [
        Claim("polygon transitions with one in lambda-hat within two checkpoints", "null: runs shuffled", "more than the null", _say(one_way), significant(one_way)),
        Claim("... and with one in the loss", "the obvious", "-", _say(plain), None),
        Claim("lambda-hat transitions with one of the polygon within two checkpoints", "null: runs shuffled", "more than the null", _say(back), significant(back)),
    ]  # fmt: skip


def _say(a: Alignment) -> str:
    if a.count == 0:
        return "no transitions"
    return f"{a.share:.0%} of {a.count} (null {a.null:.0%}, p = {a.p_value:.3f}), lag {a.lag:+.0f}"


def _forecast_claims(results: xr.Dataset) -> list[Claim]:
    scores, gains, leave = forecast(results)
    at = f"epoch {results.read}, {len(leave)} runs on a 4-gon, {leave.sum()} leave by {results.horizon}"
    expected = {"-lambda-hat": ".84", "loss": ".91", "largest dead norm": ".92"}
    told = [
        Claim(f"AUC of {name} for leaving the 4-gon ({at})", "trial of this project", expected[name], str(score), None)
        for name, score in scores.items()
    ]
    return told + [Claim(f"what lambda-hat adds to the AUC of {name}", "nobody's", "open", str(gain), None) for name, gain in gains.items()]  # fmt: skip


def forecast(results: xr.Dataset) -> tuple[dict[str, Interval], dict[str, Interval], np.ndarray]:
    """AUC of each number read early, what lambda-hat adds to the others (held out), and which runs leave."""
    there = results.on_square.values & np.isfinite(results.read_llc.values)
    leave, llc, loss, norm = (
        results[name].values[there] for name in ("leaves", "read_llc", "read_loss", "read_dead_norm")
    )
    column = lambda *values: np.stack(values, axis=1)
    scores = {"-lambda-hat": auc(leave, -llc), "loss": auc(leave, loss), "largest dead norm": auc(leave, norm)}
    gains = {
        "the loss": added(leave, column(loss), column(llc)),
        "the loss and the norm": added(leave, column(loss, norm), column(llc)),
    }
    return scores, gains, leave
