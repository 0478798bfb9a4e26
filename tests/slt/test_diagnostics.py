"""Effective draws and R-hat on chains of known law, and a verdict that names each planted fault and no other."""

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from slt.chains import Chains
from slt.diagnostics import findings, rows, verdict
from slt.estimate import Seen, estimate_llc, summary
from slt.samplers.langevin import mala, sgld
from slt.statistics import autocorrelation_time, ess, rhat, step_bias, welford
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
    exact = bool(np.isfinite(acceptance))
    known = dict(nbeta=1.0, loss_at_centre=jnp.zeros(()), exact=exact, rejects=False, free={"w": jnp.float32(free)})
    nothing = lambda trace: Seen(jnp.full((*trace.shape, 1), float(free)), jnp.zeros_like(trace), jnp.zeros_like(trace))
    run = lambda trace: summary(Chains(trace, jnp.full(trace.shape[0], acceptance), (), nothing(trace)), **known)
    return rows(quick(jax.vmap(run))(traces))


def kinds(llc):
    return [finding.kind for finding in verdict(llc)]


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
    time = (1 + phi) / (1 - phi)
    assert float(quick(ess)(trace)) == pytest.approx(trace.size / time, rel=0.1)
    assert autocorrelation_time(np.asarray(trace)) == pytest.approx(max(1, time), rel=0.1)


def test_a_proposal_that_hardly_moves_is_named_only_for_a_sampler_that_rejects():
    (llc,) = estimates(np.abs(ar1(0.0, chains=4, draws=400))[None], acceptance=0.1, free=1000)
    assert kinds(llc._replace(step_bias=0.0)) == []
    assert kinds(llc._replace(step_bias=0.0, rejects=True)) == ["step size too large"]


def test_welford_sums_are_the_mean_and_the_squares_about_it():
    x = np.random.default_rng(0).normal(size=(9, 3)) + 10
    mean = square = jnp.zeros(3)
    for count, each in enumerate(jnp.asarray(x, jnp.float32), start=1):
        mean, square = welford(mean, square, count, each)
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(square, 9 * x.var(axis=0), rtol=1e-4)


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


def test_a_trace_that_never_moves_is_no_estimate():
    (llc,) = estimates(np.zeros((1, 4, 400), np.float32))
    assert kinds(llc) == ["too few effective draws"]


def test_a_chain_that_stops_being_finite_diverged_and_findings_keep_the_shape():
    traces = np.array([ar1(0.0, chains=4, draws=400)] * 6)
    traces[4, 2, 30:] = np.nan
    curve = jax.tree.map(lambda *leaves: np.stack(leaves), *estimates(np.abs(traces)))
    grid = jax.tree.map(lambda leaf: leaf.reshape(2, 3, *leaf.shape[1:]), curve)
    np.testing.assert_array_equal(findings(grid), [["", "", ""], ["", "diverged", ""]])


def test_an_estimate_beyond_half_of_the_parameters_does_not_hide_the_bias_of_its_step():
    """lambda-hat = 250 of 33 parameters at the acceptance of eps A = 1 in all of them: the bias is a third."""
    acceptance = 2 * jax.scipy.stats.norm.cdf(-np.sqrt(33 / 16) / 2)
    assert float(step_bias(acceptance, jnp.float32(250), 33)) == pytest.approx(1 / 3, rel=1e-3)
    assert float(step_bias(acceptance, jnp.float32(250), 1000)) < 0.2


def test_heat_on_minibatches_shows_where_lambda_hat_passes_half_of_the_parameters():
    traces = regular(2, chains=4, draws=400, d=10, phi=0.5)  # lambda = 5
    assert "step size too large" not in kinds(estimates(traces, acceptance=np.nan, free=10)[0])
    assert kinds(estimates(1.4 * traces, acceptance=np.nan, free=10)[0]) == ["step size too large"]
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
    """Findings more often than stated; "imprecise" is none, as what it says of the standard error is true."""
    counts = Counter(kind for llc in llcs for kind in kinds(llc) if kind != "imprecise")
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
    settings = dict(nbeta=100.0, gamma=30.0, chains=4, warmup=100, draws=600, chance=2.0) | options
    loss = lambda w, x: (w - x) ** 2 / 2
    run = lambda key: estimate_llc(key, loss, jnp.mean(x), x, sampler, **settings)
    assert false_alarms(rows(quick(jax.vmap(run))(jax.random.split(jax.random.key(2), 200)))) == {}
