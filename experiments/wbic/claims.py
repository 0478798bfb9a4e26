"""What is said of WBIC, WAIC and the asymptotic formulas, beside what was measured."""

from typing import NamedTuple

import numpy as np
import xarray as xr

from experiments.shared.claims import Claim

Z = 3.0  # standard errors over data sets that a mean may be from what is claimed of it
W09, W10, W13 = "Watanabe 2009", "Watanabe 2010", "Watanabe 2013"
EXACT, OBVIOUS = "closed form, quadrature", "the obvious beside"


class Mean(NamedTuple):
    """A mean over data sets and its standard error."""

    value: float
    stderr: float

    def is_near(self, other: float) -> bool:
        return bool(abs(self.value - other) <= Z * self.stderr)


def mean(values: xr.DataArray) -> Mean:
    """Over the data sets of one model and size."""
    return Mean(float(values.mean()), float(values.std(ddof=1)) / np.sqrt(values.size))


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
    z = (results.wbic - results.exact_wbic) / results.wbic_stderr
    spread = float(np.sqrt((z**2).mean()))
    gap = results.exact_wbic - results.exact_free_energy
    added = float(np.sqrt((results.wbic_stderr**2).mean() / (gap**2).mean()))
    text = "WBIC of the chains less its exact value, over its own error: r.m.s."
    made = [
        Claim(text, EXACT, ".8 to 1.3", spread, count=z.size, holds=0.8 < spread < 1.3, headline=True),
        Claim("error of the chains / error of exact WBIC as a value of F", "asked here", "-", added),
    ]
    for model in map(str, results.model.values):
        here = results.sel(model=model)
        made += [*evidence(here, model), *losses(here, model), *criteria(here, model)]
    return made


def evidence(here: xr.Dataset, model: str) -> list[Claim]:
    """How far WBIC and BIC are off F, and how F grows with log n between the least and the largest n."""
    singular, last, first = model == "singular", here.isel(n=-1), here.isel(n=0)
    relative = (off(here, here.exact_wbic) / np.log(here.n)).values
    shrinks = float(relative[-1] / relative[0])
    wbic, theirs, formula = (
        float(off(last, guess)) for guess in (last.wbic, bic(last), asymptotic(last) + last.exact_fitted)
    )
    ends, log_ratio = [mean(at.exact_free_energy) for at in (first, last)], float(np.log(last.n / first.n))
    error = float(np.hypot(ends[0].stderr, ends[1].stderr)) / log_ratio
    slope = Mean((ends[1].value - ends[0].value) / log_ratio, error)
    predicted = float(asymptotic(last) - asymptotic(first)) / log_ratio
    falls = bool((np.diff(relative) < 0).all())
    further = bool(theirs > wbic) if singular else None
    text = f"{model}: |WBIC - F|/log n at the largest n over that at the least"
    return [
        Claim(text, W13, "falls with n", shrinks, count=len(relative), holds=falls),
        Claim(f"{model}: WBIC is off F by, r.m.s.", W13, "O(sqrt(log n))", wbic, unit="nats", headline=singular),
        Claim(
            f"{model}: BIC is off F by, r.m.s.",
            W13,
            "> WBIC" if singular else "O(1)",
            theirs,
            unit="nats",
            holds=further,
            headline=singular,
        ),
        Claim(f"{model}: formula with the true lambda, off F by, r.m.s.", W09, "O(1)", formula, unit="nats"),
        _near(f"{model}: slope of exact F - n S_n in log n", W09, slope, predicted, "with log log n"),
    ]


def losses(here: xr.Dataset, model: str) -> list[Claim]:
    """The singular fluctuation, and the equations of state with it, at the largest n."""
    last = here.isel(n=-1)
    n, value, nu = int(last.n), float(last["lambda"]), mean(last.fluctuation)
    regular = model == "regular"
    holds = bool(abs(nu.value / value - 1) < 0.1) if regular else None
    low, high = nu.value - 2 * nu.stderr, nu.value + 2 * nu.stderr
    expected = f"{value:.3g} within 10 %" if regular else f"not {value:.3g}"
    made = [
        Claim(
            f"{model}: singular fluctuation nu", W10, expected, nu.value, low, high, last.fluctuation.size, holds=holds
        )
    ]
    equations = [
        ("Bayes generalisation", last.exact_bayes, "lambda", value),
        ("Gibbs generalisation", last.exact_gibbs, "lambda + nu", value + nu.value),
        ("Bayes training", last.bayes_training, "lambda - 2 nu", value - 2 * nu.value),
        ("Gibbs training", last.gibbs_training, "lambda - nu", value - nu.value),
    ]
    for name, values, formula, expected in equations:
        made.append(_near(f"{model}: n E[{name} error], n = {n}", W10, mean(n * values), expected, formula))
    return made


def criteria(here: xr.Dataset, model: str) -> list[Claim]:
    """n times how far each criterion is off the Bayes generalisation error in the mean; WAIC at every n."""
    made = []
    for n in here.n.values:
        at = here.sel(n=n)
        gap, largest = mean(int(n) * (at.waic - at.exact_bayes)), n == here.n.values[-1]
        made.append(_near(f"{model}: n E[WAIC - Bayes error], n = {n}", W10, gap, 0.0, headline=bool(largest)))
    last = here.isel(n=-1)
    guesses = {"AIC": aic(last), "training loss": last.bayes_training, "n held-out examples": last.held_out}
    for name, guess in guesses.items():
        gap, text = mean(int(last.n) * (guess - last.exact_bayes)), f"{model}: n E[{name} - Bayes error]"
        if name == "training loss":
            low, high = gap.value - Z * gap.stderr, gap.value + Z * gap.stderr
            made.append(Claim(text, OBVIOUS, "not 0", gap.value, low, high, holds=not gap.is_near(0.0)))
        else:
            claim = _near(text, OBVIOUS, gap, 0.0)
            made.append(claim._replace(holds=None, expected="-") if name == "AIC" else claim)
    return made


def _near(text: str, source: str, found: Mean, expected: float, formula: str = "", *, headline: bool = False) -> Claim:
    """The claim that a mean is what is expected, within three standard errors, which are its interval."""
    low, high = found.value - Z * found.stderr, found.value + Z * found.stderr
    said = f"{formula} {expected:.3g}".strip()
    return Claim(text, source, said, found.value, low, high, holds=found.is_near(expected), headline=headline)
