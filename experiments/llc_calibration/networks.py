"""Deep linear networks whose learning coefficient at a point is known: what is known of them, and their estimates."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import slt
import sweeps

FRICTION = 0.03
THEIR_N = 1e5  # of Furman and Lau, for the first of their classes
SPLITS = 300  # of the search for a network's exact coefficient; the few that need more are left out
ZERO = 1e-10  # of the largest curvature: eigenvalues below are rounding
POINTS_NBETA, POINTS_GAMMA = 1e5, 20.0
BLOCK = 4  # networks at a time on a device
KEPT = "value", "stderr", "ess", "rhat", "findings"
Layers = list[Float[np.ndarray, "_ _"]]  # of a deep linear network at a true parameter, the first one first


def furman_lau(rng: np.random.Generator, layers: int, low: int, high: int) -> Layers:
    """Widths uniform on low..high; each layer, with probability 1/2, cut to a uniform rank (arXiv 2402.03698).

    The weights are N(0, 1/inputs of the layer), the cut leaves its largest singular values.
    """
    widths, weights = rng.integers(low, high + 1, layers + 1).tolist(), []
    for inputs, outputs in itertools.pairwise(widths):
        U, s, V = np.linalg.svd(rng.normal(size=(outputs, inputs)) / np.sqrt(inputs), full_matrices=False)
        kept = int(rng.integers(0, len(s) + 1)) if rng.random() < 0.5 else len(s)
        weights.append((U[:, :kept] * s[:kept]) @ V[:kept])
    return weights


def points() -> dict[str, Layers]:
    """Points of one set of true parameters whose local coefficients differ: P = diag(1, 0), Q = diag(0, 1)."""
    layer = {"1": np.eye(2), "P": np.diag([1.0, 0]), "Q": np.diag([0, 1.0]), "0": np.zeros((2, 2))}
    layer |= {"A": np.eye(2, 3), "Z": np.zeros((2, 3)), "B": np.zeros((3, 2))}
    words = {
        "2-2-2 at 0": "00",
        "2-2-2, A = 1, B = 0": "10",
        "2-2-2, A = P, B = Q": "PQ",
        "2-2-2, A = 1, B = P": "1P",
        "3-2-3 at 0": "ZB",
        "3-2-3, A of rank 2, B = 0": "AB",
        "2-2-2-2, 1, 1, 0": "110",
        "2-2-2-2, P, 1, 0": "P10",
    }
    return {name: [layer[letter] for letter in word] for name, word in words.items()}


def product(weights: Sequence[Any]) -> Any:
    """W_L ... W_1."""
    return functools.reduce(lambda P, W: W @ P, weights)


def product_loss(params: Any, data: Any) -> Float[Array, " 1"]:
    """|W_L ... W_1 - W*|^2/2: the population loss E|f(x) - W* x|^2/2 for inputs with E x x' = 1."""
    layers = [params[f"W{l}"] for l in range(1, len(params) + 1)]
    return jnp.sum((product(layers) - data[0]) ** 2)[None] / 2


def padded(networks: Sequence[Layers], width: int) -> dict[str, Any]:
    """Networks of one depth as a grid: layers, masks of the entries that exist, and products, all width x width."""
    fill = lambda matrices: np.stack([np.pad(W, [(0, width - size) for size in W.shape]) for W in matrices])
    layers = {f"W{l}": matrices for l, matrices in enumerate(zip(*networks, strict=True), 1)}
    return {
        "params": {name: fill(matrices).astype(np.float32) for name, matrices in layers.items()},
        "mask": {name: fill([np.ones(W.shape, bool) for W in matrices]) for name, matrices in layers.items()},
        "target": fill([product(weights) for weights in networks]).astype(np.float32),
    }


def stiffness(weights: Layers, gamma: float, seed: int) -> float:
    """A bound sum_l |after|^2 |before|^2 of the curvature where chains go: w* + N(0, 1/gamma), the most it allows."""
    rng = np.random.default_rng(seed)
    moved = [W + rng.normal(size=W.shape) / np.sqrt(gamma) for W in weights]
    return float(sum(np.linalg.norm(B, 2) ** 2 * np.linalg.norm(A, 2) ** 2 for B, A in slt.partial_products(moved)))


def facts(weights: Layers, sizes: Sequence[float], gammas: Sequence[float]) -> xr.Dataset:
    """What is known of a network without a chain.

    Furman and Lau's loss is the mean over outputs of (f(x) - y)^2, their inputs U[-10, 10]: 200/3/outputs times
    `product_loss`, which is what the factor of nbeta is.
    """
    h, ranks = slt.deep_linear_curvatures(weights), slt.rank_array(weights)
    nbeta = [200 / 3 / len(weights[-1]) * n / np.log(n) for n in sizes]
    each: dict[str, Any] = {
        "layers": len(weights),
        "local": slt.deep_linear_local(ranks, splits=SPLITS),
        "overall": slt.deep_linear(np.diag(ranks).tolist(), int(ranks[0, -1]))[0],
        "hessian_rank": int(np.sum(h > ZERO * max(h.max(), ZERO))),
        "nbeta": ("samples", nbeta),
        "gaussian": ("samples", [slt.regular_finite(h, nbeta=n, gamma=g) for n, g in zip(nbeta, gammas, strict=True)]),
    }
    return xr.Dataset(each)


def deep_linear(
    depths: Sequence[int], count: int, widest: int, *, samples: float, gamma: float, bias: float, sampling: slt.Sampling
) -> xr.Dataset:
    """The class of Furman and Lau at two sizes n of the data set, and the points of networks as deep, in one sweep."""
    sizes = THEIR_N, samples
    gammas = [gamma * np.sqrt(n / THEIR_N) for n in sizes]
    parts, at_points = [], []
    for layers in depths:
        rng = np.random.default_rng(layers)
        nets = [furman_lau(rng, layers, 5, widest) for _ in range(count)]
        named = {name: net for name, net in points().items() if len(net) == layers}
        known = xr.concat([facts(net, sizes, gammas) for net in [*nets, *named.values()]], "network")
        every, alone = [*nets, *nets, *named.values()], len(named)
        held = np.repeat([*gammas, POINTS_GAMMA], [count, count, alone])
        nbeta = np.append(known.nbeta.values[:count].T, [POINTS_NBETA] * alone)
        seed = np.concatenate([np.arange(count), np.arange(count), np.arange(alone)])
        stiff = [stiffness(*each) for each in zip(every, held.tolist(), seed.tolist(), strict=True)]
        step_size = 2 * (4 - 2 * FRICTION) * bias / (1 + bias) / (nbeta * stiff + held)  # eta A/(4 - 2 alpha) at most
        settings = {"nbeta": nbeta, "gamma": held, "step_size": step_size}
        grid = padded(every, widest) | {name: values.astype(np.float32) for name, values in settings.items()}
        estimates = functools.partial(estimate, sampling)
        found = sweeps.map(estimates, grid | {"seed": seed}, name=f"layers_{layers}", block=BLOCK)
        found = found.assign(findings=("point", slt.findings(slt.LLC(*(found[f].values for f in slt.LLC._fields)))))
        found = found[list(KEPT)].drop_vars(list(found.coords)).rename(point="network")
        pair = [found.isel(network=slice(i * count, (i + 1) * count)) for i in range(len(sizes))]
        parts.append(known.isel(network=slice(count)).merge(xr.concat(pair, "samples").transpose()))
        own = known[["local", "overall"]].isel(network=slice(count, None))
        own = own.merge(found[["value", "stderr"]].isel(network=slice(2 * count, None)))
        own = own.rename({str(name): f"point_{name}" for name in own})
        at_points.append(own.rename(network="where").assign_coords(where=np.array([*named], object)))
    results = [xr.concat(parts, "network"), xr.concat(at_points, "where")]
    return xr.merge(results).assign(gamma=("samples", gammas)).assign_coords(samples=list(sizes))


def estimate(sampling: slt.Sampling, at: dict[str, Any]) -> slt.LLC:
    """lambda-hat of a padded network at its true parameter; entries that do not exist are frozen at zero."""
    held = dict(nbeta=at["nbeta"], gamma=at["gamma"], mask=at["mask"])
    key, sampler = jax.random.key(at["seed"]), slt.sghmc(at["step_size"], friction=FRICTION)
    data = at["target"][None]
    return slt.estimate_llc(key, product_loss, at["params"], data, sampler, **held, **sampling._asdict())
