"""The exact values of `wbic` against sums over a grid of weights, its padding against none, and planted data sets."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.stats import multivariate_normal, norm

from experiments.shared.claims import checked
from experiments.wbic.models import MODELS, REGULAR, SINGULAR, TRUTH, exact, loss, sample
from experiments.wbic.report import asymptotic, claims

N = 20
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


@functools.cache
def found(model) -> Any:
    """A data set of N among N + 7 rows, what is exact of it, and its rows that count."""

    def make(model):
        data = sample(jax.random.key(1), model, jnp.int32(N), N + 7)
        return data, exact(model, data, jnp.int32(N)), loss(model, jnp.ones(3), data)

    data, values, each = quick(make)(jnp.int32(model))
    assert not np.any(each[N:])
    return *(np.asarray(data[name][:N], float) for name in ("x", "y")), jax.tree.map(float, values)


def test_the_evidence_of_the_regular_model_is_a_gaussian_density():
    x, y, values = found(REGULAR)
    F = -multivariate_normal.logpdf(y, cov=np.eye(N) + x @ x.T)
    entropy = -norm.logpdf(y, x @ TRUTH).sum()
    np.testing.assert_allclose(values.free_energy, F - entropy, atol=1e-3)


def test_the_losses_of_the_regular_model_are_those_of_its_posterior():
    x, y, values = found(REGULAR)
    rng = np.random.default_rng(0)

    def draws(beta):
        S = np.linalg.inv(beta * x.T @ x + np.eye(3))
        return rng.multivariate_normal(beta * S @ x.T @ y, S, 40_000)

    rise = lambda w: ((y[None] - w @ x.T) ** 2 - (y - x @ TRUTH)[None] ** 2).sum(axis=1) / 2
    np.testing.assert_allclose(values.wbic, rise(draws(1 / np.log(N))).mean(), atol=0.06)
    fitted = np.linalg.lstsq(x, y, rcond=None)[0]
    np.testing.assert_allclose(values.fitted, rise(fitted[None])[0], atol=1e-3)
    some, new = draws(1.0)[:2000] - TRUTH[None], rng.normal(size=(2000, 4))
    ratio = [np.log(np.exp(some @ z[:3] * z[3] - (some @ z[:3]) ** 2 / 2).mean()) for z in new]
    assert abs(values.bayes + np.mean(ratio)) < 3 * np.std(ratio) / np.sqrt(len(new))
    assert np.std(ratio) / np.sqrt(len(new)) < 0.2 * values.bayes


def test_the_singular_model_is_the_sum_over_both_weights():
    x, y, values = found(SINGULAR)
    a = np.linspace(-6, 6, 401)
    c, prior = np.outer(a, a), np.outer(norm.pdf(a), norm.pdf(a))
    rise = x[:, 0] @ x[:, 0] * c**2 / 2 - x[:, 0] @ y * c

    def posterior(beta):
        weight = prior * np.exp(-beta * rise)
        return weight / weight.sum()

    one = posterior(1.0)
    np.testing.assert_allclose(values.free_energy, -np.log((posterior(0.0) * np.exp(-rise)).sum()), atol=1e-3)
    np.testing.assert_allclose(values.wbic, (posterior(1 / np.log(N)) * rise).sum(), atol=1e-3)
    new = np.random.default_rng(0).normal(size=(300, 2))
    ratio = [np.log((one * np.exp(c * u * v - c**2 * u**2 / 2)).sum()) for u, v in new]
    error = np.std(ratio) / np.sqrt(len(new))
    assert abs(values.bayes + np.mean(ratio)) < 3 * error
    assert error < 0.3 * (one * c**2).sum() / 2


@pytest.mark.parametrize("model", [REGULAR, SINGULAR])
def test_the_best_fit_is_below_everything_else(model):
    values = found(model)[2]
    assert values.fitted < min(0, values.wbic, values.free_energy)


def planted(spread: float) -> xr.Dataset:
    """Data sets of both models, in which F, WBIC and all losses are what the theory says, but for noise of mean 0."""
    n, rng = np.array([16, 64, 256]), np.random.default_rng(0)
    about = {"parameters": [3, 2], "lambda": [1.5, 0.5], "multiplicity": [1, 2]}
    results = xr.Dataset({name: ("model", values) for name, values in about.items()}, {"model": list(MODELS), "n": n})
    noise = lambda: xr.DataArray(rng.normal(size=(2, 3, 200)), dims=("model", "n", "data_set"))
    ell, half = results["lambda"], {"regular": 1.5, "singular": 0.4}
    nu, fitted = (xr.DataArray(list(values), dims="model") for values in (half.values(), (-1.5, -0.5)))
    F = asymptotic(results) + noise()
    wbic = F + spread * np.log(results.n) ** 0.5 * noise()
    excess = {"exact_bayes": ell, "bayes_training": ell - 2 * nu, "gibbs_training": ell - nu}
    losses = {name: (value + 0.1 * noise()) / results.n for name, value in (excess | {"held_out": ell}).items()}
    return results.assign(
        exact_free_energy=F,
        exact_wbic=wbic,
        wbic=wbic + 0.1 * noise(),
        wbic_stderr=0.1 * xr.ones_like(F),
        exact_fitted=fitted + noise(),
        fluctuation=nu + 0.1 * noise(),
        waic=losses["exact_bayes"],
        **losses,
    )


def failed(results) -> list[str]:
    return [claim.text for claim in checked(claims(results)) if claim.holds is False]


def test_claims_hold_of_what_is_known():
    assert failed(planted(0.3)) == []


@pytest.mark.parametrize(
    ("name", "change", "caught"),
    [
        ("wbic_stderr", lambda error: error / 2, "WBIC of the chains"),
        ("waic", lambda waic: waic + 0.3 / waic.n, "WAIC - Bayes error"),
        ("fluctuation", lambda nu: 1.3 * nu, "Gibbs training error"),
        ("wbic", lambda wbic: wbic + wbic.n, "singular: BIC is off F"),
        ("bayes_training", lambda loss: loss + 0.3 / loss.n, "Bayes training error"),
    ],
)
def test_what_is_false_is_caught(name, change, caught):
    results = planted(0.3)
    texts = failed(results.assign({name: change(results[name])}))
    assert any(caught in text for text in texts), texts
