"""What Chen et al. and earlier trials say of the polygons and of lambda-hat at them, beside what was measured."""

import itertools

import numpy as np
import xarray as xr

import slt
from experiments.shared import tell
from experiments.shared.claims import Claim, every, finite, median, share
from experiments.shared.statistics import added, auc
from experiments.tms.case import FULL_BATCH, SETTLE

CHEN, TRIAL = "Chen et al. 2023", "earlier trial of this project"
LEVEL_WIDTH = 1.5e-3  # how near a level of the theory a checkpoint must be to count as on it
CLOSE = 0.5  # in lambda-hat
TOLERANCE = 2  # checkpoints between two transitions that count as one
EXPECTED = {("4++", "5+"), ("4+", "5")}  # changes of polygon


def claims(results: xr.Dataset) -> list[Claim]:
    """The polygons; whether lambda-hat is the loss; its changes at theirs; who leaves the square."""
    named = results.expand_dims(setting=[FULL_BATCH])
    return [
        *_polygons(results),
        _beside_loss(results),
        _beside_polygons(results),
        tell.disguise(named, FULL_BATCH)[0],
        *tell.believed(named, FULL_BATCH),
        *_alignment(results),
        *_leaving(results),
    ]


def places(results: xr.Dataset, curve: str) -> list[list[int]]:
    """The checkpoints of the transitions of each run, in `kgon`, `llc` or `loss`."""
    jumps = tell.runs(results[f"{curve}_jump"], "step")
    return [np.flatnonzero(np.isfinite(row)).tolist() for row in jumps]


def sequences(results: xr.Dataset) -> list[tuple[str, ...]]:
    """The polygons each run goes through, in order."""
    named = zip(tell.runs(results.kgon, "step"), places(results, "kgon"), strict=True)
    return [tuple(str(names[i]) for i in (SETTLE, *found)) for names, found in named]


def _polygons(results: xr.Dataset) -> list[Claim]:
    on_level = results.level_distance.values < LEVEL_WIDTH
    agree = results.kgon.values == results.level.values
    changes = [change for names in sequences(results) for change in itertools.pairwise(names)]
    seen, both = [change in EXPECTED for change in changes], set(changes) >= EXPECTED
    opposed = [rise > 0 for fall, rise in _steps(results) if fall < 0]
    near, same = bool(on_level.mean() >= 0.95), bool(agree.mean() > 0.9)
    rise = "polygon changes that lower the loss: lambda-hat rises"
    return [
        share("checkpoints near a level of the theory", on_level, CHEN, ">= 95 %", holds=near),
        share("polygon read off the weights is the loss's nearest level", agree, tell.ASKED, "> 90 %", holds=same),
        share("changes of polygon that are 4++ -> 5+ or 4+ -> 5", seen, CHEN, "both occur", holds=both),
        share(rise, opposed, CHEN, "all", holds=every(opposed), headline=True),
    ]


def _steps(results: xr.Dataset) -> list[tuple[float, float]]:
    """For each change of polygon: the plateau means of the loss and of lambda-hat after it less those before it."""
    loss, value = tell.runs(results.loss, "step"), tell.runs(results.value, "step")
    steps = []
    for run, found in enumerate(places(results, "kgon")):
        edges = [SETTLE, *found, loss.shape[1]]
        for left, at, right in zip(edges, edges[1:], edges[2:], strict=False):
            before, after = slice(left, max(at - TOLERANCE, left + 1)), slice(min(at + TOLERANCE, right - 1), right)
            fall = float(loss[run, after].mean() - loss[run, before].mean())
            steps.append((fall, float(value[run, after].mean() - value[run, before].mean())))
    return steps


def usable(results: xr.Dataset) -> np.ndarray:
    """Where there is a lambda-hat that does not say of itself that w* was no minimum."""
    return ~tell.has(results, "negative") & np.isfinite(results.value.values)


def _beside_loss(results: xr.Dataset) -> Claim:
    """How much of lambda-hat the population loss tells, over the checkpoints of all runs."""
    kept, text = usable(results), "R^2 of lambda-hat with the loss, all checkpoints but the negative"
    r_squared = slt.regress(results.loss.values[kept], results.value.values[kept]).r_squared
    said = ".94" if results.gamma == 1 else "-"
    return Claim(text, TRIAL, said, r_squared, count=int(kept.sum()), headline=True)


def _beside_polygons(results: xr.Dataset) -> Claim:
    """lambda-hat on a plateau less that of its polygon at the same nbeta and gamma, which long chains know."""
    known = dict(zip(results.theory.values.tolist(), results.level_llc.values, strict=True))
    exact = np.vectorize(lambda name: known.get(name, np.nan), otypes=[float])(results.kgon.values)
    on_level = usable(results) & (results.level_distance.values < LEVEL_WIDTH)
    difference = xr.where(on_level, results.value - exact, np.nan)
    each = np.array([np.nanmedian(run) if np.isfinite(run).any() else np.nan for run in tell.runs(difference, "step")])
    within = bool(abs(np.median(finite(each))) < CLOSE) if np.isfinite(each).any() else None
    text = "lambda-hat on plateaus less that of the polygon, median of each run"
    return median(text, each, tell.ASKED, f"0 within {CLOSE}", holds=within, headline=True)


def _alignment(results: xr.Dataset) -> list[Claim]:
    kgon, llc, loss = (places(results, name) for name in ("kgon", "llc", "loss"))
    return [
        *tell.aligned("polygon changes with one of lambda-hat", kgon, llc, tolerance=TOLERANCE, headline=True),
        *tell.aligned("polygon changes with one of the loss", kgon, loss, tolerance=TOLERANCE, headline=True),
    ]


def _leaving(results: xr.Dataset) -> list[Claim]:
    """Which runs on a 4-gon leave it: the AUC of each early reading, and what lambda-hat adds to that of others."""
    here = results.isel(watched=results.on_square.values & np.isfinite(results.read_llc.values))
    leave, llc, text = here.leaves.values, here.read_llc.values, "AUC of {} for leaving the 4-gon"
    known = {
        "population loss": (here.read_loss.values, ".91"),
        "largest dead norm": (here.read_dead_norm.values, ".92"),
        "training loss": (here.read_empirical_loss.values, "-"),  # lambda-hat contains it, as L(w*)
    }
    made = [share(f"epoch {results.read}: runs on a 4-gon that leave it by {results.horizon}", leave, tell.ASKED)]
    for name, (score, said) in ({"-lambda-hat": (-llc, ".84")} | known).items():
        made.append(Claim(text.format(name), TRIAL, said, *auc(leave, score), count=len(leave)))
    for name, few in {"population loss and norm": 2, "all three": 3}.items():
        gain = added(leave, np.stack([score for score, _ in known.values()][:few], axis=1), llc[:, None])
        text = f"lambda-hat adds to the AUC of {name}, held out"
        holds = None if np.isnan(gain.value) else bool(gain.low > 0)
        made.append(Claim(text, tell.ASKED, "> 0", *gain, count=len(leave), holds=holds, headline=few == 3))
    return made
