"""Effective draws and R-hat on chains of known law, and a verdict that names each planted fault and no other."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.diagnostics import ess, rhat, verdict
from slt.llc import LLC, estimate_llc
from slt.samplers.mala import mala
from slt.samplers.sgld import sgld

# compiling takes longer than running here
CHEAPLY = {"xla_backend_optimization_level": 0}
quick = functools.partial(jax.jit, compiler_options=CHEAPLY)


def ar1(phi, chains, draws):
    """Stationary chains x' = phi x + sqrt(1 - phi^2) xi: variance 1, autocorrelation time (1 + phi)/(1 - phi)."""
    xi = np.random.default_rng(0).normal(size=(draws, chains))
    x = [xi[0]]
    for noise in xi[1:]:
        x.append(phi * x[-1] + np.sqrt(1 - phi**2) * noise)
    return jnp.asarray(np.stack(x, axis=1), jnp.float32)


def settings(loss, sampler=mala(0.005), dimensions=2, **options):  # noqa: B008
    """The arguments of an adequate estimate at the origin, unless `options` say otherwise."""
    defaults: dict[str, Any] = dict(nbeta=100.0, gamma=30.0, chains=4, warmup=50, draws=400)
    return (loss, jnp.zeros(dimensions), jnp.zeros((1,)), sampler), defaults | options


def estimate(*arguments, **options):
    arguments, options = settings(*arguments, **options)
    return quick(lambda key: estimate_llc(key, *arguments, **options))(jax.random.key(1))


def bowl(w, data):
    return jnp.sum(w**2) / 2


def slope(w, data):
    return jnp.sum((w - 1) ** 2) / 2


def two_wells(w, data):
    """The second well is 10/nbeta deeper at nbeta = 1000, with the origin between them."""
    return (w[0] ** 2 - 0.25) ** 2 + 0.01 * w[0] + w[1] ** 2


def plateau(w, data):
    return 1 - jnp.exp(-5 * jnp.sum(w**2))


@pytest.mark.parametrize("phi", [-0.3, 0.0, 0.5, 0.9])
def test_effective_draws_of_an_autoregression_are_draws_over_its_autocorrelation_time(phi):
    trace = ar1(phi, chains=8, draws=10_000)
    assert float(quick(ess)(trace)) == pytest.approx(trace.size * (1 - phi) / (1 + phi), rel=0.1)


def test_effective_draws_and_rhat_do_not_depend_on_order_of_chains_scale_or_shift():
    trace = ar1(0.5, chains=4, draws=500)
    for statistic in (quick(ess), quick(rhat)):
        expected = statistic(trace)
        np.testing.assert_allclose(statistic(trace[jnp.array([2, 0, 3, 1])]), expected, rtol=1e-4)
        np.testing.assert_allclose(statistic(5 * trace + 3), expected, rtol=1e-3)


@pytest.mark.parametrize("chains", [1, 4])
def test_rhat_is_one_for_chains_of_one_law(chains):
    assert float(rhat(ar1(0.3, chains, 4000))) == pytest.approx(1, abs=0.01)


def test_rhat_of_chains_with_different_means_has_its_formula():
    """Two means +-a and variance 1 within: R^2 = 1 + Var(means of the half chains), half of them at each end."""
    trace = ar1(0.0, chains=4, draws=5000) + jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
    assert float(rhat(trace)) == pytest.approx(np.sqrt(1 + 8 / 7), rel=0.02)


def test_rhat_sees_a_drift_in_a_single_chain():
    assert rhat(ar1(0.0, chains=1, draws=1001) + jnp.linspace(0, 4, 1001)[None]) > 1.2


@pytest.mark.parametrize(
    ("fault", "loss", "options"),
    [
        ("negative", slope, {}),
        ("not stationary", bowl, dict(sampler=mala(3e-5), dimensions=200, chains=20, warmup=0, draws=1000)),
        ("too few effective draws", bowl, dict(sampler=mala(2e-4))),
        ("chains disagree", two_wells, dict(sampler=mala(5e-4), nbeta=1000.0, gamma=1.0, chains=8, warmup=500)),
        ("step size too large", bowl, dict(sampler=sgld(0.0077))),  # eps A = 1: acceptance 0.8, value off by a third
    ],
)
def test_each_planted_fault_is_named(fault, loss, options):
    assert any(finding.startswith(f"{fault}:") for finding in verdict(estimate(loss, **options)))


def test_chains_that_forget_the_model_are_saturated_when_chance_is_known():
    llc, known = (
        estimate(plateau, sampler=mala(0.1), nbeta=3.0, gamma=1.0, draws=4000, chance=chance) for chance in (None, 1.0)
    )
    assert float(known.saturation) == pytest.approx(float(llc.mean_loss), rel=1e-5)
    assert verdict(llc, min_acceptance=0.4) == []
    (finding,) = verdict(known, min_acceptance=0.4)
    assert finding.startswith("saturated: the chains are 6")


def test_a_finding_names_where_a_chain_stopped_being_finite():
    trace = ar1(0.0, chains=4, draws=50).at[2, 30:].set(jnp.nan)
    (finding,) = verdict(LLC._make([jnp.mean(trace)] * 9 + [trace]))
    assert finding.startswith("diverged: chain 2 is not finite from draw 30 on")


def test_a_healthy_estimate_has_findings_in_at_most_two_seeds_of_a_hundred():
    arguments, options = settings(bowl)
    run = jax.vmap(lambda key: estimate_llc(key, *arguments, **options, chance=1.0))
    llc = jax.tree.map(np.asarray, quick(run)(jax.random.split(jax.random.key(2), 200)))
    findings = [verdict(jax.tree.map(lambda leaf: leaf[seed], llc)) for seed in range(200)]
    assert sum(map(bool, findings)) <= 4
