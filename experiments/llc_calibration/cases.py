"""The models whose learning coefficients are known: deep linear networks, and small models with exact finite values."""

import itertools
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any, NamedTuple

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from slt.samplers.base import Info, Potential, Sampler
from slt.samplers.hamiltonian import nuts
from slt.strata import Ranks, generic_ranks, rank_array
from slt.theory import (
    normal_crossing,
    normal_crossing_finite,
    reduced_rank,
    reduced_rank_finite,
    regular,
    regular_finite,
    tanh_network,
)
from toymodels.models.mlp import MLP
from toymodels.task import Batch, objective
from toymodels.tasks.linear_regression import gaussian_inputs, regression

Weights = list[Float[np.ndarray, "_ _"]]


class Network(NamedTuple):
    """A deep linear network at a true parameter: layer sizes, the ranks of all partial products, the layers."""

    widths: list[int]
    ranks: Ranks
    weights: Weights

    @property
    def product(self) -> Float[np.ndarray, "outputs inputs"]:
        return reduce(lambda P, W: W @ P, self.weights)


def furman_lau(rng: np.random.Generator, layers: int, low: int, high: int) -> Network:
    """Widths uniform on low..high; each layer, with probability 1/2, cut to a uniform rank (arXiv 2402.03698).

    The weights are N(0, 1/inputs of the layer), the cut leaves its largest singular values.
    """
    widths = rng.integers(low, high + 1, layers + 1).tolist()
    weights, kept = [], []
    for inputs, outputs in itertools.pairwise(widths):
        U, s, V = np.linalg.svd(rng.normal(size=(outputs, inputs)) / np.sqrt(inputs), full_matrices=False)
        kept.append(int(rng.integers(0, len(s) + 1)) if rng.random() < 0.5 else len(s))
        weights.append((U[:, : kept[-1]] * s[: kept[-1]]) @ V[: kept[-1]])
    return Network(widths, generic_ranks(widths, kept), weights)


def _named() -> dict[str, Network]:
    I, P, Q, O = np.eye(2), np.diag([1.0, 0]), np.diag([0, 1.0]), np.zeros((2, 2))
    wide, full = np.zeros((3, 2)), np.eye(2, 3)
    points = {
        "2-2-2 at 0": [O, O], "2-2-2, A = 1, B = 0": [I, O], "2-2-2, A = P, B = Q": [P, Q], "2-2-2, A = 1, B = P": [I, P],
        "3-2-3 at 0": [0 * full, wide], "3-2-3, A of rank 2, B = 0": [full, wide],
        "2-2-2-2, 1, 1, 0": [I, I, O], "2-2-2-2, P, 1, 0": [P, I, O],
    }  # fmt: skip
    return {name: Network([W[0].shape[1], *map(len, W)], rank_array(W), W) for name, W in points.items()}


POINTS = _named()
"""Points of one set of true parameters whose local coefficients differ: P = diag(1, 0), Q = diag(0, 1)."""


def product_loss(params: Any, data: Any) -> Float[Array, " 1"]:
    """|W_L ... W_1 - W*|^2/2: the population loss E|f(x) - W* x|^2/2 for inputs with E x x' = 1."""
    P = reduce(lambda P, W: W @ P, [params[f"W{l}"] for l in range(1, len(params) + 1)])
    return jnp.sum((P - data[0]) ** 2)[None] / 2


def padded(networks: Sequence[Network], width: int) -> dict[str, Any]:
    """Networks of one depth as a grid: layers, masks of the entries that exist, and products, all width x width."""
    fill = lambda W: np.pad(W, [(0, width - size) for size in W.shape])
    layers = range(1, len(networks[0].weights) + 1)
    stack = lambda one: {f"W{l}": np.stack([fill(one(net.weights[l - 1])) for net in networks]) for l in layers}
    target = np.stack([fill(net.product) for net in networks])
    return {
        "params": stack(lambda W: W.astype(np.float32)),
        "mask": stack(lambda W: np.ones(W.shape, bool)),
        "target": target.astype(np.float32),
    }


def around(weights: Weights) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each layer the product of the layers after it and of those before it: dP = after dW before."""
    sizes = [weights[0].shape[1], *map(len, weights)]
    before, after = [np.eye(sizes[0])], [np.eye(sizes[-1])]
    for W, V in zip(weights[:-1], weights[:0:-1], strict=True):
        before.append(W @ before[-1])
        after.append(after[-1] @ V)
    return list(zip(after[::-1], before, strict=True))


def curvatures(net: Network) -> Float[np.ndarray, " entries"]:
    """Nonzero spectrum (and some zeros) of the Hessian of `product_loss` at the truth: J'J has that of J J'.

    J J' = sum_l (after after') x (before' before), one row for each entry of the product.
    """
    gram = sum(np.kron(B @ B.T, A.T @ A) for B, A in around(net.weights))
    return np.clip(np.linalg.eigvalsh(gram), 0, None)


def stiffness(net: Network, gamma: float, seed: int) -> float:
    """A bound sum_l |after|^2 |before|^2 of the curvature where chains go: w* + N(0, 1/gamma), all that gamma allows."""
    rng = np.random.default_rng(seed)
    moved = [W + rng.normal(size=W.shape) / np.sqrt(gamma) for W in net.weights]
    return float(sum(np.linalg.norm(B, 2) ** 2 * np.linalg.norm(A, 2) ** 2 for B, A in around(moved)))


class Small(NamedTuple):
    """Small models that share one loss, at the true parameter 0. data: with a leading axis of models; exact: what a
    perfect sampler returns at this nbeta and gamma; limit: lambda; step_size: of Langevin, for where its chains go.
    """

    names: list[str]
    data: dict[str, np.ndarray]
    exact: list[float]
    limit: list[float]
    step_size: list[float]


SIZE, NBETA, GAMMA = 12, 1e3, 1.0
INPUTS = np.linspace(-2, 2, 20)
KINDS = ("polynomial", "reduced rank", "tanh")


def small_loss(w: Float[Array, " 12"], data: Any) -> Float[Array, " 1"]:
    """One of three, on the first of twelve parameters: the others are flat directions.

    sum_i h_i w_i^2/2 + s prod_i w_i^{2 k_i};  |B A|^2/2 of 3-2-3;  E_x (b_1 tanh(a_1 x) + live b_2 tanh(a_2 x))^2/2.
    """
    kind, h, k, s, live = (data[name][0] for name in ("kind", "h", "k", "s", "live"))
    factors = jnp.where(k == 0, 1.0, jnp.where(k == 1, w**2, w**4))
    polynomial = jnp.sum(h * w**2) / 2 + s * jnp.prod(factors)
    product = w[:6].reshape(3, 2) @ w[6:].reshape(2, 3)
    x = jnp.asarray(INPUTS, jnp.float32)
    y = w[2] * jnp.tanh(w[0] * x) + live * w[3] * jnp.tanh(w[1] * x)
    return jnp.stack([polynomial, jnp.sum(product**2) / 2, jnp.mean(y**2) / 2])[kind][None]


def small() -> Small:
    """A regular model, monomials, reduced-rank regression and tanh networks, all at nbeta = 1000 and gamma = 1."""
    curvature, at = np.geomspace(0.03, 3, 10), dict(nbeta=NBETA, gamma=GAMMA)
    monomial = lambda *k: (f"monomial {k}", 0, 0.0, k, 0.0, normal_crossing_finite(k, **at), normal_crossing(k)[0])
    rows = [
        ("regular, d = 10", 0, curvature, (), 0.0, regular_finite(curvature, **at), regular(10)[0]),
        monomial(1, 1), monomial(1, 2), monomial(1, 1, 1),
        ("reduced rank 3-2-3", 1, 0.0, (), 0.0, reduced_rank_finite(3, 2, 3, **at), reduced_rank(3, 2, 3, 0)[0]),
        *(("tanh, 1 unit" if n == 1 else "tanh, 2 units", 2, 0.0, (), n - 1.0, tanh_finite(n, **at), tanh_network(n)[0]) for n in (1, 2)),
    ]  # fmt: skip
    names, kind, h, k, live, exact, limit = zip(*rows, strict=True)
    fill = lambda row: np.pad(np.atleast_1d(np.asarray(row, np.float32)), (0, SIZE - np.size(np.atleast_1d(row))))
    data = {
        "kind": np.array(kind)[:, None],
        "h": np.stack([fill(row) for row in h])[:, None],
        "k": np.stack([fill(row) for row in k])[:, None],
        "s": np.array([[float(len(row) > 0)] for row in k], np.float32),
        "live": np.array(live, np.float32)[:, None],
    }
    return Small(list(names), data, list(exact), list(limit), [1e-4, 1e-4, 2e-5, 5e-5, 1e-4, 1e-4, 1e-4])


def tanh_finite(hidden: int, *, nbeta: float, gamma: float) -> float:
    """nbeta E[K] of `hidden` <= 2 tanh units at 0, by quadrature over a: b is Gaussian given a, as in reduced rank.

    With G(a) = E tanh(a x) tanh(a x)' the weight of a is det(gamma + nbeta G)^{-1/2} exp(-gamma |a|^2/2), and the
    energy given a is tr(nbeta G (gamma + nbeta G)^{-1})/2.
    """
    half = np.geomspace(1e-5, 6, 150) / np.sqrt(gamma)
    axis = np.concatenate([-half[::-1], half])
    a = np.stack(np.meshgrid(*[axis] * hidden, indexing="ij"), axis=-1).reshape(-1, hidden)
    phi = np.tanh(a[:, :, None] * INPUTS)
    G = np.einsum("phx,pkx->phk", phi, phi) / len(INPUTS)
    A = gamma * np.eye(hidden) + nbeta * G
    log_weight = -np.linalg.slogdet(A)[1] / 2 - gamma * (a**2).sum(1) / 2
    log_weight += np.log(np.stack(np.meshgrid(*[np.gradient(axis)] * hidden, indexing="ij")).reshape(hidden, -1)).sum(0)
    weight = np.exp(log_weight - log_weight.max())
    energy = (hidden - gamma * np.trace(np.linalg.inv(A), axis1=1, axis2=2)) / 2
    return float(np.sum(weight * energy) / np.sum(weight))


def counted_nuts(step_size: Array, max_doublings: int) -> Sampler:
    """`nuts` on a flat vector of parameters, that reports for the acceptance the gradients of each step."""
    kernel, init = blackjax.nuts.build_kernel(), nuts(step_size, max_doublings=max_doublings).init

    def step(key: Key[Array, ""], state: Any, potential: Potential) -> tuple[Any, Info]:
        density = lambda w: -potential.value(jax.random.key(0), w)[0]
        bits = jax.random.bits(key, jax.random.PRNGKey(0).shape)
        moved, told = kernel(bits, state.kernel, density, state.h, state.inverse_mass, max_num_doublings=max_doublings)
        gradients = jnp.asarray(told.num_integration_steps, jnp.float32)
        return state._replace(kernel=moved, params=moved.position), Info(state.loss, gradients)

    return Sampler(init, step)


class Rescaled(NamedTuple):
    """A two-layer ReLU network and its copies W_1 c, W_2/c, which compute the same; lambda = (parameters - units)/2."""

    loss: Callable[[Any, Batch], Array]
    data: Batch
    params: dict[str, Float[np.ndarray, "_ _ _"]]
    limit: float


def rescaled(
    factors: Float[np.ndarray, " c"], widths: tuple[int, int, int] = (5, 8, 5), examples: int = 500
) -> Rescaled:
    """The network on data of its own making, without noise: w* is a minimum of loss 0 at every c."""
    model = MLP(widths, bias=False)
    key_teacher, key_data = jax.random.split(jax.random.key(0))
    teacher = model.init(key_teacher, jnp.zeros(widths[0]))["params"]
    task = regression(lambda x: jnp.asarray(model.apply({"params": teacher}, x)), gaussian_inputs(widths[0]))
    c = np.asarray(factors, np.float32)[:, None, None]
    params = {"W1": np.asarray(teacher["W1"])[None] * c, "W2": np.asarray(teacher["W2"])[None] / c}
    size = widths[1] * (widths[0] + widths[2])
    return Rescaled(objective(model, task), task.sample(key_data, examples), params, (size - widths[1]) / 2)
