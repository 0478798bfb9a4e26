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

FRICTION = 0.03  # slow directions mix as the root of what Langevin steps take
BIAS = 0.05  # share by which the step makes the stiffest direction's part too large
THEIR_N = 1e5  # of Furman and Lau, for the first of their classes
SPLITS = 300  # of the search for a network's exact coefficient; the few that need more are left out
ZERO = 1e-10  # of the largest curvature: eigenvalues below are rounding
BLOCK = 4  # networks at a time on a device
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


def deep_linear(
    depths: Sequence[int], count: int, widest: int, *, samples: float, gamma: float, sampling: slt.Sampling
) -> xr.Dataset:
    """The class of Furman and Lau at two sizes n of the data set: what is known of each network, and lambda-hat.

    Their loss is the mean over outputs of (f(x) - y)^2, their inputs U[-10, 10]: 200/3/outputs times `product_loss`,
    which is what the factor of nbeta is.
    """
    axes = {"samples": np.array([THEIR_N, samples]), "network": np.arange(count)}
    n, seed = (values.ravel() for values in np.meshgrid(*axes.values(), indexing="ij"))
    held = gamma * np.sqrt(n / THEIR_N)
    parts: list[xr.Dataset] = []
    for layers in depths:
        rng = np.random.default_rng(layers)
        drawn = [furman_lau(rng, layers, 5, widest) for _ in range(count)]
        each = [drawn[i] for i in seed]
        nbeta = 200 / 3 / np.array([len(weights[-1]) for weights in each]) * n / np.log(n)
        stiff = [stiffness(*at) for at in zip(each, held.tolist(), seed.tolist(), strict=True)]
        step_size = 2 * (4 - 2 * FRICTION) * BIAS / (1 + BIAS) / (nbeta * stiff + held)  # eta A/(4 - 2 alpha) at most
        settings = {"nbeta": nbeta, "gamma": held, "step_size": step_size}
        grid = padded(each, widest) | {name: values.astype(np.float32) for name, values in settings.items()}
        points = sweeps.Points(grid | {"seed": seed}, None, axes)
        found = sweeps.map(functools.partial(estimate, sampling), points, name=f"layers_{layers}", block=BLOCK)
        h = [slt.deep_linear_curvatures(weights) for weights in drawn]
        at = zip(seed, nbeta, held, strict=True)
        gaussian = np.reshape([slt.regular_finite(h[i], nbeta=b, gamma=g) for i, b, g in at], found.value.shape)
        known = {"gaussian": (tuple(axes), gaussian), "findings": (tuple(axes), slt.findings(found))}
        known["local"] = "network", [slt.deep_linear_local(slt.rank_array(W), splits=SPLITS) for W in drawn]
        known["hessian_rank"] = "network", [int(np.sum(each > ZERO * max(each.max(), ZERO))) for each in h]
        parts.append(found[["value", "stderr"]].assign(known))
    return xr.concat(parts, "network")


def estimate(sampling: slt.Sampling, at: dict[str, Any]) -> slt.LLC:
    """lambda-hat of a padded network at its true parameter; entries that do not exist are frozen at zero."""
    held = dict(nbeta=at["nbeta"], gamma=at["gamma"], mask=at["mask"])
    key, sampler = jax.random.key(at["seed"]), slt.sghmc(at["step_size"], friction=FRICTION)
    data = at["target"][None]
    return slt.estimate_llc(key, product_loss, at["params"], data, sampler, **held, **sampling._asdict())
