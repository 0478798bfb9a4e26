"""What the `tms_bayes` experiment claims: the occupancy predicted before sampling beside the one observed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from experiments.experiment import Claim
from experiments.tms_bayes import prediction
from experiments.tms_bayes.prediction import FreeEnergy, occupancy

CHEN, HERE = "Chen et al. 2023", "this experiment"
A_PRIORI = "loss + lambda"
WITH_CONSTANT = "loss + lambda + constant"
SMC, CHAINS = ("SMC", "SMC again"), "chains from the prior"
RESAMPLES = 1000
FLOOR = 1e-12  # probability below which a prediction is not punished further
CROSSINGS = ("4", "5"), ("5", "6")
SAME = 0.05  # shares of one phase, mean over data sets, that count as equal


class Crossing(NamedTuple):
    """The n at which one phase takes over from another: all data sets together, and in the middle 90 % of them."""

    n: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.n):
            return "none"
        return f"{self.n:.0f} (data sets {self.low:.0f} to {self.high:.0f})"


def free_energy(results: xr.Dataset, predictor: str) -> dict[str, FreeEnergy]:
    """F_k of one predictor, from the results."""
    terms = results.free_energy.sel(predictor=predictor).transpose("kgon", "term").values
    return {str(name): FreeEnergy(*row) for name, row in zip(results.kgon.values, terms.tolist(), strict=True)}


def observed(results: xr.Dataset, samplers: Sequence[str] = SMC) -> Float[np.ndarray, "n data phase"]:
    """The share of each phase in the samples, for each data set: of both SMC runs, if not said otherwise."""
    sampled = results.occupancy.sel(data=results.data >= 0, sampler=list(samplers)).mean("sampler")
    return sampled.transpose("n", "data", "phase").values


def on_population(results: xr.Dataset) -> Float[np.ndarray, "n phase"]:
    """The same on the population loss."""
    sampled = results.occupancy.sel(data=-1, sampler=list(SMC)).mean("sampler")
    return sampled.transpose("n", "phase").values


def named(results: xr.Dataset, shares: Float[np.ndarray, "... phase"]) -> Float[np.ndarray, "... kgon"]:
    """Shares of the phases with a name among themselves; NaN where there are none."""
    kept = shares[..., : results.sizes["kgon"]]
    with np.errstate(invalid="ignore"):
        return kept / kept.sum(axis=-1, keepdims=True)


def interval(values: Float[np.ndarray, "data ..."]) -> tuple[Any, Any, Any]:
    """Mean over data sets with its 95 % bootstrap interval."""
    weight = np.random.default_rng(0).multinomial(len(values), np.full(len(values), 1 / len(values)), RESAMPLES)
    low, high = np.quantile(np.tensordot(weight / len(values), values, 1), [0.025, 0.975], axis=0)
    return values.mean(axis=0), low, high


def crossing(results: xr.Dataset, before: str, after: str, *, samplers: Sequence[str] = SMC) -> Crossing:
    """Where the observed shares of two phases cross."""
    shares, names = observed(results, samplers), results.phase.values.tolist()
    place = lambda rows: _cross(results, rows[:, names.index(before)], rows[:, names.index(after)])
    each = [place(shares[:, i]) for i in range(shares.shape[1])]
    found = [n for n in each if np.isfinite(n)] or [np.nan]
    return Crossing(place(shares.mean(axis=1)), *np.quantile(found, [0.05, 0.95]).tolist())


def population_crossing(results: xr.Dataset, before: str, after: str) -> float:
    """Where they cross on the population loss."""
    shares, names = on_population(results), results.phase.values.tolist()
    return _cross(results, shares[:, names.index(before)], shares[:, names.index(after)])


def _cross(results: xr.Dataset, before: Float[np.ndarray, " n"], after: Float[np.ndarray, " n"]) -> float:
    """The last n at which log(after/before) changes its sign upwards, between two n linear in log n; NaN if none.

    A phase without a sample counts as 1/1000, so that the odds are finite.
    """
    odds, log_n = np.log((after + 1e-3) / (before + 1e-3)), np.log(results.n.values)
    rises = np.flatnonzero((odds[:-1] < 0) & (odds[1:] >= 0))
    if rises.size == 0:
        return float("nan")
    i = rises[-1]
    return float(np.exp(np.interp(0, odds[i : i + 2], log_n[i : i + 2])))


def log_score(results: xr.Dataset, predictor: str) -> tuple[float, float, float]:
    """Mean over n and data sets of sum_k p_k log q_k, p observed and q predicted, and its 95 % interval."""
    q = np.maximum(occupancy(free_energy(results, predictor), results.n.values), FLOOR)
    score = np.sum(named(results, observed(results)) * np.log(q)[:, None], axis=-1)
    return _mean_interval(score)


def best_score(results: xr.Dataset) -> float:
    """The log score of a predictor that knows the mean observed occupancy at each n: none that ignores the data set has more."""
    p = named(results, observed(results)).mean(axis=1)
    return float(np.nanmean(np.sum(p * np.log(np.maximum(p, FLOOR)), axis=-1)))


def _mean_interval(score: Float[np.ndarray, "n data"]) -> tuple[float, float, float]:
    value, low, high = interval(np.nanmean(score, axis=0))
    return float(value), float(low), float(high)


def dominant(results: xr.Dataset, shares: Float[np.ndarray, "n kgon"]) -> list[str]:
    """The k-gon with the largest share at each n."""
    return [str(results.kgon.values[i]) for i in np.nan_to_num(shares, nan=-1).argmax(axis=1)]


def claims(results: xr.Dataset) -> list[Claim]:
    """Where the prediction from loss and lambda holds and where it fails; whether the samples can be trusted."""
    crossings = [claim for pair in CROSSINGS for claim in _crossing_claims(results, *pair)]
    return [
        *_dominance_claims(results),
        *crossings,
        _published_claim(results),
        *_score_claims(results),
        *_sampler_claims(results),
    ]


def _dominance_claims(results: xr.Dataset) -> list[Claim]:
    seen = dominant(results, named(results, observed(results)).mean(axis=1))
    order = list(dict.fromkeys(seen))
    told = []
    for name in results.predictor.values.tolist():
        said = dominant(results, occupancy(free_energy(results, name), results.n.values))
        wrong = [f"n = {n:.0f} ({a}, is {b})" for n, a, b in zip(results.n.values, said, seen, strict=True) if a != b]
        measured = f"{len(seen) - len(wrong)} of {len(seen)}" + (f"; wrong at {', '.join(wrong)}" if wrong else "")
        text = f"dominant k-gon foretold by {name}"
        told.append(Claim(text, CHEN if name == A_PRIORI else HERE, "at every n", measured, not wrong))
    rising = order == sorted(order, key=lambda name: name[0])
    ordered = rising and len(order) > 1
    return [Claim("dominant k-gon as n grows", CHEN, "more vertices each time", " -> ".join(order), ordered), *told]


def _crossing_claims(results: xr.Dataset, before: str, after: str) -> list[Claim]:
    seen = crossing(results, before, after)
    where = f"{before} -> {after} at n"
    rows = []
    for name in results.predictor.values.tolist():
        said = prediction.crossing(free_energy(results, name), before, after)
        inside = bool(seen.low <= said <= seen.high) if np.isfinite(seen.n) else None
        source = CHEN if name == A_PRIORI and after == "6" else HERE
        told = f"{said:.0f}" if said > 1 else f"{after} ahead at all n"
        rows.append(Claim(f"{where}, foretold by {name}", source, told, str(seen), inside))
    smooth = population_crossing(results, before, after)
    chains = crossing(results, before, after, samplers=[CHAINS])
    text = f"{where}, on the population loss beside that of the data sets"
    rows.append(Claim(text, HERE, f"{seen.n:.0f}", f"{smooth:.0f}", None))
    return [*rows, Claim(f"{where}, as chains from the prior have it", HERE, f"{seen.n:.0f}", str(chains), None)]


def _published_claim(results: xr.Dataset) -> Claim:
    seen = crossing(results, "5", "6").n
    holds = bool(600 <= seen <= 700) if np.isfinite(seen) else None
    return Claim("5 -> 6 as sampled, all data sets", CHEN, "600 to 700 by MCMC", f"{seen:.0f}", holds)


def _score_claims(results: xr.Dataset) -> list[Claim]:
    scores = {name: log_score(results, name) for name in results.predictor.values.tolist()}
    guess, best = -np.log(results.sizes["kgon"]), best_score(results)
    rows = []
    for name, (value, low, high) in scores.items():
        text = f"log score of {name} (guess {guess:.2f}, best {best:.2f})"
        rows.append(Claim(text, HERE, "above the guess", f"{value:.2f} [{low:.2f}, {high:.2f}]", bool(low > guess)))
    gain = scores[A_PRIORI][0] - scores["loss"][0]
    more = scores[WITH_CONSTANT][0] - scores[A_PRIORI][0]
    return [
        *rows,
        Claim("what lambda adds to the log score of the loss", HERE, "> 0", f"{gain:+.2f}", bool(gain > 0)),
        Claim("what the constant adds to that of loss + lambda", HERE, "> 0", f"{more:+.2f}", bool(more > 0)),
    ]


def _sampler_claims(results: xr.Dataset) -> list[Claim]:
    again, plain = disagreement(results, SMC[1]), disagreement(results, CHAINS)
    few, none = (observed(results)[..., i].mean(axis=1) for i in (-2, -1))
    smc, error = results.sel(sampler=list(SMC)), evidence_error(results)
    evidences = smc.log_evidence.transpose("sampler", ...).values
    spread = float(np.abs(evidences[0] - evidences[1]).max())
    at = lambda values: f"{values.max():.3f} at n = {results.n.values[values.argmax()]:.0f}"
    ess, acceptance = float(smc.ess.min()), float(smc.acceptance.min())
    everywhere = lambda values: bool(np.all(values < SAME))
    least, below = f"< {SAME}", f"< {SAME} at every n"
    return [
        Claim("difference of a phase's share, SMC against a second SMC", HERE, below, at(again), everywhere(again)),
        Claim("the same, SMC against chains from the prior", HERE, below, f"{at(plain)}; {least} up to n = {_until(results, plain)}", everywhere(plain)),
        Claim("least share of effective particles on a rung", HERE, "> .5", f"{ess:.2f}", ess > 0.5),
        Claim("least mean acceptance on a rung", HERE, "-", f"{acceptance:.2f}", None),
        Claim("difference of log evidence between two SMC runs, the largest", HERE, "-", f"{spread:.2f}", None),
        Claim(f"log evidence on the population loss less that of {WITH_CONSTANT}, largest n", HERE, "0 +- 0.5", f"{error:+.2f}", bool(abs(error) < 0.5)),
        Claim("samples below which lies no named phase", HERE, below, at(none), everywhere(none)),
        Claim("samples of fewer than four vertices, not in the prediction", HERE, below, f"{at(few)}; {least} from n = {_from(results, few)}", everywhere(few)),
    ]  # fmt: skip


def disagreement(results: xr.Dataset, sampler: str) -> Float[np.ndarray, " n"]:
    """The largest difference of a phase's mean share between the first SMC run and another sampling."""
    each = results.occupancy.sel(data=results.data >= 0).mean("data").transpose("sampler", "n", "phase")
    return np.abs(each.sel(sampler=sampler).values - each.sel(sampler=SMC[0]).values).max(axis=1)


def evidence_error(results: xr.Dataset) -> float:
    """log Z sampled on the population loss at the largest n, less log sum_k exp(-F_k) with the constant."""
    sampled = results.log_evidence.sel(data=-1).transpose("n", "sampler").values[-1, :2].mean()
    formula = prediction.evidence(free_energy(results, WITH_CONSTANT), results.n.values[-1:])
    return float(sampled - np.logaddexp.reduce(formula, axis=1)[0])


def _until(results: xr.Dataset, difference: Float[np.ndarray, " n"]) -> str:
    above = np.flatnonzero(difference >= SAME)
    last = (above[0] if above.size else len(difference)) - 1
    return f"{results.n.values[last]:.0f}" if last >= 0 else "none"


def _from(results: xr.Dataset, share: Float[np.ndarray, " n"]) -> str:
    above = np.flatnonzero(share >= SAME)
    first = above[-1] + 1 if above.size else 0
    return f"{results.n.values[first]:.0f}" if first < len(share) else "none"
