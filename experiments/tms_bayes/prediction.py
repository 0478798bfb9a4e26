"""What the free-energy formula says, before any sampling: F_k(n) = n L_k + lambda_k log n + c_k."""

import functools
from math import comb, factorial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar
from scipy import optimize, special, stats

from toymodels.tasks.superposition import levels, polygon, potential

FEATURES = 6
PHASES = {"4": (4, 0), "4+": (4, 1), "4++": (4, 2), "5": (5, 0), "5+": (5, 1), "6": (6, 0)}
"""Name -> (vertices, dead features with positive bias): the k-gons of six features of Chen et al. 2023."""
LAMBDA = {"4": 7.5, "4+": 8.0, "4++": 8.5, "5": 7.0, "5+": 8.5, "6": 8.5}
"""Half the number of directions in which the loss grows; for the 4-gons, where it is C^1 only, by volume scaling."""
CONSTANT = {"4": -18.64, "4+": -19.17, "4++": -18.35, "5": -7.156, "5+": -12.772, "6": -11.912}
"""What `constant` returns, which takes a minute; those of the 4-gons are integrals by Monte Carlo, good to 0.2."""
SCALE = 1e4  # sqrt of the n at which the leading part of the loss is read off
LOG_2PI = float(np.log(2 * np.pi))


class FreeEnergy(NamedTuple):
    """-log of the evidence of one phase at n: n level + coefficient log n + constant."""

    level: float
    coefficient: float
    constant: float


def evidence(F: dict[str, FreeEnergy], n: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n phases"]:
    """-F_k(n)."""
    level, coefficient, constant = (np.array(column)[None] for column in zip(*F.values(), strict=True))
    return -(n[:, None] * level + np.log(n)[:, None] * coefficient + constant)


def occupancy(F: dict[str, FreeEnergy], n: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n phases"]:
    """p_k(n) = exp(-F_k)/sum_j exp(-F_j): the share of the posterior in each phase."""
    return special.softmax(evidence(F, n), axis=1)


def crossing(F: dict[str, FreeEnergy], before: str, after: str) -> float:
    """The n from which on `after` has the lower free energy (NaN if there is none below 1e6)."""
    gap = lambda n: float(
        np.squeeze(evidence({"": F[after]}, np.array([n])) - evidence({"": F[before]}, np.array([n])))
    )
    n = np.geomspace(1, 1e6, 2000)
    negative = np.flatnonzero(np.array([gap(value) for value in n]) < 0)
    if negative.size == 0 or negative[-1] == n.size - 1:
        return float("nan") if negative.size else 1.0
    root: Any = optimize.brentq(gap, n[negative[-1]], n[negative[-1] + 1])
    return float(root)


@functools.cache
def leading_order() -> dict[str, FreeEnergy]:
    """L_k, lambda_k and, as c_k, the prior at the point, |w|^2/2 without dead negative biases. Chen et al. 2023."""
    found, level = {}, levels(FEATURES)
    for name, (k, plus) in PHASES.items():
        W, b = (np.asarray(leaf, float) for leaf in polygon(k, FEATURES, plus))
        found[name] = FreeEnergy(level[name], LAMBDA[name], float(np.sum(W**2) + np.sum(b[: k + plus] ** 2)) / 2)
    return found


def loss_alone() -> dict[str, FreeEnergy]:
    """n L_k. BIC says the same: its d/2 log n is the same for all phases of one model."""
    return {name: F._replace(coefficient=0.0, constant=0.0) for name, F in leading_order().items()}


def with_constant() -> dict[str, FreeEnergy]:
    """The leading order with the evidence's constant: copies, orbit, prior and the volume of the transverse directions.

    Z_k(n) = e^{-n L_k} n^{-lambda_k} e^{-c_k} as n -> infinity.
    """
    return {name: F._replace(constant=CONSTANT[name]) for name, F in leading_order().items()}


def constant(name: str) -> float:
    """c_k, from the geometry of the loss alone.

    One copy for each choice of the vertices, of their order round the circle and of the dead features with positive
    bias; the orbit of rotations has 2 pi.
    """
    with jax.enable_x64(True):
        return -_log_constant(name)


def _log_constant(name: str) -> float:
    k, plus = PHASES[name]
    dead = FEATURES - k
    copies = comb(FEATURES, k) * factorial(k - 1) * comb(dead, plus)
    W, b = _point(name)
    integrated = 3 * k + (2 * dead + plus if name != "5" else 0)  # coordinates with a prior density at the point
    log_prior = -integrated / 2 * LOG_2PI - (np.sum(W**2) + np.sum(b[: k + plus] ** 2)) / 2
    flat = np.log(_free_mass()) if name == "5" else (dead - plus) * np.log(0.5)
    volume = _gaussian_volume(name) if k > 4 else _volume(name)
    return float(np.log(copies) + LOG_2PI + k * np.log(np.hypot(*W[:, 0])) + log_prior + flat + volume)


@functools.cache
def _point(name: str) -> tuple[Any, Any]:
    """The k-gon in double precision: that of `polygon`, sharpened by Newton's steps on radius and bias."""
    k, plus = PHASES[name]
    W, b = (np.asarray(leaf, float) for leaf in polygon(k, FEATURES, plus))
    b[k : k + plus] = 1 / (2 * FEATURES)
    directions = np.stack([np.cos(2 * np.pi * np.arange(k) / k), np.sin(2 * np.pi * np.arange(k) / k)])
    if k > 4:
        height = lambda z: potential(z[0] * directions, jnp.full(k, z[1]))
        z = np.array([np.hypot(*W[:, 0]), b[0]])
        for _ in range(4):
            z = z - np.linalg.solve(jax.hessian(height)(z), jax.grad(height)(z))
        W[:, :k], b[:k] = z[0] * directions, z[1]
    else:
        W[:, :k] = directions
    return W, b


def dimension(name: str) -> int:
    """How many directions are transverse to a phase: twice lambda."""
    return round(2 * LAMBDA[name])


def _chart(name: str, u: Float[Array, " d"]) -> tuple[Array, Array]:
    """The model at transverse coordinates u: angles against vertex 0, radii, biases, dead W, positive dead biases.

    The dead feature of the 5-gon moves freely in a region of its own (`_free_mass`) and has no coordinates here.
    """
    k, plus = PHASES[name]
    W, b = _point(name)
    turn, radius, bias, rest = jnp.split(u, [k - 1, 2 * k - 1, 3 * k - 1])
    angle = 2 * np.pi * np.arange(k) / k + jnp.pad(turn, (1, 0))
    vertices = jnp.stack([jnp.cos(angle), jnp.sin(angle)]) * (np.hypot(*W[:, 0]) + radius)[None]
    dead = rest[: rest.size - plus].reshape(2, -1) if rest.size else jnp.zeros((2, FEATURES - k))
    shift = jnp.concatenate([bias, rest[rest.size - plus :], jnp.zeros(FEATURES - k - plus)])
    return jnp.concatenate([vertices, dead], axis=1), jnp.asarray(b) + shift


def _height(name: str, u: Float[Array, " d"]) -> Scalar:
    """The leading part of L - L_k, homogeneous of degree two: n (L(u/sqrt n) - L_k) at a large n."""
    return SCALE**2 * (potential(*_chart(name, u / SCALE)) - potential(*map(jnp.asarray, _point(name))))


def _gaussian_volume(name: str) -> float:
    """log of the integral of exp(-u H u/2): (d log 2 pi - log det H)/2."""
    H = jax.jit(jax.hessian(lambda u: potential(*_chart(name, u))))(jnp.zeros(dimension(name)))
    return float(dimension(name) * LOG_2PI - np.linalg.slogdet(H)[1]) / 2


def _volume(name: str, samples: int = 60_000, rounds: int = 6) -> float:
    """log of the integral of exp(-height) by importance sampling from a Gaussian fitted in rounds to its own weights."""
    height = jax.jit(jax.vmap(functools.partial(_height, name)))
    rng, d = np.random.default_rng(0), dimension(name)
    axes = np.eye(d)
    covariance = np.diag(1 / (np.asarray(height(axes)) + np.asarray(height(-axes))))
    mean, log_volume = np.zeros(d), float("nan")
    for _ in range(rounds):
        u = rng.multivariate_normal(mean, covariance, samples)
        log_weight = -np.asarray(height(u)) - stats.multivariate_normal(mean, covariance).logpdf(u)
        log_volume = float(special.logsumexp(log_weight) - np.log(samples))
        weight = special.softmax(log_weight / 1.5)  # flattened: a fit that is too narrow never recovers
        mean = weight @ u
        covariance = 1.1 * np.cov(u.T, aweights=weight)
    return log_volume


def _free_mass(samples: int = 400_000) -> float:
    """The prior probability that the dead feature of the 5-gon, its W and b, leaves the loss at its level."""
    W, b = _point("5")
    draws = np.random.default_rng(0).standard_normal((samples, 3))
    move = lambda d: potential(jnp.asarray(W).at[:, 5].set(d[:2]), jnp.asarray(b).at[5].set(d[2]))
    return float(np.mean(np.abs(jax.jit(jax.vmap(move))(draws) - potential(jnp.asarray(W), jnp.asarray(b))) < 1e-12))
