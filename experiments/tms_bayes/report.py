"""What the free-energy formula foretells beside what was sampled, and whether the samples can be trusted."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from experiments.shared import tell
from experiments.shared.claims import Claim, interval, share
from experiments.tms_bayes import prediction
from experiments.tms_bayes.prediction import A_PRIORI, LOSS, WITH_CONSTANT, occupancy

CHEN = "Chen et al. 2023"
SMC, CHAINS = ("SMC", "SMC again"), "chains from the prior"
OTHER = ["fewer than four", "no name"]  # phases of samples, besides the k-gons
FLOOR = 1e-12  # probability below which a prediction is not punished further
SAME = 0.05  # shares of one phase, mean over data sets, that count as equal


def claims(results: xr.Dataset) -> list[Claim]:
    """Where the prediction from loss and lambda holds and where it fails; whether the samples can be trusted."""
    crossings = [*_crossings(results, "4", "5"), *_crossings(results, "5", "6")]
    return [*_dominance(results), *crossings, *_scores(results), *_samplers(results)]


def sampled(results: xr.Dataset) -> Float[np.ndarray, "n data phase"]:
    """The share of each phase in the samples of both SMC runs, first on the population loss, then for each data set."""
    return results.occupancy.sel(sampler=list(SMC)).mean("sampler").transpose("n", "data", "phase").values


def named(results: xr.Dataset) -> Float[np.ndarray, "n data kgon"]:
    """The same for the phases with a name among themselves; NaN where there are none."""
    kept = sampled(results)[..., : results.sizes["kgon"]]
    with np.errstate(invalid="ignore"):
        return kept / kept.sum(axis=-1, keepdims=True)


def crossing(results: xr.Dataset, before: str, after: str) -> tuple[float, float, float, float]:
    """The n where one phase takes over from another: all data sets together, 5 % and 95 % of them, on the population.

    A phase without a sample counts as 1/1000, so that the odds are finite.
    """
    shares, names, n = sampled(results) + 1e-3, results.phase.values.tolist(), results.n.values
    i, j = names.index(before), names.index(after)
    population, *each = (prediction.takeover(n, np.log(row[:, j] / row[:, i])) for row in np.moveaxis(shares, 1, 0))
    low, high = np.nanquantile(each, [0.05, 0.95]) if np.isfinite(each).any() else (np.nan, np.nan)
    mean = shares[:, 1:].mean(axis=1)
    return prediction.takeover(n, np.log(mean[:, j] / mean[:, i])), float(low), float(high), population


def log_score(results: xr.Dataset, q: Float[np.ndarray, "n kgon"]) -> Float[np.ndarray, " data"]:
    """Mean over n of sum_k p_k log q_k, p sampled and q predicted, for each data set."""
    return np.nanmean(np.sum(named(results)[:, 1:] * np.log(np.maximum(q, FLOOR))[:, None], axis=-1), axis=0)


def _dominance(results: xr.Dataset) -> list[Claim]:
    dominant = lambda shares: results.kgon.values[np.nan_to_num(shares, nan=-1).argmax(axis=1)]
    seen = dominant(np.mean(named(results)[:, 1:], axis=1))
    kept = np.diff([int(name[0]) for name in seen]) >= 0
    rising = bool(kept.all() and len(set(seen)) > 1)
    made = [share("next larger n: the dominant k-gon has no fewer vertices", kept, CHEN, "all", holds=rising)]
    for name in results.predictor.values.tolist():
        right = dominant(occupancy(results.free_energy.sel(predictor=name).values, results.n.values)) == seen
        text, source = f"n whose dominant k-gon {name} foretells", CHEN if name == A_PRIORI else tell.ASKED
        made.append(share(text, right, source, "all", holds=bool(right.all()), headline=name != WITH_CONSTANT))
    return made


def _crossings(results: xr.Dataset, before: str, after: str) -> list[Claim]:
    n, low, high, population = crossing(results, before, after)
    kgons, count, made = results.kgon.values.tolist(), results.sizes["data"] - 1, []
    holds = lambda inside: bool(inside) if np.isfinite(n) else None
    for name in results.predictor.values.tolist():
        F = results.free_energy.sel(predictor=name).values
        said = prediction.crossing(F, kgons.index(before), kgons.index(after))
        told, inside = "no crossing" if np.isnan(said) else f"n = {said:.0f}", holds(low <= said <= high)
        text, source = f"{before} -> {after}, foretold by {name}", CHEN if name == A_PRIORI else tell.ASKED
        made.append(Claim(text, source, told, n, low, high, count, holds=inside, headline=name == A_PRIORI))
    if after == "6":
        near = holds(600 <= n <= 700)
        made.append(Claim("5 -> 6 as sampled", CHEN, "600 to 700 by MCMC", n, low, high, count, holds=near))
    return [*made, Claim(f"{before} -> {after}, on the population loss", tell.ASKED, "-", population)]


def _scores(results: xr.Dataset) -> list[Claim]:
    guess, made, means = -np.log(results.sizes["kgon"]), [], {}
    for name in results.predictor.values.tolist():
        score = log_score(results, occupancy(results.free_energy.sel(predictor=name).values, results.n.values))
        (low, high), means[name] = interval(score, np.mean), float(score.mean())
        text, above = f"log score of {name}, against a guess", bool(low > guess)
        made.append(Claim(text, tell.ASKED, f"> {guess:.2f}", means[name], low, high, len(score), holds=above))
    best = float(log_score(results, np.mean(named(results)[:, 1:], axis=1)).mean())
    made.append(Claim("best log score of a prediction that ignores the data set", tell.ASKED, "-", best))
    gains = {"lambda": means[A_PRIORI] - means[LOSS], "the constant": means[WITH_CONSTANT] - means[A_PRIORI]}
    for name, gain in gains.items():
        text = f"what {name} adds to the log score"
        made.append(Claim(text, tell.ASKED, "> 0", gain, holds=bool(gain > 0), headline=name == "lambda"))
    return made


def _samplers(results: xr.Dataset) -> list[Claim]:
    mean = results.occupancy.sel(data=results.data >= 0).mean("data")
    apart = lambda sampler: float(np.abs(mean.sel(sampler=sampler) - mean.sel(sampler=SMC[0])).max())
    few, none = (float(mean.sel(sampler=list(SMC), phase=name).mean("sampler").max()) for name in OTHER)
    found = results.log_evidence.sel(data=-1, sampler=list(SMC)).isel(n=-1).values.mean()
    formula = prediction.evidence(results.free_energy.sel(predictor=WITH_CONSTANT).values, results.n.values[-1:])
    error, ess = float(found - np.logaddexp.reduce(formula[0])), float(results.ess.sel(sampler=list(SMC)).min())
    largest = {
        "a phase's share, SMC less a second SMC": apart(SMC[1]),
        "a phase's share, SMC less chains from the prior": apart(CHAINS),
        "share of samples below which lies no named phase": none,
        "share of samples of fewer than four vertices": few,
    }
    text = f"log evidence on the population less that of {WITH_CONSTANT}"
    return [
        Claim("least share of effective particles on a rung", tell.ASKED, "> .5", ess, holds=ess > 0.5),
        Claim(text, tell.ASKED, "0 +- 0.5", error, holds=abs(error) < 0.5),
        *(Claim(f"{name}, at most", tell.ASKED, f"< {SAME}", x, holds=x < SAME) for name, x in largest.items()),
    ]
