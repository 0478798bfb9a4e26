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
    """The share of each phase in the samples of both SMC runs together."""
    return results.occupancy.sel(sampler=list(SMC)).mean("sampler").transpose("n", "data", "phase").values


def named(results: xr.Dataset) -> Float[np.ndarray, "n data kgon"]:
    """The same for the phases with a name among themselves; NaN where there are none."""
    kept = sampled(results)[..., : results.sizes["kgon"]]
    with np.errstate(invalid="ignore"):
        return kept / kept.sum(axis=-1, keepdims=True)


def crossing(results: xr.Dataset, before: str, after: str) -> tuple[float, float, float]:
    """The n where one phase takes over from another: all data sets together, and 5 % and 95 % of them.

    A phase without a sample counts as 1/1000, so that the odds are finite.
    """
    shares, names, n = sampled(results) + 1e-3, results.phase.values.tolist(), results.n.values
    i, j = names.index(before), names.index(after)
    takeover = lambda share: prediction.takeover(n, np.log(share[:, j] / share[:, i]))
    each = [takeover(share) for share in np.moveaxis(shares, 1, 0)]
    low, high = np.nanquantile(each, [0.05, 0.95]) if np.isfinite(each).any() else (np.nan, np.nan)
    return takeover(shares.mean(axis=1)), float(low), float(high)


def predictions(results: xr.Dataset) -> dict[str, Float[np.ndarray, "n kgon"]]:
    """The occupancy that each predictor foretells: name -> share of every k-gon."""
    F, n = results.free_energy, results.n.values
    return {str(name): occupancy(F.sel(predictor=name).values, n) for name in results.predictor.values}


def _dominance(results: xr.Dataset) -> list[Claim]:
    dominant = lambda shares: results.kgon.values[np.nan_to_num(shares, nan=-1).argmax(axis=1)]
    seen = dominant(named(results).mean(axis=1))
    kept = np.diff([int(name[0]) for name in seen]) >= 0
    rising = bool(kept.all() and len(set(seen)) > 1)
    made = [share("next larger n: the dominant k-gon has no fewer vertices", kept, CHEN, "all", holds=rising)]
    for name, shares in predictions(results).items():
        right = dominant(shares) == seen
        text, source = f"n whose dominant k-gon {name} foretells", CHEN if name == A_PRIORI else tell.ASKED
        made.append(share(text, right, source, "all", holds=bool(right.all()), headline=name != WITH_CONSTANT))
    return made


def _crossings(results: xr.Dataset, before: str, after: str) -> list[Claim]:
    n, low, high = crossing(results, before, after)
    kgons, count, made = results.kgon.values.tolist(), results.sizes["data"], []
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
    return made


def _scores(results: xr.Dataset) -> list[Claim]:
    """Mean over n of sum_k p_k log q_k, p sampled and q predicted, over the data sets."""
    guess, made, means = -np.log(results.sizes["kgon"]), [], {}
    for name, q in predictions(results).items():
        log_q = np.log(np.maximum(q, FLOOR))[:, None]
        score = np.nanmean(np.sum(named(results) * log_q, axis=-1), axis=0)
        (low, high), means[name] = interval(score, np.mean), float(score.mean())
        text, above = f"log score of {name}, against a guess", bool(low > guess)
        made.append(Claim(text, tell.ASKED, f"> {guess:.2f}", means[name], low, high, len(score), holds=above))
    gains = {"lambda": means[A_PRIORI] - means[LOSS], "the constant": means[WITH_CONSTANT] - means[A_PRIORI]}
    for name, gain in gains.items():
        text = f"what {name} adds to the log score"
        made.append(Claim(text, tell.ASKED, "> 0", gain, holds=bool(gain > 0), headline=name == "lambda"))
    return made


def _samplers(results: xr.Dataset) -> list[Claim]:
    """Whether the samples can be trusted, and whether the prediction leaves out a phase that is there."""
    mean, ess = results.occupancy.mean("data"), float(results.ess.sel(sampler=list(SMC)).min())
    apart = lambda sampler: float(np.abs(mean.sel(sampler=sampler) - mean.sel(sampler=SMC[0])).max())
    largest = {
        "a phase's share, SMC less a second SMC": apart(SMC[1]),
        "a phase's share, SMC less chains from the prior": apart(CHAINS),
        "share of samples of fewer than four vertices": float(
            mean.sel(sampler=list(SMC), phase=OTHER[0]).mean("sampler").max()
        ),
    }
    return [
        Claim("least share of effective particles on a rung", tell.ASKED, "> .5", ess, holds=ess > 0.5),
        *(Claim(f"{name}, at most", tell.ASKED, f"< {SAME}", x, holds=x < SAME) for name, x in largest.items()),
    ]
