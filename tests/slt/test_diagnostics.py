"""Effective draws and R-hat on chains of known law, and a verdict that names each planted fault and no other."""

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.chains import Chains
from slt.curves import curve_verdict, regress
from slt.diagnostics import ess, rhat, step_bias, verdict
from slt.estimate import estimate_llc, summary
from slt.samplers.langevin import mala, sgld
from slt.theory import regular_finite

# compiling takes longer than running here
CHEAPLY = {"xla_backend_optimization_level": 0}
quick = functools.partial(jax.jit, compiler_options=CHEAPLY)

STATED = {"not stationary": 0.02, "too few effective draws": 0.01}  # false alarms of `verdict`; the others: 0.001
ORIGIN = jnp.zeros(20)
LOSSES = {
    "bowl": lambda w: jnp.sum(w**2) / 2,
    "slope": lambda w: jnp.sum((w - 1) ** 2) / 2,
    # the second well is 10/nbeta deeper at nbeta = 1000, with the origin between them
    "two wells": lambda w: (w[0] ** 2 - 0.25) ** 2 + 0.01 * w[0] + jnp.sum(w[1:] ** 2) / 2,
    # a basin that ends at w_0 = .3, beyond which there is another 20/nbeta deeper at nbeta = 100
    "cliff": lambda w: jnp.sum(w**2) / 2 - 0.2 * jax.nn.sigmoid(40 * (w[0] - 0.3)),
    "plateau": lambda w: 1 - jnp.exp(-jnp.sum(w**2)),
    # float32 has steps of 2^-7 at 1e5: .78 in lambda-hat at nbeta = 100
    "high": lambda w: jnp.sum(w**2) / 2 + 1e5,
}


def ar1(phi, chains, draws):
    """Stationary chains x' = phi x + sqrt(1 - phi^2) xi: variance 1, autocorrelation time (1 + phi)/(1 - phi)."""
    xi = np.random.default_rng(0).normal(size=(draws, chains))
    x = [xi[0]]
    for noise in xi[1:]:
        x.append(phi * x[-1] + np.sqrt(1 - phi**2) * noise)
    return jnp.asarray(np.stack(x, axis=1), jnp.float32)


def regular(seeds, *, chains, draws, d, phi, warmup=1000):
    """Traces of |w|^2/2 of d coordinates whose chains start at 0: the law of Langevin steps on a regular model."""
    rng, w = np.random.default_rng(1), np.zeros((seeds, chains, d))
    trace = np.zeros((seeds, chains, draws), np.float32)
    if warmup:
        w = rng.normal(size=w.shape) * np.sqrt(1 - phi ** (2 * warmup))
    for t in range(draws):
        trace[..., t] = (w**2).sum(-1) / 2
        w = phi * w + np.sqrt(1 - phi**2) * rng.normal(size=w.shape)
    return trace


def estimates(traces, acceptance=0.99, free=100):
    """The estimate of each row of traces (seeds, chains, draws)."""
    known = dict(nbeta=1.0, loss_at_centre=jnp.zeros(()), adjusted=False, free=free)
    run = lambda trace: summary(Chains(trace, jnp.full(trace.shape[0], acceptance), ()), **known)
    llc = jax.tree.map(np.asarray, quick(jax.vmap(run))(traces))
    return [type(llc)(*row) for row in zip(*llc, strict=True)]


def kinds(llc):
    return [finding.split(":")[0] for finding in verdict(llc)]


@functools.cache
def program():
    """SGLD at the origin of a mixture of the losses: one program for all of them."""
    loss = lambda w, mix: jnp.sum(mix[0] * jnp.stack([each(w) for each in LOSSES.values()]))
    settings = dict(chains=8, warmup=50, draws=400)

    def run(key, mix, step_size, nbeta, gamma, chance):
        return estimate_llc(
            key, loss, ORIGIN, mix, sgld(step_size), nbeta=nbeta, gamma=gamma, chance=chance, **settings
        )

    return quick(run)


def planted(name, *, step_size=0.0015, nbeta=100.0, gamma=30.0, chance=np.nan):
    mix = jnp.array([[float(name == other) for other in LOSSES]])
    return program()(jax.random.key(1), mix, step_size, nbeta, gamma, chance)


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
    ("fault", "name", "options"),
    [
        ("negative", "slope", {}),
        ("diverged", "bowl", dict(step_size=0.05)),  # eps A = 6.5
        ("not stationary", "bowl", dict(step_size=5e-5)),  # relaxes in 300 steps: the warm-up is 50
        ("too few effective draws", "bowl", dict(step_size=5e-5)),
        ("chains disagree", "two wells", dict(step_size=5e-4, nbeta=1000.0, gamma=1.0)),
        ("escaped", "cliff", dict(gamma=1.0)),
        ("step size too large", "bowl", dict(step_size=0.0077)),  # eps A = 1: off by a third
        ("saturated", "plateau", dict(step_size=0.1, nbeta=3.0, gamma=1.0, chance=1.0)),
        ("rounded", "high", {}),
    ],
)
def test_each_planted_fault_is_named(fault, name, options):
    llc = planted(name, **options)
    assert fault in kinds(llc)
    if fault == "escaped":
        assert 1 <= sum(np.asarray(llc.trace)[:, -50:].mean(1) < 0) < 8  # some, and not all


def test_nothing_is_found_in_the_same_program_without_a_fault():
    assert verdict(planted("bowl", chance=10.0)) == []


def test_a_warmup_of_nothing_is_seen_with_few_chains_and_coordinates():
    traces = regular(100, chains=4, draws=400, d=2, phi=0.97, warmup=0)
    found = sum("not stationary" in kinds(llc) for llc in estimates(traces))
    assert found >= 75


def test_a_minibatch_baseline_that_is_noise_is_named_and_the_paired_one_is_not():
    x = jax.random.normal(jax.random.key(7), (100,))
    loss, settings = lambda w, x: (w - x) ** 2 / 2, dict(nbeta=100.0, gamma=30.0, chains=4, warmup=50, draws=400)
    run = lambda baseline: estimate_llc(
        jax.random.key(1), loss, jnp.mean(x), x, sgld(0.005), batch_size=16, baseline=baseline, **settings
    )
    full, paired = quick(lambda: (run("full"), run("paired")))()
    assert verdict(paired) == []
    (finding,) = verdict(full)
    assert finding.startswith("noisy baseline: ")
    assert finding.endswith('write baseline="paired"')


def curve(loss, rise, noise=0.0):
    """The estimates of checkpoints with L(w*) = loss and E[L] = loss + rise at nbeta = 100."""
    deviation = np.random.default_rng(0).gamma(1.0, size=(len(loss), 4, 400)) - 1
    rows = [
        row._replace(value=100 * r, loss_at_centre=l, mean_loss=l + r)
        for row, l, r in zip(estimates(1 + deviation), loss, rise, strict=True)
    ]
    return type(rows[0])(*map(np.array, zip(*rows, strict=True)))


def test_a_curve_whose_chains_all_end_at_one_loss_is_saturated_and_its_regression_is_exact():
    loss = np.linspace(4.4, 1.9, 10)
    saturated = curve(loss, 4.43 - loss)
    fit = regress(saturated)
    np.testing.assert_allclose(fit, (-100, 443, 1), rtol=1e-6)
    assert curve_verdict(saturated)[0].startswith("saturated curve: lambda-hat = 443 - 100 L(w*) with R^2 = 1.0000")


def test_a_curve_that_is_the_loss_in_another_way_is_called_affine_and_one_that_is_not_is_left_alone():
    loss = np.linspace(4.4, 1.9, 10)
    assert curve_verdict(curve(loss, 0.1 * (5 - loss)))[0].startswith("affine in the loss: lambda-hat = 50 - 10 L(w*)")
    assert curve_verdict(curve(loss, 0.1 + 0.01 * np.cos(8 * loss))) == []
    assert np.isnan(regress(curve(loss, np.full(10, 0.1)))).sum() in (0, 3)


def test_a_curve_counts_what_is_found_at_its_checkpoints():
    loss = np.linspace(4.4, 1.9, 10)
    llc = curve(loss, 0.1 + 0.01 * np.cos(8 * loss))
    llc = llc._replace(value=np.where(np.arange(10) < 3, -1.0, llc.value))
    assert curve_verdict(llc) == ["negative: 3 of 10 checkpoints; see verdict of one of them"]


def test_a_trace_that_never_moves_is_no_estimate():
    (llc,) = estimates(np.zeros((1, 4, 400), np.float32))
    assert kinds(llc) == ["too few effective draws"]


def test_a_finding_names_where_a_chain_stopped_being_finite():
    traces = np.array(ar1(0.0, chains=4, draws=400))[None]
    traces[0, 2, 30:] = np.nan
    (finding,) = verdict(estimates(traces)[0])
    assert finding.startswith("diverged: chain 2 is not finite from draw 30 on")


def test_an_estimate_beyond_half_of_the_parameters_does_not_hide_the_bias_of_its_step():
    """lambda-hat = 250 of 33 parameters at the acceptance of eps A = 1 in all of them: the bias is a third, not less."""
    acceptance = 2 * jax.scipy.stats.norm.cdf(-np.sqrt(33 / 16) / 2)
    assert float(step_bias(acceptance, jnp.float32(250), 33)) == pytest.approx(1 / 3, rel=1e-3)
    assert float(step_bias(acceptance, jnp.float32(250), 1000)) < 0.2


def test_heat_on_minibatches_shows_where_lambda_hat_passes_half_of_the_parameters():
    traces = regular(2, chains=4, draws=400, d=10, phi=0.5)  # lambda = 5
    assert "step size too large" not in kinds(estimates(traces, acceptance=np.nan, free=10)[0])
    (finding,) = verdict(estimates(1.4 * traces, acceptance=np.nan, free=10)[0])
    assert finding.startswith("step size too large: lambda-hat = ")
    assert "half of the 10 free parameters" in finding
    assert verdict(estimates(1.4 * traces, acceptance=np.nan, free=20)[0]) == []


@pytest.mark.parametrize("x", [0.1, 0.4, 1.0])
def test_the_bound_on_the_bias_of_a_step_is_the_bias_for_equal_curvatures_and_a_bound_for_others(x):
    """The law of the acceptance is asymptotic in the dimension; its mean is taken here from 2 Phi(-s/2) itself."""
    d, A = 50, np.geomspace(0.01, 1, 50)
    for curvatures, exact in ((np.ones(d), True), (A, False)):
        s = np.sqrt(np.sum((x * curvatures) ** 3) / 16)
        value = regular_finite(curvatures, nbeta=1.0, gamma=0.0, step_size=x)
        bias = float(step_bias(2 * jax.scipy.stats.norm.cdf(-s / 2), jnp.float32(value), d))
        true = value / (d / 2) - 1
        assert bias == pytest.approx(true, rel=0.15) if exact else bias > true


def false_alarms(llcs):
    counts = Counter(kind for llc in llcs for kind in kinds(llc))
    return {kind: n for kind, n in counts.items() if n > STATED.get(kind, 0.001) * len(llcs) + 3 * np.sqrt(n)}


def test_a_healthy_estimate_has_findings_no_more_often_than_stated():
    assert false_alarms(estimates(regular(1000, chains=4, draws=400, d=2, phi=0.9))) == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chains", "draws", "d", "phi"),
    [(1, 1000, 1, 0.9), (2, 400, 2, 0.9), (4, 400, 1, 0.9), (20, 400, 2, 0.9), (4, 2000, 20, 0.98), (4, 400, 50, 0.5)],
)
def test_false_alarms_of_every_shape_are_no_more_often_than_stated(chains, draws, d, phi):
    assert false_alarms(estimates(regular(2000, chains=chains, draws=draws, d=d, phi=phi))) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "options"), [(mala(0.005), {}), (sgld(0.002), dict(batch_size=32))])
def test_false_alarms_of_samplers_are_no_more_often_than_stated(sampler, options):
    x = jax.random.normal(jax.random.key(7), (1000,))
    settings = dict(nbeta=100.0, gamma=30.0, chains=4, warmup=100, draws=600, chance=2.0, baseline="paired") | options
    loss = lambda w, x: (w - x) ** 2 / 2
    run = lambda key: estimate_llc(key, loss, jnp.mean(x), x, sampler, **settings)
    llc = jax.tree.map(np.asarray, quick(jax.vmap(run))(jax.random.split(jax.random.key(2), 200)))
    assert false_alarms([type(llc)(*row) for row in zip(*llc, strict=True)]) == {}
