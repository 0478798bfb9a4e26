"""What samplers reduce to, and their laws from the first step on.

A preconditioned sampler moves each coordinate by itself, so many coordinates of one chain are as good as many chains,
and steps of one chain need no compiling.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import linalg, optimize

from slt.samplers.base import Potential, localised
from slt.samplers.hamiltonian import hmc, nuts
from slt.samplers.langevin import mala, sgld
from slt.samplers.momentum import sghmc, sgnht
from slt.samplers.preconditioned import adam_sgld, rmsprop_sgld

NO_DATA = jnp.zeros((1,))
# compiling takes longer than running here
quick = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def bowl(w, data):
    return jnp.sum(jnp.array([0.3, 1.0, 3.0]) * w**2) / 2


def walk(sampler, potential, params, steps):
    """The states of one chain, a list."""
    state = sampler.init(jax.random.key(0), params, potential)
    states = [state]
    for t in range(steps):
        state, _ = sampler.step(jax.random.key(1 + t), state, potential)
        states.append(state)
    return states


@pytest.mark.parametrize(
    "sampler",
    [
        sghmc(0.01, friction=1.0),
        rmsprop_sgld(0.01, decay=1.0, epsilon=1.0, v_init="zero"),
        adam_sgld(0.005, momentum=0.0, decay=1.0, epsilon=0.5, v_init="zero"),
    ],
    ids=["sghmc", "rmsprop", "adam"],
)
def test_without_memory_it_walks_the_path_of_sgld(sampler):
    potential, start = localised(bowl, NO_DATA, jnp.zeros(3), nbeta=50.0, gamma=10.0), jnp.array([0.3, -0.1, 0.2])
    path = [state.params for state in walk(sampler, potential, start, 4)]
    np.testing.assert_allclose(path, [s.params for s in walk(sgld(0.01), potential, start, 4)], rtol=1e-5, atol=1e-7)


def test_a_step_of_sgld_less_its_noise_is_a_step_of_gradient_descent_at_half_the_rate():
    potential, start = localised(bowl, NO_DATA, jnp.zeros(3), nbeta=50.0, gamma=10.0), jnp.array([0.3, -0.1, 0.2])
    moved = walk(sgld(0.01), potential, start, 1)[1].params
    xi = optax.tree.random_like(jax.random.split(jax.random.key(1))[0], start, jax.random.normal)
    grad = jax.grad(lambda w: potential.value(jax.random.key(0), w)[0])(start)
    descent = optax.apply_updates(start, optax.sgd(0.005).update(grad, optax.sgd(0.005).init(start))[0])
    np.testing.assert_allclose(moved - 0.1 * xi, descent, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("v_init", ["one", "zero"])
@pytest.mark.parametrize("factory", [rmsprop_sgld, adam_sgld])
def test_on_a_linear_loss_every_step_has_the_exact_gaussian_law(factory, v_init):
    """grad L = c: v_hat is c^2 + decay^t/(1 - decay^t) if v began at 1, (1 - decay^t) c^2 if at 0, and m_hat is c."""
    c, nbeta, gamma, eps, decay, epsilon, n = 0.5, 3.0, 8.0, 0.1, 0.7, 0.2, 20_000
    potential = localised(lambda w, data: c * jnp.sum(w), NO_DATA, jnp.zeros(n), nbeta=nbeta, gamma=gamma)
    states = walk(factory(eps, decay=decay, epsilon=epsilon, v_init=v_init), potential, jnp.zeros(n), 15)
    mean = variance = 0.0
    for t, state in enumerate(states[1:], start=1):
        v_hat = c**2 + decay**t / (1 - decay**t) if v_init == "one" else (1 - decay**t) * c**2
        G = 1 / (np.sqrt(v_hat) + epsilon)
        mean -= eps / 2 * G * (nbeta * c + gamma * mean)
        variance = variance * (1 - eps / 2 * G * gamma) ** 2 + eps * G
        assert abs(np.mean(state.params) - mean) < 4.5 * np.sqrt(variance / n), t
        assert np.var(state.params) == pytest.approx(variance, rel=4.5 * np.sqrt(2 / n)), t
    G = 1 / (c + epsilon)
    assert variance == pytest.approx(1 / (gamma * (1 - eps * G * gamma / 4)), rel=0.02)


@pytest.mark.parametrize(
    "sampler",
    [
        sgld(1e-6),
        mala(1e-6),
        sghmc(1e-6, friction=1.0),
        rmsprop_sgld(1e-6, decay=1.0, epsilon=1.0, v_init="zero"),
        adam_sgld(1e-6, decay=1.0, epsilon=1.0, v_init="zero"),
        pytest.param(hmc(1e-6, leapfrog=1), marks=pytest.mark.slow),
    ],
    ids=["sgld", "mala", "sghmc", "rmsprop", "adam", "hmc"],
)
def test_bfloat16_weights_diffuse_by_steps_smaller_than_their_spacing(sampler):
    """64 steps of 1e-3 on weights of -2, whose neighbours in bfloat16 are 8e-3 and 16e-3 away."""
    n, steps = 1000, 64
    centre = jnp.full(n, -2.0, jnp.bfloat16)
    assert (centre + jnp.asarray(3.5e-3, jnp.bfloat16) == centre).all()
    potential = localised(lambda w, data: jnp.sum(w) * 0, NO_DATA, centre, nbeta=1.0, gamma=1.0)
    end = walk(sampler, potential, centre, steps)[-1].params
    moved = np.asarray(end, np.float64) + 2.0
    assert np.mean(moved**2) == pytest.approx(steps * 1e-6, rel=4 * np.sqrt(2 / n))


def underdamped(A, step, friction, diffusion, noise):
    """Of (w, v): v <- (1 - alpha) v - eta A w + N(0, 2 a eta + eta^2 noise), w <- w + v; the stationary covariance."""
    eta = step / 2
    M = np.array([[1 - eta * A, 1 - friction], [-eta * A, 1 - friction]])
    return linalg.solve_discrete_lyapunov(M, (2 * diffusion * eta + eta**2 * noise) * np.ones((2, 2)))


def thermostat(A, step, diffusion, noise):
    """The friction alpha at which the velocities have the mean square eta/(1 - alpha/2), over curvatures A."""
    energy = lambda friction: np.mean([underdamped(a, step, friction, diffusion, noise)[1, 1] for a in A])
    return optimize.brentq(lambda friction: (1 - friction / 2) * energy(friction) - step / 2, 0.01, 1.0)


def test_the_thermostat_takes_up_the_noise_of_the_gradient():
    """3000 coordinates: velocities at their temperature, friction and positions at their mean-field values."""
    A, copies, step, a = np.array([0.5, 1.0, 2.0]), 1000, 0.1, 0.1
    curvatures = jnp.tile(jnp.asarray(A, jnp.float32), copies)
    sampler, warmup, steps = sgnht(step, diffusion=a), 300, 600

    def run(key, noise):
        def value(key, w):
            jitter = jnp.sqrt(noise) * jax.random.normal(key, w.shape) @ (w - jax.lax.stop_gradient(w))
            U = jnp.sum(curvatures * w**2) / 2
            return U + jitter, U

        potential = Potential(value, exact=False)
        start = sampler.init(jax.random.fold_in(key, 0), jnp.zeros(len(curvatures)), potential)

        def advance(state, t):
            state, _ = sampler.step(jax.random.fold_in(key, t), state, potential)
            energy = (1 - state.friction / 2) * jnp.mean(state.velocity**2)
            return state, (state.friction, energy, state.params.reshape(copies, 3))

        _, (friction, energy, w) = jax.lax.scan(advance, start, jnp.arange(1, warmup + steps + 1))
        return jnp.mean(friction[warmup:]), jnp.mean(energy[warmup:]), jnp.mean(w[warmup:] ** 2, axis=(0, 1))

    noises = np.array([0.0, 4.0])
    friction, energy, variance = quick(jax.vmap(run))(jax.random.split(jax.random.key(0)), jnp.asarray(noises, float))
    expected = [thermostat(A, step, a, noise) for noise in noises]
    np.testing.assert_allclose(energy, step / 2, rtol=0.01)
    np.testing.assert_allclose(friction, expected, rtol=0.02)
    np.testing.assert_allclose(expected, a + step / 4 * noises, rtol=0.1)  # what small steps would have
    laws = [[underdamped(h, step, e, a, v)[0, 0] for h in A] for e, v in zip(expected, noises, strict=True)]
    np.testing.assert_allclose(variance, laws, rtol=0.03)
    np.testing.assert_allclose(laws, np.stack([1 / A] * 2), rtol=0.03)
    assert min(underdamped(h, step, a, a, noises[1])[0, 0] * h for h in A) > 1.9  # without it


@pytest.mark.slow
@pytest.mark.parametrize("factory", [hmc, nuts])
def test_window_adaptation_finds_the_masses_and_a_step_size_and_keeps_the_law(factory):
    """Standard deviations of 1, .1 and .01, one coordinate frozen, h of 1 to begin with: 100 times the smallest."""
    curvatures = np.array([1.0, 100.0, 1e4, 5.0])
    loss = lambda w, data: jnp.sum(jnp.asarray(curvatures, jnp.float32) * w**2) / 2
    mask = np.array([True, True, True, False])
    potential = localised(loss, NO_DATA, jnp.zeros(4), nbeta=1.0, gamma=0.0, mask=mask)
    sampler, chains = factory(1.0, adaptation=500), 60

    def run(key):
        start = sampler.init(jax.random.fold_in(key, 0), jnp.zeros(4), potential)
        advance = lambda state, t: (lambda to: (to[0], (to[0].params, to[1].acceptance)))(
            sampler.step(jax.random.fold_in(key, t), state, potential)
        )
        _, (w, acceptance) = jax.lax.scan(advance, start, jnp.arange(1, 101))
        return start.inverse_mass, w, acceptance

    mass, w, acceptance = quick(jax.vmap(run))(jax.random.split(jax.random.key(0), chains))
    np.testing.assert_allclose(np.exp(np.mean(np.log(mass), axis=0)), 1 / curvatures[:3], rtol=0.25)
    assert 0.65 < np.mean(acceptance) < 0.95  # BlackJAX aims at .8
    each = np.mean(np.square(w[..., :3]), axis=1) * curvatures[None, :3]
    error = each.std(axis=0) / np.sqrt(chains)
    assert (error < 0.06).all()
    assert (np.abs(each.mean(axis=0) - 1) < 4 * error).all()
    np.testing.assert_array_equal(w[..., 3], 0)
