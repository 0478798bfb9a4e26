"""Statistics of draws: their effective number, the agreement of chains, and sums that are accumulated draw by draw."""

import blackjax.diagnostics
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Scalar


def ess(trace: Float[Array, "chains draws"]) -> Scalar:
    """Effective number of independent draws among chains * draws, by Geyer's initial monotone sequence (BlackJAX)."""
    return blackjax.diagnostics.effective_sample_size(trace, chain_axis=0, sample_axis=1)


def rhat(trace: Float[Array, "chains draws"]) -> Scalar:
    """Split R-hat: chains are halved, so one chain is enough and a drift shows (Gelman et al. 2013, section 11.4)."""
    chains, draws = trace.shape
    halves = trace[:, : draws - draws % 2].reshape(2 * chains, draws // 2)
    return jnp.squeeze(blackjax.diagnostics.potential_scale_reduction(halves, chain_axis=0, sample_axis=1))


def autocorrelation_time(trace: Float[np.ndarray, "chains draws"]) -> float:
    """tau = 1 + 2 sum_k rho_k, chains about their own means, summed up to the first k >= 5 tau (Sokal 1997).

    In draws, on the host. `ess` is about trace.size / tau, and more careful with slow chains.
    """
    n = trace.shape[1]
    spectrum = np.abs(np.fft.rfft(trace - trace.mean(axis=1, keepdims=True), 2 * n)) ** 2
    covariance = np.fft.irfft(spectrum.mean(axis=0))[:n]
    if covariance[0] <= 0:
        return float(n)
    tau = 2 * np.cumsum(covariance / covariance[0]) - 1
    window = np.flatnonzero(np.arange(n) >= 5 * tau)
    return float(max(1.0, tau[window[0] if len(window) else -1]))


def step_bias(acceptance: Scalar, value: Scalar, free: Float[Array, ""] | float | int) -> Scalar:
    """At most by which share of itself unadjusted Langevin overestimates lambda: b = (x/4)/(1 - x/4), x a step eps A.

    On a quadratic a coordinate is off by b(eps A_i), and the acceptance is 2 Phi(-s/2) with s^2 = sum_i (eps A_i)^3/16
    (Roberts and Rosenthal 1998, section 2). Of about 2 lambda-hat coordinates the mean x is at most
    (16 s^2/max(1, 2 lambda-hat))^(1/3). NaN on minibatches.
    """
    s = -2 * norm.ppf(acceptance / 2)
    x = jnp.cbrt(16 * s**2 / jnp.clip(2 * value, 1, jnp.maximum(free, 1)))
    return jnp.where(x < 4, x / 4 / (1 - jnp.minimum(x, 3.999) / 4), jnp.where(jnp.isnan(x), x, jnp.inf))


def welford(mean: Array, square: Array, count: Scalar | int, x: Array) -> tuple[Array, Array]:
    """Mean, and sum of squares about it, once x is the `count`-th value: Welford 1962. They begin at 0."""
    moved = mean + (x - mean) / count
    return moved, square + (x - mean) * (x - moved)
