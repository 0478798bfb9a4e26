"""Learning coefficients known in closed form, and what an exact sampler returns at finite nbeta.

The first group returns (lambda, multiplicity) for nbeta -> infinity. The `*_finite` group returns nbeta E[K] under
exp(-nbeta K(w)) times a prior, which is what an estimate must be compared with: at nbeta = 100 it can be half of
lambda. Host functions on Python numbers, in double precision.
"""

from collections.abc import Sequence
from functools import cache
from math import ceil, isqrt

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy import special


def regular(d: int) -> tuple[float, int]:
    """d/2: d parameters, all identified. Watanabe 2009."""
    return d / 2, 1


def normal_crossing(k: Sequence[int], h: Sequence[float] | None = None) -> tuple[float, int]:
    """K = prod_i w_i^{2 k_i} with prior prod_i |w_i|^{h_i}: the least (h_i + 1)/(2 k_i), and how often it occurs.

    Watanabe 2009. Coordinates with k_i = 0 are free and do not count.
    """
    h = [0.0] * len(k) if h is None else h
    candidates = np.array([(h_i + 1) / (2 * k_i) for k_i, h_i in zip(k, h, strict=True) if k_i > 0])
    if candidates.size == 0:
        raise ValueError(f"got k={list(k)}: at least one exponent must be positive, for K is constant without")
    value = candidates.min()
    return float(value), int(np.isclose(candidates, value).sum())


def reduced_rank(inputs: int, hidden: int, outputs: int, rank: int) -> tuple[float, int]:
    """Reduced-rank regression y = B A x at a true product of the given rank: the two-layer `deep_linear`.

    Aoyagi and Watanabe 2005.
    """
    return deep_linear((inputs, hidden, outputs), rank)


def deep_linear(widths: Sequence[int], rank: int) -> tuple[float, int]:
    """The deep linear network W_L ... W_1, layer sizes `widths` (inputs first), at a true product of the given rank.

    Aoyagi 2024 (Neural Networks 172, 106132), Theorem 1, in the excess widths M_s = d_s - r, sorted.
    """
    if len(widths) < 2 or not 0 <= rank <= min(widths):
        raise ValueError(
            f"got widths={list(widths)}, rank={rank}: write two widths or more, a rank of 0..{min(widths)}"
        )
    excess = sorted(d - rank for d in widths)
    l = next(l for l in range(1, len(excess)) if _is_bottleneck(excess, l))
    M, total = excess[: l + 1], sum(excess[: l + 1])
    a = total - (ceil(total / l) - 1) * l
    pairs = total**2 - sum(m * m for m in M)  # twice the sum of M_i M_j over i < j
    value = rank * (widths[0] + widths[-1] - rank) / 2 + (a * (l - a) - (l - 1) * total**2 + l * pairs) / (4 * l)
    return value, a * (l - a) + 1


def tanh_network(hidden: int) -> tuple[float, int]:
    """y = sum_h b_h tanh(a_h x) at the true function 0: (H + i^2 + i)/(4 i + 2), i = floor(sqrt H), twice if i^2 = H.

    Aoyagi and Watanabe 2005, quoted from memory; integrals in the tests confirm H = 2, 3.
    """
    i = isqrt(hidden)
    return (hidden + i**2 + i) / (4 * i + 2), 2 if i**2 == hidden else 1


def quadratic_network(inputs: int, hidden: int, outputs: int) -> tuple[float, int]:
    """y = V (W^T x)^2, W: (d, K), V: (p, K), at a generic point: min(K (d + p - 1), p d (d + 1)/2)/2.

    Outside the defective cases of Alexander and Hirschowitz (arXiv 2603.01192, corollary 4.2).
    """
    d, K, p = inputs, hidden, outputs
    return min(K * (d + p - 1), p * d * (d + 1) // 2) / 2, 1


def _is_bottleneck(excess: list[int], l: int) -> bool:
    """Whether the l + 1 smallest excess widths are the set calM of Aoyagi's theorem."""
    total = sum(excess[: l + 1])
    return total >= l * excess[l] and (l + 1 == len(excess) or total < l * excess[l + 1])


def regular_finite(curvatures: Float[ArrayLike, " d"], *, nbeta: float, gamma: float, step_size: float = 0.0) -> float:
    """nbeta E[K] for K = sum_i h_i w_i^2/2 localised by gamma: 1/2 sum_i nbeta h_i/(nbeta h_i + gamma).

    With a step size, that of unadjusted Langevin: variances are larger by 1/(1 - eps A_i/4), A_i = nbeta h_i + gamma.
    """
    h = np.asarray(curvatures, float)
    A = nbeta * h + gamma
    if np.any(step_size * A >= 4):
        return float("inf")
    return float(np.sum(nbeta * h / A / (1 - step_size * A / 4)) / 2)


def normal_crossing_finite(k: Sequence[int], *, nbeta: float, gamma: float | None = None) -> float:
    """nbeta E[K] for K = prod_i w_i^{2 k_i} under the uniform prior on [-1, 1]^d, or N(0, 1/gamma) if gamma is given.

    -d log Z/d log nbeta of Z(nbeta) = (1/2 pi i) int Gamma(s) nbeta^{-s} zeta(-s) ds, zeta(z) = E[K^z] (Watanabe
    2009), on a line left of the first pole, s = lambda.
    """
    k = [k_i for k_i in k if k_i > 0]
    c = normal_crossing(k)[0] / 2

    def integrand(t: np.ndarray) -> np.ndarray:
        s = c + 1j * t
        log_zeta = sum(_log_moment(-2 * k_i * s, gamma) for k_i in k)
        return np.exp(special.loggamma(s) - s * np.log(nbeta) + log_zeta)

    t = np.linspace(-60, 60, 60001)
    weight = integrand(t)
    return float((np.sum((c + 1j * t) * weight) / np.sum(weight)).real)


def _log_moment(power: np.ndarray, gamma: float | None) -> np.ndarray:
    """log E|w|^power under the uniform law on [-1, 1], or N(0, 1/gamma)."""
    if gamma is None:
        return -np.log(1 + power)
    return power / 2 * np.log(2 / gamma) + special.loggamma((1 + power) / 2) - special.loggamma(0.5)


def reduced_rank_finite(inputs: int, hidden: int, outputs: int, *, nbeta: float, gamma: float) -> float:
    """nbeta E[K] for K = |B A|^2/2 localised at A = B = 0 by gamma; A: (hidden, inputs), B: (outputs, hidden).

    Without B, det(gamma + nbeta A A^T)^{-outputs/2} under a Gaussian A: quadrature in the logarithms of a Wishart
    matrix's eigenvalues x, density prod_i x_i^{(|M - H| - 1)/2} e^{-gamma x_i/2} prod_{i<j} |x_i - x_j|.
    """
    r, other = sorted((hidden, inputs))
    if r > 3:
        raise ValueError(f"got min(inputs, hidden)={r}: the quadrature covers up to three singular values")
    nodes, weights = _legendre({1: 2000, 2: 600, 3: 160}[r])
    low, high = np.log(1e-9 / nbeta), np.log(200 / gamma)
    y = (high - low) / 2 * nodes + (high + low) / 2
    x = np.exp(y)
    log_w = np.log(weights) + (other - r + 1) / 2 * y - gamma * x / 2 - outputs / 2 * np.log(gamma + nbeta * x)
    energy = outputs / 2 * nbeta * x / (gamma + nbeta * x)  # -d log det^{-N/2}/d log nbeta, per eigenvalue
    axes = np.meshgrid(*[np.arange(len(x))] * r, indexing="ij")
    total = np.exp(sum(log_w[i] - log_w.max() for i in axes))
    for i in range(r):
        for j in range(i):
            total = total * np.abs(x[axes[i]] - x[axes[j]])
    return float(np.sum(total * sum(energy[i] for i in axes)) / np.sum(total))


def tanh_finite(hidden: int, inputs: Float[np.ndarray, " n"], *, nbeta: float, gamma: float) -> float:
    """nbeta E[K] of `hidden` <= 2 tanh units at 0, by quadrature over a: b is Gaussian given a, as in reduced rank.

    K = E_x (sum_h b_h tanh(a_h x))^2/2 over the `inputs`. With G(a) = E tanh(a x) tanh(a x)' the weight of a is
    det(gamma + nbeta G)^{-1/2} exp(-gamma |a|^2/2), and the energy given a is tr(nbeta G (gamma + nbeta G)^{-1})/2.
    """
    half = np.geomspace(1e-5, 6, 150) / np.sqrt(gamma)
    axis = np.concatenate([-half[::-1], half])
    each = lambda values: np.stack(np.meshgrid(*[values] * hidden, indexing="ij"), axis=-1).reshape(-1, hidden)
    a, width = each(axis), each(np.gradient(axis))
    phi = np.tanh(a[:, :, None] * inputs)
    G = np.einsum("phx,pkx->phk", phi, phi) / len(inputs)
    A = gamma * np.eye(hidden) + nbeta * G
    log_weight = -np.linalg.slogdet(A)[1] / 2 - gamma * (a**2).sum(1) / 2 + np.log(width).sum(1)
    weight = np.exp(log_weight - log_weight.max())
    energy = (hidden - gamma * np.trace(np.linalg.inv(A), axis1=1, axis2=2)) / 2
    return float(np.sum(weight * energy) / np.sum(weight))


# nodes and weights on [-1, 1]: an eigenvalue problem, and the dearest part of the integrals above
_legendre = cache(np.polynomial.legendre.leggauss)
