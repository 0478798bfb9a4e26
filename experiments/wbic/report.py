"""What is said of WBIC, WAIC and the asymptotic formulas, beside what was measured."""

from typing import Any

import numpy as np
import xarray as xr

from experiments.shared.claims import Claim

Z = 3.0  # standard errors over data sets that a mean may be from what is claimed of it
W09, W10, W13 = "Watanabe 2009", "Watanabe 2010", "Watanabe 2013"
EXACT, OBVIOUS = "closed form, quadrature", "the obvious beside"


def mean(values: xr.DataArray) -> tuple[float, float]:
    """The mean over the data sets of one model and size, and its standard error."""
    return float(values.mean()), float(values.std(ddof=1)) / np.sqrt(values.size)


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
    text = "WBIC of the chains less its exact value, over its own error: r.m.s."
    made = [Claim(text, EXACT, ".8 to 1.3", spread, count=z.size, holds=0.8 < spread < 1.3, headline=True)]
    for model in map(str, results.model.values):
        here = results.sel(model=model)
        made += [*evidence(here, model), *losses(here, model), *criteria(here, model)]
    return made


def evidence(here: xr.Dataset, model: str) -> list[Claim]:
    """How far WBIC, BIC and the asymptotic formula are off F at the largest n."""
    last, singular = here.isel(n=-1), model == "singular"
    guesses = (last.wbic, bic(last), asymptotic(last) + last.exact_fitted)
    wbic, theirs, formula = (float(off(last, guess)) for guess in guesses)
    said, further = ("> WBIC", theirs > wbic) if singular else ("O(1)", None)
    each: Any = dict(unit="nats", headline=singular)
    return [
        Claim(f"{model}: WBIC is off F by, r.m.s.", W13, "O(sqrt(log n))", wbic, **each),
        Claim(f"{model}: BIC is off F by, r.m.s.", W13, said, theirs, holds=further, **each),
        Claim(f"{model}: formula with the true lambda, off F by, r.m.s.", W09, "O(1)", formula, unit="nats"),
    ]


def losses(here: xr.Dataset, model: str) -> list[Claim]:
    """The equations of state at the largest n, with lambda and the singular fluctuation nu that is measured there."""
    last, made = here.isel(n=-1), []
    n, value, nu = int(last.n), float(last["lambda"]), mean(last.fluctuation)[0]
    equations = [
        ("Bayes generalisation", last.exact_bayes, "lambda", value),
        ("Bayes training", last.bayes_training, "lambda - 2 nu", value - 2 * nu),
        ("Gibbs training", last.gibbs_training, "lambda - nu", value - nu),
    ]
    for name, values, formula, expected in equations:
        made.append(_near(f"{model}: n E[{name} error], n = {n}", W10, mean(n * values), expected, formula))
    return made


def criteria(here: xr.Dataset, model: str) -> list[Claim]:
    """n times how far each criterion is off the Bayes generalisation error in the mean, at the largest n."""
    last = here.isel(n=-1)
    gap = lambda guess: mean(int(last.n) * (guess - last.exact_bayes))
    text = lambda name: f"{model}: n E[{name} - Bayes error], n = {int(last.n)}"
    akaike = _near(text("AIC"), OBVIOUS, gap(aic(last)), 0.0)
    if model == "singular":
        akaike = akaike._replace(holds=not akaike.holds, expected="not 0")
    return [
        _near(text("WAIC"), W10, gap(last.waic), 0.0, headline=True),
        akaike,
        _near(text("n held-out examples"), OBVIOUS, gap(last.held_out), 0.0),
    ]


def _near(
    text: str, source: str, found: tuple[float, float], expected: float, formula: str = "", *, headline: bool = False
) -> Claim:
    """The claim that a mean is what is expected, within three standard errors, which are its interval."""
    value, error = found
    said, near = f"{formula} {expected:.3g}".strip(), abs(value - expected) <= Z * error
    return Claim(text, source, said, value, value - Z * error, value + Z * error, holds=near, headline=headline)
