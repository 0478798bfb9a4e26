"""What is claimed of the estimates: the sources' numbers beside the measured ones, from the results alone."""

from collections import Counter

import numpy as np
import xarray as xr

from experiments.experiment import Claim

LAU, TRIAL = (
    "Lau et al. 2023, Furman and Lau 2024",
    "earlier trial of this project: 14 networks of widths 5-30, n = 1e5",
)
REFERENCE, REQUIRED = 0.044, 0.05  # median relative errors: of that trial; asked for
RESCALED = 0.02
SURE = 0.1  # an error that a verdict should have seen
BIASED = 0.1


def claims(results: xr.Dataset) -> list[Claim]:
    """Deep linear networks, with what is simpler beside them; points; samplers; rescaling."""
    return [*_networks(results), *_singular(results), *_verdicts(results), *_points(results), *_samplers(results), *_rescaling(results)]  # fmt: skip


def known(results: xr.Dataset) -> np.ndarray:
    """The networks whose coefficient was found, and is not 0."""
    return np.isfinite(results.local.values) & (results.local.values > 0)


def singular(results: xr.Dataset) -> np.ndarray:
    """Those of them where half the rank of the Hessian is not the answer."""
    return known(results) & (results.hessian_rank.values / 2 != results.local.values)


def estimates(results: xr.Dataset) -> dict[str, np.ndarray]:
    """lambda-hat at the larger n, and what is simpler: (network,)."""
    return {
        "lambda-hat": results.value.values[:, -1],
        "the Gaussian at w*": results.gaussian.values[:, -1],
        "half the rank of the Hessian": results.hessian_rank.values / 2,
        "d/2": results.parameters.values / 2,
    }


def errors(estimate: np.ndarray, results: xr.Dataset, where: np.ndarray) -> np.ndarray:
    """|estimate/lambda - 1|, lambda the local coefficient, of the networks `where`; NaN stays."""
    return np.abs(estimate[where] / results.local.values[where] - 1)


def _quartiles(error: np.ndarray) -> str:
    if not error.size:
        return "no network"
    low, middle, high = np.quantile(error, [0.25, 0.5, 0.75])
    return f"{middle:.1%} (quartiles {low:.1%} and {high:.1%}, largest {error.max():.0%})"


def _networks(results: xr.Dataset) -> list[Claim]:
    there = known(results)
    told = []
    for i, n in enumerate(results.samples.values):
        error = errors(results.value.values[:, i], results, there)
        told.append(
            Claim(
                f"median |lambda-hat/lambda - 1| of {there.sum()} deep linear networks, n = {n:.0e}",
                TRIAL,
                f"<= {REQUIRED:.0%}; the trial had {REFERENCE:.1%}",
                _quartiles(error),
                bool(np.median(error) <= REFERENCE) if error.size else None,
            )
        )
    overall = there & (results.overall.values > 0)
    against = np.abs(results.value.values[overall, -1] / results.overall.values[overall] - 1)
    differ = np.mean(results.local.values[there] != results.overall.values[there])
    told.append(Claim("the same, held against the global coefficient", LAU, "-", f"{_quartiles(against)}; it is another one at {differ:.0%}", None))  # fmt: skip
    if missing := int(np.sum(~np.isfinite(results.local.values))):
        told.append(Claim("networks whose coefficient was not found", "this experiment", "0", str(missing), False))
    return told


def _singular(results: xr.Dataset) -> list[Claim]:
    there, odd = known(results), singular(results)
    told = []
    for name, estimate in list(estimates(results).items())[1:]:
        measured = f"{_quartiles(errors(estimate, results, there))}; exact at {np.mean(~odd[there]):.0%}" if "rank" in name else _quartiles(errors(estimate, results, there))  # fmt: skip
        told.append(Claim(f"the same of {name}", "the obvious", "-", measured, None))
    by = {name: errors(estimate, results, odd) for name, estimate in estimates(results).items()}
    ours, gaussian = by["lambda-hat"], by["the Gaussian at w*"]
    text = f"the {odd.sum()} networks where half the rank of the Hessian is wrong: lambda-hat beside the Gaussian"
    measured = f"{_quartiles(ours)} beside {_quartiles(gaussian)}"
    better = bool(np.median(ours) < np.median(gaussian)) if odd.any() else None
    return [*told, Claim(text, "the obvious", "a smaller error", measured, better)]


def _verdicts(results: xr.Dataset) -> list[Claim]:
    there = known(results)
    found = results.findings.values[:, -1]
    clean, error = there & (found == ""), errors(results.value.values[:, -1], results, there)
    kinds = Counter(kind for cell in found[there] for kind in str(cell).split(", ") if kind)
    said = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "nothing"
    good = errors(results.value.values[:, -1], results, clean)
    missed, bad = int(np.sum(good > SURE)), int(np.sum(error > SURE))
    return [
        Claim("networks in which verdict finds nothing", "this experiment", "-", f"{clean.sum()} of {there.sum()}; it finds: {said}", None),
        Claim("the error of those", "this experiment", f"<= {REQUIRED:.0%}", _quartiles(good), bool(np.median(good) <= REQUIRED) if good.size else None),
        Claim(f"errors above {SURE:.0%} that verdict does not see", "this experiment", "0", f"{missed} of {bad}", missed == 0),
    ]  # fmt: skip


def _points(results: xr.Dataset) -> list[Claim]:
    if not results.sizes.get("where"):
        return []
    value, own, overall = (results[f"point_{name}"].values for name in ("value", "local", "overall"))
    apart, error = own != overall, results.point_stderr.values
    nearer = np.abs(value - own) < np.abs(value - overall)
    worst = int(np.argmax(np.abs(value / own - 1)))
    return [
        Claim("points above the least coefficient of their product: lambda-hat is nearer to the own one", "Watanabe 2009", "all", f"{np.sum(nearer[apart])} of {apart.sum()}", bool(nearer[apart].all()) if apart.any() else None),
        Claim("points: largest error", "this experiment", f"<= {SURE:.0%}", f"{value[worst] / own[worst] - 1:+.0%} +- {error[worst] / own[worst]:.0%} at {results['where'].values[worst]}", bool(abs(value[worst] / own[worst] - 1) <= SURE)),
    ]  # fmt: skip


def relative_bias(results: xr.Dataset) -> np.ndarray:
    """(sampler, model): mean of the estimates over the exact finite value, less 1."""
    return results.sampled_value.values.mean(-1) / results.exact.values[None] - 1


def relative_spread(results: xr.Dataset) -> np.ndarray:
    """(sampler, model): standard deviation of the estimates, over the exact finite value."""
    return results.sampled_value.values.std(-1, ddof=1) / results.exact.values[None]


def draws_per_gradient(results: xr.Dataset) -> np.ndarray:
    """(sampler, model): effective draws for 1000 gradients."""
    return 1000 * results.sampled_ess.values.mean(-1) / results.sampled_gradients.values


def _samplers(results: xr.Dataset) -> list[Claim]:
    bias, spread, effective = relative_bias(results), relative_spread(results), draws_per_gradient(results)
    told, count = [], np.sqrt(results.sizes["repeat"])
    for i, name in enumerate(results.sampler.values):
        worst = int(np.argmax(np.abs(bias[i])))
        sure = np.abs(bias[i]) > np.maximum(BIASED, 3 * spread[i] / count)
        measured = (
            f"{np.median(np.abs(bias[i])):.1%}, largest {bias[i, worst]:+.0%} ({results.model.values[worst]}); spread "
            f"{np.median(spread[i]):.1%}, {np.median(effective[i]):.2g} effective draws for 1000 gradients"
        )
        told.append(Claim(f"{name}: median |bias| against the exact finite value, {bias.shape[1]} models", "slt.theory", f"none above {BIASED:.0%}", measured, not sure.any()))  # fmt: skip
    return told


def deviation(results: xr.Dataset, field: str = "value") -> np.ndarray:
    """(coordinates, factor): lambda-hat at W_1 c, W_2/c over that at c = 1, less 1."""
    values = results[f"rescaled_{field}"].values
    return values / values[:, values.shape[1] // 2, None] - 1


def _rescaling(results: xr.Dataset) -> list[Claim]:
    if "rescaled_value" not in results:
        return []
    chains, exact = (np.abs(deviation(results, field)).max(1) for field in ("value", "gaussian"))
    say = lambda i: f"{100 * chains[i]:.2g} % at most (the Gaussian: {100 * exact[i]:.2g} %)"
    return [
        Claim("ReLU network under W_1 c, W_2/c, c = 1e-4..1e4, localised in the weights: lambda-hat changes by", LAU, f"<= {RESCALED:.0%}", say(0), bool(chains[0] <= RESCALED)),
        Claim("the same, localised in weights relative to the size of their layer", LAU, f"<= {RESCALED:.0%}", say(1), bool(chains[1] <= RESCALED)),
        Claim("its lambda-hat at c = 1 beside (parameters - units)/2, and the Gaussian's", "the obvious", f"{results.rescaled_limit.item():g}", f"{results.rescaled_value.values[1, 4]:.1f}, {results.rescaled_gaussian.values[1, 4]:.1f}", None),
    ]  # fmt: skip
