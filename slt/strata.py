"""The learning coefficient of a deep linear network at a particular point, from the ranks of its partial products.

Networks W_L ... W_1 are sorted by their rank arrays r_ij = rank(W_j ... W_{i+1}), 0 <= i <= j <= L, with r_ii = d_i:
the orbits of a quiver of type A. Near a point are those with r' >= r (Abeasis and Del Fra 1985), and the true
parameters near it are the union of those with its r_0L. The learning coefficient taken here is half of the least
codimension among them: it never exceeds that, for two layers it is that (Schur complements lead to Aoyagi and Watanabe
2005), and at the most degenerate point it is Aoyagi 2024's global value.

In an orbit of least codimension two counts of basis vectors matter: alpha_t, those that start at the inputs, reach
layer t and end before the outputs; beta_t, those that start later, have begun by layer t and end at the outputs. With
M_t = d_t - r the codimension in the fibre, minimised by dynamic programming, is r (d_0 + d_L - r) plus

    sum_t (alpha_t - alpha_{t+1}) (M_{t+1} - alpha_{t+1}) + (beta_{t+1} - beta_t) (M_t - alpha_t - beta_t).
"""

import heapq
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import ArrayLike, Float, Int

Ranks = Int[np.ndarray, "layers layers"]
Path = Int[np.ndarray, "2 layers"]  # alpha and beta at every layer, inputs and outputs included


def rank_array(weights: Sequence[Float[ArrayLike, "_ _"]], *, tolerance: float = 1e-9) -> Ranks:
    """r_ij = rank(W_j ... W_{i+1}) of the layers W_1, ..., W_L, and r_ii = d_i; zero below the diagonal.

    A singular value counts from `tolerance` times the product of the layers' norms on: give double precision.
    """
    layers = [np.asarray(W, float) for W in weights]
    ranks = np.diag([layers[0].shape[1], *(len(W) for W in layers)])
    for i in range(len(layers)):
        product, scale = np.eye(ranks[i, i]), 1.0
        for j, W in enumerate(layers[i:], i + 1):
            product, scale = W @ product, scale * np.linalg.norm(W, 2)
            ranks[i, j] = np.sum(np.linalg.svd(product, compute_uv=False) > tolerance * max(scale, 1e-300))
    return ranks


def generic_ranks(widths: Sequence[int], layers: Sequence[int]) -> Ranks:
    """The rank array of layers W_1, ..., W_L with the ranks `layers` in general position: the least rank on the way."""
    ranks = np.diag(np.asarray(widths))
    for i, j in itertools.combinations(range(len(widths)), 2):
        ranks[i, j] = min(ranks[i, i], *layers[i:j], *widths[i : j + 1])
    return ranks


def codimension(ranks: Ranks) -> int:
    """Of the orbit with this rank array: sum over i < j of (r_{i,j-1} - r_ij)(r_{i+1,j} - r_ij)."""
    i, j = np.triu_indices(len(ranks), 1)
    return int(np.sum((ranks[i, j - 1] - ranks[i, j]) * (ranks[i + 1, j] - ranks[i, j])))


def deep_linear_local(ranks: Ranks, *, splits: int | None = None) -> float:
    """lambda at a point (W_1, ..., W_L) with this `rank_array`, for the product it has: never below the global value.

    Best first: where the dynamic programme breaks a condition that ties distant layers, the values of a count are split
    in two; NaN where so many `splits` are not enough (None: there is no bound).
    """
    ends = ranks[0, 0] + ranks[-1, -1]
    queue, done, order = [], [], itertools.count()  # the order decides between equal codimensions
    parts = [_box(ranks)]
    while True:
        for part in parts:
            least, path = _shortest(ranks, *part)
            if np.isfinite(least):
                heapq.heappush(queue, (least, next(order), path, *part))
        least, _, path, low, high = heapq.heappop(queue)
        broken = _broken(ranks, path)
        if broken is None:
            return float(ranks[0, -1] * (ends - ranks[0, -1]) + least) / 2
        if len(done) == splits:
            return float("nan")
        done.append(broken)
        parts = _halves(path, low, high, broken)


def partial_products(weights: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each layer the product of the layers after it and of those before it: dP = after dW before."""
    before, after = [np.eye(weights[0].shape[1])], [np.eye(len(weights[-1]))]
    for W, V in zip(weights[:-1], weights[:0:-1], strict=True):
        before.append(W @ before[-1])
        after.append(after[-1] @ V)
    return list(zip(after[::-1], before, strict=True))


def deep_linear_curvatures(weights: Sequence[np.ndarray]) -> Float[np.ndarray, " entries"]:
    """Nonzero spectrum (and some zeros) of the Hessian of |W_L ... W_1 - W*|^2/2 at the truth: J'J has that of J J'.

    J J' = sum_l (after after') x (before' before), one row for each entry of the product.
    """
    gram = sum(np.kron(B @ B.T, A.T @ A) for B, A in partial_products(weights))
    return np.clip(np.linalg.eigvalsh(gram), 0, None)


def _box(ranks: Ranks) -> tuple[Path, Path]:
    """Bounds of alpha and beta: at least those of the point, at most the width."""
    r, M = ranks[0, -1], np.diag(ranks) - ranks[0, -1]
    low, high = np.stack([ranks[0] - r, ranks[:, -1] - r]), np.stack([M, M])
    high[0, -1], high[1, 0] = 0, 0
    return low, high


def _shortest(ranks: Ranks, low: Path, high: Path) -> tuple[float, Path]:
    """The least codimension within the bounds and one (alpha, beta) that has it, by dynamic programming over layers."""
    d, r, last = np.diag(ranks).tolist(), int(ranks[0, -1]), len(ranks) - 1
    M, most = [width - r for width in d], max(d) - r
    alpha, beta = np.indices((most + 1, most + 1))
    mirror = lambda table: table.T[:, ::-1]  # alpha falls from layer to layer: mirrored, it rises as beta does

    def inside(t: int) -> np.ndarray:
        a, b = (low[0, t] <= alpha) & (alpha <= high[0, t]), (low[1, t] <= beta) & (beta <= high[1, t])
        return a & b & (alpha + beta <= M[t])

    cost, steps = np.where(inside(0), 0.0, np.inf), []
    for t in range(last):
        kept = int(ranks[t, t + 1]) if 0 < t < last - 1 else 0  # by the layer between two hidden ones
        cost, rise = _step(cost, lambda s, t=t: s * (M[t] - alpha - beta), min(d[t + 1] - kept, most))
        cost, fall = _step(mirror(cost), lambda s, t=t: mirror(s * (M[t + 1] - alpha + s)), min(d[t] - kept, most))
        cost = np.where(inside(t + 1), cost[:, ::-1].T, np.inf)
        steps.append((rise, fall[:, ::-1].T))
    path = [(0, M[-1])]
    for rise, fall in reversed(steps):
        a = path[-1][0] + fall[path[-1]]
        path.append((int(a), int(path[-1][1] - rise[a, path[-1][1]])))
    return float(cost[0, M[-1]]), np.array(path[::-1]).T


def _step(cost: np.ndarray, price: Callable[[int], np.ndarray], most: int) -> tuple[np.ndarray, np.ndarray]:
    """The least cost after moving right by 0 <= s <= most columns at price(s), and the s that attains it."""
    options = np.full((most + 1, *cost.shape), np.inf)
    for s in range(most + 1):
        options[s, :, s:] = (cost + price(s))[:, : cost.shape[1] - s]
    return options.min(0), options.argmin(0)


def _broken(ranks: Ranks, path: Path) -> tuple[int, int, int] | None:
    """The first i < j and layer t between them where the orbit would have a rank r_ij below the point's, if any.

    Its r_ij is r + alpha_j + beta_i + the least number of intervals at a layer t between i and j that touch no end.
    """
    (alpha, beta), d = path, np.diag(ranks)
    for i, j in itertools.combinations(range(1, len(d) - 1), 2):
        for t in range(i, j + 1):
            if alpha[t] - alpha[j] + beta[t] - beta[i] > d[t] - ranks[i, j]:
                return i, j, t
    return None


def _halves(path: Path, low: Path, high: Path, broken: tuple[int, int, int]) -> list[tuple[Path, Path]]:
    """The bounds, split at the path's value of that count among the condition's four which is least known.

    Where all four are known no path within the bounds keeps the condition: nothing is left.
    """
    i, j, t = broken
    at = max(((0, t), (0, j), (1, t), (1, i)), key=lambda k: high[k] - low[k])
    if low[at] == high[at]:
        return []
    below, above = high.copy(), low.copy()
    below[at] = min(path[at], high[at] - 1)
    above[at] = below[at] + 1
    return [(low, below), (above, high)]
