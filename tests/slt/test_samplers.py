"""Every sampler: its exact stationary law with frozen coordinates, and the contract of `Sampler`.

Each case runs one program: chains that start from the law that is claimed. What they drift away to is seen in their
ends, and all else is read off their paths.
"""

import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy import linalg, optimize

from slt.chains import Sampling, run_chains
from slt.samplers.base import Point, Potential, Sampler, acceptance, localised
from slt.samplers.hamiltonian import hmc, nuts
from slt.samplers.langevin import mala, sgld
from slt.samplers.momentum import sghmc, sgnht
from slt.samplers.preconditioned import adam_sgld, rmsprop_sgld
from slt.samplers.underdamped import ghmc, kinetic

SAMPLES, STEPS = 10_000, 60
NO_DATA = jnp.zeros((1,))
# compiling takes longer than running here
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

# the last coordinate is frozen at 1, away from the centre: it shifts the mean of the others
CENTRE, FROZEN = np.array([0.1, -0.7, 0.3, 0.5], np.float32), np.float32(1.0)
H = np.array([[1.0, 0.4, -0.3, 0.2], [0.4, 0.5, 0.2, -0.3], [-0.3, 0.2, 0.8, 0.1], [0.2, -0.3, 0.1, 0.6]])
NBETA, GAMMA, NOISE = 5.0, 2.0, 20.0
A = NBETA * H + GAMMA * np.eye(4)  # of the free coordinates, times a step size of 0.1: 0.26 to 0.85
FREE, I = A[:3, :3], np.eye(3)
MEAN = CENTRE[:3] - np.linalg.solve(FREE, NBETA * H[:3, 3] * (FROZEN - CENTRE[3]))
MASK = {"a": np.array(True), "b": True, "c": np.array([False])}  # of "a", a prefix


def params_of(w):
    """Copies of the four coordinates, rows of w, as a tree."""
    return {"a": w[:, :2], "b": w[:, 2], "c": w[:, 3:]}


def quadratic(copies=1, noise=0.0, traces=None) -> Potential:
    """The sum over copies of nbeta (w - c)^T H (w - c)/2 + (gamma/2)|w - c|^2, the last coordinate frozen.

    Each coordinate of grad U is given Gaussian noise of variance `noise`, which leaves the values as they are. Each
    trace of the loss is noted in `traces`.
    """
    centre = params_of(jnp.tile(CENTRE, (copies, 1)))

    def loss(params, data):
        if traces is not None:
            traces.append(None)
        w = jnp.concatenate([params["a"], params["b"][:, None], params["c"]], axis=1) - CENTRE[None]
        return jnp.sum((w @ jnp.asarray(H, jnp.float32)) * w) / 2

    exact = localised(loss, NO_DATA, centre, nbeta=NBETA, gamma=GAMMA, mask=MASK)
    if noise == 0:
        return exact

    def value(key, params):
        U, L = exact.value(key, params)
        flat = ravel_pytree(params)[0]
        jitter = jnp.sqrt(noise) * jax.random.normal(key, flat.shape) @ (flat - jax.lax.stop_gradient(flat))
        return U + jitter, L + jitter / NBETA

    return exact._replace(value=value, exact=False)


def lyapunov(M, Q):
    """The stationary covariance of z <- M z + N(0, Q)."""
    return linalg.solve_discrete_lyapunov(M, Q)


def langevin_law(step, noise):
    return lyapunov(I - step * FREE / 2, (step + step**2 / 4 * noise) * I)


def momentum_law(step, momentum, noise):
    """Of (w, m): m <- mu m + (1 - mu)(H w + xi), w <- w - (step/2)(nbeta m + gamma w) + N(0, step)."""
    B, keep = (1 - momentum) * H[:3, :3], (1 - step * GAMMA / 2) * I
    M = np.block([[keep - step * NBETA / 2 * B, -step * NBETA / 2 * momentum * I], [B, momentum * I]])
    e = (1 - momentum) ** 2 * noise / NBETA**2
    lag = -step * NBETA / 2
    Q = np.block([[(step + lag**2 * e) * I, lag * e * I], [lag * e * I, e * I]])
    return lyapunov(M, Q)[:3, :3]


def underdamped(step, friction, diffusion, noise):
    """Of (w, v): v <- (1 - alpha) v - eta A w + N(0, 2 a eta + eta^2 noise), w <- w + v."""
    eta = step / 2
    M = np.block([[I - eta * FREE, (1 - friction) * I], [-eta * FREE, (1 - friction) * I]])
    return lyapunov(M, (2 * diffusion * eta + eta**2 * noise) * np.tile(I, (2, 2)))


def thermostat_law(step, diffusion, noise):
    """The underdamped law at the friction alpha that makes the mean square of the velocities eta/(1 - alpha/2)."""
    kinetic = lambda friction: np.trace(underdamped(step, friction, diffusion, noise)[3:, 3:]) / 3
    excess = lambda friction: (1 - friction / 2) * kinetic(friction) - step / 2
    return underdamped(step, optimize.brentq(excess, 0.02, 0.8), diffusion, noise)[:3, :3]


def baoab_law(step, friction, noise):
    """Of (w, p), p the velocity before a whole kick: p <- p - h (A w + xi), w <- w + (h/2) p, p renewed, and again."""
    h, keep = np.sqrt(step), 1 - friction
    M = np.block([[I - step * FREE * (1 + keep) / 2, h * (1 + keep) / 2 * I], [-keep * h * FREE, keep * I]])
    kick, renewal = np.array([step * (1 + keep) / 2, keep * h]), np.array([h / 2, 1])
    Q = noise * np.outer(kick, kick) + (1 - keep**2) * np.outer(renewal, renewal)
    return lyapunov(M, np.kron(Q, I))[:3, :3]


class Case(NamedTuple):
    """A sampler, the covariance of the free coordinates in its stationary law, and how it is run."""

    sampler: Sampler
    covariance: np.ndarray
    noise: float = 0.0  # of the gradient
    copies: int = 1  # of the coordinates, in one chain
    loops: bool = False  # over gradients, in a step


CASES = {
    "sgld": Case(sgld(0.1), langevin_law(0.1, NOISE), NOISE),
    "rmsprop": Case(rmsprop_sgld(0.05, decay=1.0, epsilon=0.5, v_init="zero"), langevin_law(0.1, NOISE), NOISE),
    "adam": Case(
        adam_sgld(0.05, momentum=0.5, decay=1.0, epsilon=0.5, v_init="zero"), momentum_law(0.1, 0.5, NOISE), NOISE
    ),
    "sghmc": Case(sghmc(0.1, friction=0.3), underdamped(0.1, 0.3, 0.3, NOISE)[:3, :3], NOISE),
    "sgnht": Case(sgnht(0.1, diffusion=0.1), thermostat_law(0.1, 0.1, 8.0), 8.0, copies=100),
    "kinetic": Case(kinetic(0.1, friction=0.3), baoab_law(0.1, 0.3, NOISE), NOISE),
    "mala": Case(mala(0.3), np.linalg.inv(FREE)),
    "ghmc": Case(ghmc(0.3, friction=0.3, metric=0.8), np.linalg.inv(FREE)),
    "hmc": Case(hmc(0.3, leapfrog=3), np.linalg.inv(FREE), loops=True),
    "nuts": Case(nuts(0.3, adaptation=0, max_doublings=4), np.linalg.inv(FREE), loops=True),
}


@pytest.fixture(scope="module", params=CASES)
def name(request):
    """Tests of one case stand together, so that its program is run once in each process."""
    return request.param


class Path(NamedTuple):
    """Where each step started, its `Info`, and the last state; leading axes of chains and, but for `end`, steps."""

    w: np.ndarray
    info: Any
    end: np.ndarray


def follow(key, start, case, potential, steps):
    """One chain from `start`, of shape (copies, 4)."""
    key_init, key_steps = jax.random.split(key)
    state = case.sampler.init(key_init, params_of(start), potential)
    rows = lambda state: jnp.concatenate([state.params["a"], state.params["b"][:, None], state.params["c"]], axis=1)

    def step(state, t):
        moved, info = case.sampler.step(jax.random.fold_in(key_steps, t), state, potential)
        return moved, (rows(state), info)

    state, (w, info) = jax.lax.scan(step, state, jnp.arange(steps))
    return Path(w, info, rows(state))


@functools.cache
def paths(name):
    case = CASES[name]
    chains = SAMPLES // case.copies
    free = np.random.default_rng(0).multivariate_normal(MEAN, case.covariance, (chains, case.copies))
    starts = np.concatenate([free, np.full((chains, case.copies, 1), FROZEN)], axis=2).astype(np.float32)
    run = lambda key, start: follow(key, start, case, quadratic(case.copies, case.noise), STEPS)
    return jax.tree.map(np.asarray, quick(jax.vmap(run))(jax.random.split(jax.random.key(1), chains), starts))


def z_scores(samples, mean, covariance):
    """Means and second moments of whitened samples in units of their exact standard errors, as for a Gaussian law."""
    variances, axes = np.linalg.eigh(covariance)
    white = axes.T @ (samples - np.asarray(mean)).T / np.sqrt(variances)[:, None]
    n, eye = len(samples), np.eye(len(covariance))
    second = (white @ white.T / n - eye) * np.sqrt(n / (1 + eye))
    return np.concatenate([white.mean(axis=1) * np.sqrt(n), second.ravel()])


def test_stationary_law_of_the_free_coordinates_is_the_exact_gaussian(name):
    ends = paths(name).end[..., :3].reshape(SAMPLES, 3)
    assert np.abs(z_scores(ends, MEAN, CASES[name].covariance)).max() < 4


def test_frozen_coordinates_keep_their_bits(name):
    path = paths(name)
    np.testing.assert_array_equal(path.w[..., 3], FROZEN)
    np.testing.assert_array_equal(path.end[..., 3], FROZEN)


def test_the_recorded_loss_is_the_one_at_the_position_the_step_started_from(name):
    path = paths(name)
    w = path.w.astype(float) - CENTRE
    np.testing.assert_allclose(path.info.loss, np.einsum("ntci,ij,ntcj->nt", w, H, w) / 2, rtol=1e-4, atol=1e-6)


def test_acceptance_is_a_probability_or_nan_where_there_is_no_test(name):
    acceptance = paths(name).info.acceptance
    if not quadratic(noise=CASES[name].noise).exact:
        return np.testing.assert_array_equal(acceptance, np.nan)
    assert acceptance.min() >= 0
    assert 0.4 < acceptance.mean() < 0.9  # the exact ones are tested at steps that they reject


def test_vmap_over_chains_is_the_loop_and_a_step_is_traced_once(name):
    traces, counts = [], []
    case, path = CASES[name], paths(name)
    potential = quadratic(case.copies, case.noise, traces)
    keys = jax.random.split(jax.random.key(1), len(path.w))
    run = quick(lambda key, start: follow(key, start, case, potential, 5).w)
    for i in range(3):
        np.testing.assert_allclose(run(keys[i], path.w[i, 0]), path.w[i, :5], rtol=1e-4, atol=1e-5)
        assert case.loops or len(traces) == 2  # one in `init`, one in `step`
        counts.append(len(traces))
    assert counts[2] == counts[0]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_step_keeps_shapes_and_types_and_the_position_is_in_float32(name, dtype):
    case, potential = CASES[name], quadratic(CASES[name].copies)
    params = jax.tree.map(lambda w: jnp.asarray(w, dtype), params_of(jnp.tile(CENTRE, (case.copies, 1))))
    key = jax.random.key(0)
    state = jax.eval_shape(lambda key: case.sampler.init(key, params, potential), key)
    moved, info = jax.eval_shape(lambda key, state: case.sampler.step(key, state, potential), key, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(moved, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(info.loss, info.acceptance, jnp.zeros(()))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_in_64_bits_chains_run_with_weights_of_either_type(name, dtype):
    with jax.enable_x64(True):
        w, x = jnp.zeros(3, dtype), jnp.ones((5, 3), dtype)
        potential = localised(lambda w, x: (x @ w) ** 2, x, w, nbeta=5.0, gamma=1.0)
        jax.eval_shape(lambda key: run_chains(key, CASES[name].sampler, potential, w, Sampling()), jax.random.key(0))


NONSENSE = {
    "got step_size=0: write a finite step_size > 0": lambda: sgld(0),
    "got step_size=nan": lambda: mala(np.nan),
    "got step_size=-1": lambda: sghmc(-1.0),
    "got friction=0": lambda: sghmc(0.1, friction=0.0),
    "got diffusion=-1": lambda: sgnht(0.1, diffusion=-1.0),
    "got leapfrog=0": lambda: hmc(0.1, leapfrog=0),
    "got max_doublings=0": lambda: nuts(0.1, max_doublings=0),
    "got adaptation=-1": lambda: nuts(0.1, adaptation=-1),
    "got momentum=1.0": lambda: adam_sgld(0.1, momentum=1.0),
    "got decay=2.0": lambda: rmsprop_sgld(0.1, decay=2.0),
    "got friction=2.0": lambda: kinetic(friction=2.0),
    "got step_size=0.0": lambda: ghmc(0.0),
}


@pytest.mark.parametrize("message", NONSENSE)
def test_nonsense_is_refused_when_the_sampler_is_made(message):
    with pytest.raises(ValueError, match=message):
        NONSENSE[message]()


def test_a_traced_number_passes():
    def use(step_size):
        sgld(step_size), hmc(step_size), adam_sgld(step_size, decay=step_size)
        return step_size

    jax.eval_shape(use, 0.0)


def test_baoab_has_the_exact_law_without_noise_and_the_stated_one_with_it():
    np.testing.assert_allclose(baoab_law(0.1, 0.3, 0.0), np.linalg.inv(FREE), rtol=1e-10)
    A, axes = np.linalg.eigh(FREE)
    stated = (1 + 0.1 * NOISE * (2 - 0.3) / (0.3 * (4 - 0.1 * A))) / A
    np.testing.assert_allclose(baoab_law(0.1, 0.3, NOISE), axes * stated @ axes.T, rtol=1e-10)


@pytest.mark.parametrize("factory", [mala, ghmc, hmc, nuts])
def test_exact_samplers_refuse_minibatches_and_say_what_to_write(factory):
    potential = localised(lambda w, x: (w - x) ** 2, jnp.ones(4), jnp.array(0.0), nbeta=1.0, gamma=1.0, batch_size=2)
    with pytest.raises(ValueError, match=r"leave batch_size out .* sgld\(step_size\)"):
        factory(0.1).init(jax.random.key(0), jnp.array(0.0), potential)


@pytest.mark.parametrize(
    ("at", "to", "step_size", "expected"),
    [
        (([0, 0], [0, 0], 0), ([1.5, 5.5], [1.5, 5.5], 16.25), 0.1, 0.6661436),
        (([1, 1], [1, 1], 1), ([1.5, 0.5], [1.5, 0.5], 1.25), 0.5, 0.9692332),
        (([0, 0], [0, 0], 0), ([10.5, 5.5], [10.5, 5.5], 70.25), 0.1, 0.17268492),
        (([0, 0], [0, 0], 0), ([10.5, 5.5], [10.5, 5.5], 70.25), 0.5, 0.00015359),
        (([1, 1], [1, 1], 1), ([1, 1], [1, 1], 1), 0.5, 1.0),
    ],
)
def test_acceptance_of_a_langevin_proposal_has_the_worked_values(at, to, step_size, expected):
    point = lambda w, grad, energy: Point(*(jnp.array(v, jnp.float32) for v in (w, energy, energy, grad)))
    np.testing.assert_allclose(acceptance(point(*at), point(*to), step_size), expected, rtol=1e-4)
