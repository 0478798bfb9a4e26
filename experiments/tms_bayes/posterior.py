"""The posterior exp(-n L_n(w)) N(w; 0, 1) of the 1-sparse model, sampled from the prior on, and its samples named."""

from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from blackjax.smc import resampling, tempered
from jaxtyping import Array, Float, Int, Key, Scalar

import toymodels as tm

CELLS = 1024  # values of mu: the midpoints of a grid, on which the population loss is the exact one to 3e-7
TARGET = 0.8  # acceptance that the step size aims at
WIDTH = 1e-3  # how near a level of the theory a descended sample must be

Moments = Float[Array, "features edges 3"]
Density = Callable[[Any], Scalar]
PerRung = Float[Array, " rungs"]
Params = dict[str, Array]


def moments(counts: Float[Array, "features cells"]) -> Moments:
    """Sums of 1, mu, mu^2 over the data of each feature whose mu is below 0, 1/CELLS, ..., 1, divided by n.

    Data are x = mu_g e_j; `counts` is the share of them in each (feature j, cell g).
    """
    mu = (jnp.arange(CELLS) + 0.5) / CELLS
    below = jnp.cumsum(counts[..., None] * jnp.vander(mu, 3, increasing=True)[None], axis=1)
    return jnp.pad(below, ((0, 0), (1, 0), (0, 0)))


def population(features: int) -> Moments:
    """Every cell alike: the data set whose empirical loss is the population loss."""
    return moments(jnp.full((features, CELLS), 1 / (features * CELLS)))


def data_set(key: Key[Array, ""], features: int, n: Scalar, most: int) -> Moments:
    """n <= most data, feature and cell uniform; a larger n with the same key adds data to them. n may be traced."""
    cell = jax.random.randint(key, (most,), 0, features * CELLS)
    counts = jnp.zeros(features * CELLS).at[cell].add(jnp.where(jnp.arange(most) < n, 1 / n, 0.0))
    return moments(counts.reshape(features, CELLS))


def empirical_loss(m: Moments, W: Float[Array, "hidden features"], b: Float[Array, " features"]) -> Scalar:
    """L_n = 1/n sum |x - ReLU(W^T W x + b)|^2 on the data that `m` holds, exactly, at a cost that n does not enter.

    Each output is piecewise linear in mu with one kink, at -b_i/a_ij, so a sum over data is a difference of moments.
    """
    a, bias, feature = W.T @ W, b[:, None], jnp.arange(b.size)
    kink = jnp.where(a == 0, jnp.where(bias > 0, 1.0, 0.0), jnp.clip(-bias / jnp.where(a == 0, 1, a), 0, 1))
    cell = jnp.round(jax.lax.stop_gradient(kink) * CELLS).astype(int)
    below, total = m[feature[None, :], cell], m[:, -1]
    active = jnp.where((a > 0)[..., None], total[None] - below, below)  # (output, input, power of mu)
    output = jnp.sum(bias**2 * active[..., 0] + 2 * a * bias * active[..., 1] + a**2 * active[..., 2])
    own = active[feature, feature]
    return output + jnp.sum(total[:, 2] - 2 * (jnp.diagonal(a) * own[:, 2] + b * own[:, 1]))


def smc(
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
    """BlackJAX's `update_and_take_last`, with keys that are folded in: JAX's check for reuse misreads split ones here."""

    def last(key: Key[Array, ""], position: Any, parameters: dict) -> tuple[Any, Any]:
        move = lambda state, i: step(jax.random.fold_in(key, i), state, log_density, **parameters)
        state, info = jax.lax.scan(move, init(position, log_density), jnp.arange(num_mcmc_steps))
        return state.position, info

    return jax.vmap(last), n_particles


def descend(params: Params, steps: int) -> Params:
    """To the bottom of the basin in which a model lies: clipped gradient descent on the population loss."""
    tx = optax.chain(optax.clip_by_global_norm(0.3), optax.sgd(0.3, momentum=0.9, nesterov=True))
    task, loss = tm.one_sparse(params["b"].size), lambda w, _: tm.potential(w["W"], w["b"])
    state = tm.start(params, tx)
    return tm.segment(jax.random.key(0), state, steps, loss=loss, task=task, tx=tx, batch_size=1).params


def phase(params: Params, phases: dict[str, tuple[int, int]], levels: dict[str, float]) -> Int[Array, ""]:
    """The index in `phases` (name -> vertices, dead features with positive bias) of a descended model.

    len(phases): fewer than four vertices. len(phases) + 1: nothing with a name. Two readings must agree, the weights
    and the loss. A vertex whose own output never fires (the `-` of Chen et al. 2023) is none.
    """
    W, b = params["W"], params["b"]
    norm2 = jnp.sum(W**2, axis=0)
    vertex = (norm2 > tm.LIVE**2) & (norm2 + b > 0)
    k, plus = jnp.sum(vertex), jnp.sum(~vertex & (b > 0))
    names = np.array(list(phases.values()))
    close = jnp.abs(tm.potential(W, b) - np.array([levels[name] for name in phases], np.float32)) < WIDTH
    found = (names[:, 0] == k) & (names[:, 1] == plus) & close
    other = jnp.where(k < 4, len(phases), len(phases) + 1)
    return jnp.where(jnp.any(found), jnp.argmax(found), other)
