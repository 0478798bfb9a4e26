"""Tempered sequential Monte Carlo from a Gaussian prior to the posterior, with the evidence."""

from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import optax
from blackjax.smc import resampling, tempered
from jaxtyping import Array, Float, Key, Scalar

TARGET = 0.8  # acceptance that the step size aims at

Density = Callable[[Any], Scalar]
PerRung = Float[Array, " rungs"]


def tempered_smc(
    key: Key[Array, ""], particles: Any, log_likelihood: Density, ladder: PerRung, *, moves: int, leapfrogs: int
) -> tuple[Any, Scalar, PerRung, PerRung]:
    """Tempered sequential Monte Carlo from the prior N(0, 1): likelihood^beta with beta up the ladder, 0 to 1.

    Del Moral, Doucet and Jasra 2006. At each rung: resample, then `moves` Hamiltonian steps of a size that follows the
    acceptance. On a ladder of ones alone nothing is ever resampled: independent chains started at the prior. Returns
    equally weighted particles, the log evidence, and of each rung the share of effective particles after reweighting
    and the mean acceptance.
    """
    hmc, size = blackjax.hmc.build_kernel(), sum(leaf[0].size for leaf in jax.tree.leaves(particles))
    log_prior = lambda params: -optax.tree.norm(params, squared=True) / 2

    def move(key: Key[Array, ""], state: Any, log_density: Density, step_size: Scalar) -> Any:
        return hmc(key, state, log_density, step_size, jnp.ones(size), leapfrogs)

    kernel = tempered.build_kernel(log_prior, log_likelihood, move, blackjax.hmc.init, resampling.systematic, _moves)

    def rung(carry: Any, at: Any) -> Any:
        state, step_size, log_evidence = carry
        i, upper = at
        state, info = kernel(jax.random.fold_in(key, i), state, moves, upper, {"step_size": step_size[None]})
        acceptance = jnp.mean(info.update_info.acceptance_rate)
        evidence = (1 / jnp.sum(state.weights**2) / len(state.weights), acceptance)
        step_size = step_size * jnp.exp(jnp.clip(2 * (acceptance - TARGET), -0.5, 0.3))
        return (state, step_size, log_evidence + info.log_likelihood_increment), evidence

    begin = tempered.init(particles)._replace(tempering_param=ladder[0])
    rungs = jnp.arange(len(ladder)), jnp.append(ladder[1:], ladder[-1])
    (state, _, log_evidence), evidence = jax.lax.scan(rung, (begin, jnp.array(0.3), jnp.array(0.0)), rungs)
    return state.particles, log_evidence, *evidence


def _moves(init: Callable, log_density: Density, step: Callable, num_mcmc_steps: int, n_particles: int) -> Any:
    """BlackJAX's `update_and_take_last` with keys that are folded in: JAX's check for reuse misreads split ones."""

    def last(key: Key[Array, ""], position: Any, parameters: dict) -> tuple[Any, Any]:
        move = lambda state, i: step(jax.random.fold_in(key, i), state, log_density, **parameters)
        state, info = jax.lax.scan(move, init(position, log_density), jnp.arange(num_mcmc_steps))
        return state.position, info

    return jax.vmap(last), n_particles
