"""What is said of WBIC, WAIC and the asymptotic formulas, beside what was measured."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from experiments.experiment import Claim

Z = 3.0  # standard errors over data sets that a mean may be from what is claimed of it
W09, W10, W13 = "Watanabe 2009", "Watanabe 2010", "Watanabe 2013"
EXACT = "closed form, quadrature"


class Mean(NamedTuple):
    """A mean over data sets and its standard error."""

    value: float
    stderr: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.stderr:.2g})"

    def is_near(self, other: float) -> bool:
        return bool(abs(self.value - other) <= Z * self.stderr)


def mean(values: xr.DataArray) -> Mean:
    """Over the data sets of one model and size."""
    return Mean(float(values.mean()), float(values.std(ddof=1)) / np.sqrt(values.size))


def part(results: xr.Dataset, model: str, n: int = -1) -> xr.Dataset:
    """One model at the n of this place, by default the largest."""
    return results.sel(model=model).isel(n=n)


def asymptotic(results: xr.Dataset) -> xr.DataArray:
    """lambda log n - (m - 1) log log n, of F - n S_n."""
    log_n = np.log(results.n)
    return results["lambda"] * log_n - (results.multiplicity - 1) * np.log(log_n)


def bic(results: xr.Dataset) -> xr.DataArray:
    """n(L - S_n) at the maximum of the likelihood, and d/2 log n."""
    return results.exact_fitted + results.parameters / 2 * np.log(results.n)


def aic(results: xr.Dataset) -> xr.DataArray:
    """L - S_n at the maximum of the likelihood, and d/n: of one example, as WAIC is."""
    return (results.exact_fitted + results.parameters) / results.n


def off(results: xr.Dataset, guess: xr.DataArray) -> xr.DataArray:
    """Root of the mean square over data sets of what a number is off from F."""
    return np.sqrt(((guess - results.exact_free_energy) ** 2).mean("data_set"))


def claims(results: xr.Dataset) -> list[Claim]:
    """The chains against exact values; the evidence; the losses; what the obvious criteria give."""
    models = [str(name) for name in results.model.values]
    made = [_chains(results), _volume(results)]
    for model in models:
        made += [_wbic(results, model), _bic(results, model), _slope(results, model), _bias(results, model)]
    made += [_fluctuation(results, model) for model in models]
    for model in models:
        made += [*_losses(results, model), *_criteria(results, model)]
    return made


def _chains(results: xr.Dataset) -> Claim:
    """The chains' WBIC against its exact value, in standard errors of each."""
    z = (results.wbic - results.exact_wbic) / results.wbic_stderr
    spread = float(np.sqrt((z**2).mean()))
    return Claim("WBIC of the chains less its exact value, over its own error: root mean square", EXACT, "1 (0.8 to 1.3)", f"{spread:.3g}", bool(0.8 < spread < 1.3))  # fmt: skip


def _volume(results: xr.Dataset) -> Claim:
    """What chains add to the error of WBIC itself."""
    share = float(
        np.sqrt((results.wbic_stderr**2).mean() / ((results.exact_wbic - results.exact_free_energy) ** 2).mean())
    )
    return Claim("error of the chains / error of exact WBIC as a value of F", "this experiment", "-", f"{share:.2g}", None)  # fmt: skip


def _wbic(results: xr.Dataset, model: str) -> Claim:
    at = results.sel(model=model)
    relative = off(at, at.exact_wbic) / np.log(at.n)
    expected = "falls with n: O(sqrt(log n))/log n"
    return Claim(f"{model}: |WBIC - F|/log n, root mean square, n = {_sizes(results)}", W13, expected, _list(relative), bool((np.diff(relative) < 0).all()))  # fmt: skip


def _bic(results: xr.Dataset, model: str) -> Claim:
    at = part(results, model)
    ours, theirs = float(off(at, at.wbic)), float(off(at, bic(at)))
    formula = float(off(at, asymptotic(at) + at.exact_fitted))
    measured = f"BIC {theirs:.3g}, WBIC {ours:.3g}, formula with the true lambda and m {formula:.3g}"
    expected = "BIC is further off than WBIC" if model == "singular" else "both O(1)"
    return Claim(f"{model}: how far off F, root mean square, n = {int(at.n)}", W13, expected, measured, bool(theirs > ours) if model == "singular" else None)  # fmt: skip


def _slope(results: xr.Dataset, model: str) -> Claim:
    """Between the least and the largest n, data sets being independent."""
    first, last = part(results, model, 0), part(results, model)
    ends, run = [mean(at.exact_free_energy) for at in (first, last)], float(np.log(last.n / first.n))
    slope = Mean((ends[1].value - ends[0].value) / run, float(np.hypot(ends[0].stderr, ends[1].stderr)) / run)
    formula = float(asymptotic(last) - asymptotic(first)) / run
    d = float(last.parameters) / 2
    expected = f"lambda = {float(last['lambda']):.3g}; with log log n {formula:.3g}. BIC: {d:.3g}"
    return Claim(f"{model}: slope of exact F - n S_n in log n", W09, expected, str(slope), slope.is_near(formula))


def _bias(results: xr.Dataset, model: str) -> Claim:
    gaps = [mean(at.waic - at.exact_bayes) for at in (part(results, model, i) for i in range(results.sizes["n"]))]
    scaled = [Mean(float(n) * gap.value, float(n) * gap.stderr) for n, gap in zip(results.n, gaps, strict=True)]
    return Claim(
        f"{model}: n E[WAIC - Bayes generalisation error], n = {_sizes(results)}", W10, "0 within its error, O(1/n)",
        _list(scaled), all(gap.is_near(0.0) for gap in scaled),
    )  # fmt: skip


def _fluctuation(results: xr.Dataset, model: str) -> Claim:
    at = part(results, model)
    nu, lam = mean(at.fluctuation), float(at["lambda"])
    expected = f"lambda = {lam:.3g}, within 10 %" if model == "regular" else f"not lambda = {lam:.3g} in general"
    holds = bool(abs(nu.value / lam - 1) < 0.1) if model == "regular" else None
    return Claim(f"{model}: singular fluctuation nu = E[V]/2, n = {int(at.n)}", W10, expected, str(nu), holds)


def _losses(results: xr.Dataset, model: str) -> list[Claim]:
    """The equations of state at the largest n, with the nu that was measured there."""
    at = part(results, model)
    n, lam, nu = int(at.n), float(at["lambda"]), mean(at.fluctuation)
    found = [
        ("Bayes generalisation error", at.exact_bayes, "lambda", lam),
        ("Gibbs generalisation error", at.exact_gibbs, "lambda + nu", lam + nu.value),
        ("Bayes training error", at.bayes_training, "lambda - 2 nu", lam - 2 * nu.value),
        ("Gibbs training error", at.gibbs_training, "lambda - nu", lam - nu.value),
    ]
    made = []
    for name, values, formula, expected in found:
        scaled = mean(n * values)
        made.append(Claim(f"{model}: n E[{name}], n = {n}", W10, f"{formula} = {expected:.3g}", str(scaled), scaled.is_near(expected)))  # fmt: skip
    return made


def _criteria(results: xr.Dataset, model: str) -> list[Claim]:
    """How the obvious criteria foretell the Bayes generalisation error, their mean and their spread."""
    at = part(results, model)
    n = int(at.n)
    guesses = {"WAIC": at.waic, "AIC": aic(at), "training loss": at.bayes_training, "n held-out examples": at.held_out}
    gaps = {name: n * (guess - at.exact_bayes) for name, guess in guesses.items()}
    biased = "; ".join(f"{name} {mean(gap)}" for name, gap in gaps.items())
    spread = "; ".join(f"{name} {float(np.sqrt((gap**2).mean())):.3g}" for name, gap in gaps.items())
    fair = {name: mean(gap).is_near(0.0) for name, gap in gaps.items()}
    expected = "0 for WAIC and held out, not for the training loss"
    holds = fair["WAIC"] and fair["n held-out examples"] and not fair["training loss"]
    return [
        Claim(f"{model}: n E[criterion - Bayes generalisation error], n = {n}", "the obvious beside", expected, biased, holds),
        Claim(f"{model}: the same, root mean square", "the obvious beside", "-", spread, None),
    ]  # fmt: skip


def _sizes(results: xr.Dataset) -> str:
    return ", ".join(str(int(n)) for n in results.n)


def _list(values: Iterable[Any]) -> str:
    return ", ".join(str(v) if isinstance(v, Mean) else f"{float(v):.3g}" for v in values)
