"""Correlated errors of checkpoints as an autoregression of order one, read off second differences.

With correlation rho between neighbours and variance s^2 the mean square of y_i - 2 y_{i+k} + y_{i+2k} is
2 s^2 (1 - rho^k)(3 - rho^k), and neither level nor slope of the curve enters it. The variance of a mean is
(1 + rho)/(1 - rho) times that of independent errors. (After Chakar et al. 2017, Bernoulli 23, on first differences.)
"""

import numpy as np
from jaxtyping import Float

RHO = np.linspace(0, 0.98, 99)  # the correlations that are told apart
KEPT = 0.75  # share of the squared differences that are averaged: jumps are among the others


def second_difference(curve: np.ndarray, lag: int) -> np.ndarray:
    """y_i - 2 y_{i + lag} + y_{i + 2 lag}, along the first axis."""
    return curve[: -2 * lag] - 2 * curve[lag:-lag] + curve[2 * lag :]


def kept_mean(squares: Float[np.ndarray, " places"]) -> float:
    """The mean of the squares without their largest quarter."""
    return float(np.sort(squares)[: max(int(KEPT * len(squares)), 1)].mean())


def expected_square(rho: Float[np.ndarray, "*shape"], lag: int) -> Float[np.ndarray, "*shape"]:
    """The mean square of second differences, for variance one."""
    return 2 * (1 - rho**lag) * (3 - rho**lag)
