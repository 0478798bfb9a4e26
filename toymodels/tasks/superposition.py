"""Sparse features: the tasks of the toy models of superposition, and the exact potential of the 1-sparse one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Key, Scalar

from toymodels.task import Batch, Params, Task, sampling


def sparse_features(importance: ArrayLike, density: ArrayLike) -> Task:
    """Each of the n = len(importance) features is 0 with probability 1 - density, else uniform on [0, 1].

    L = sum_i I_i (x_i - x'_i)^2; Elhage et al. 2022, "Demonstrating superposition". `density` is a scalar or (n,).
    Both may be traced.
    """
    importance = jnp.asarray(importance)
    if importance.ndim != 1 or importance.size == 0:
        raise ValueError(f"got importance of shape {importance.shape}: write one number a feature, jnp.ones(features)")
    if not isinstance(density, Tracer) and not np.all((np.asarray(density) > 0) & (np.asarray(density) <= 1)):
        raise ValueError(f"got density={density}: write one in (0, 1]; for sparsity S write density=1 - S")

    p = jnp.broadcast_to(density, importance.shape)[:, None]

    @sampling
    def sample(key: Key[Array, ""], n: int) -> Batch:
        # One uniform is enough: given u < p, u/p is uniform on [0, 1]. Examples come last, as `objective` reads them.
        u = jax.random.uniform(key, (importance.size, n))
        x = jnp.where(u < p, u * (1 / p), 0).T
        return Batch(x, x)

    return Task(sample, lambda prediction, y: jnp.sum(importance * (prediction - y) ** 2))


def quadrature(
    features: int, density: Float[Array, ""] | float, order: int
) -> tuple[Float[Array, "nodes features"], Float[Array, " nodes"]]:
    """Nodes x and weights of E f(x) for `sparse_features` of one density: a sum over (order + 1)^features nodes.

    Gauss-Legendre on [0, 1] in each active feature, off by O(order^-2) at a kink. Weights sum to one.
    """
    node, weight = np.polynomial.legendre.leggauss(order)
    node, weight = jnp.asarray(np.append(0, (node + 1) / 2)), jnp.asarray(np.append(0, weight / 2))
    one = jnp.where(jnp.arange(order + 1) == 0, 1 - density, density * weight)
    x = jnp.stack(jnp.meshgrid(*[node] * features, indexing="ij"), axis=-1).reshape(-1, features)
    return x, functools.reduce(lambda w, one: jnp.outer(w, one).ravel(), [one] * features)


def one_sparse(features: int) -> Task:
    """x = mu e_j with j uniform on the features and mu uniform on [0, 1]; L = |x - x'|^2.

    The high-sparsity limit of `sparse_features`; Chen et al. 2023 (arXiv 2310.06301). Its `population`
    reads the parameters {"W": (2, features), "b": (features,)} of the tied ReLU autoencoder.
    """
    if features < 1:
        raise ValueError(f"got features={features}: at least one is needed")

    @sampling
    def sample(key: Key[Array, ""], n: int) -> Batch:
        key_j, key_mu = jax.random.split(key)
        j = jax.random.randint(key_j, (n,), 0, features)
        x = jax.nn.one_hot(j, features) * jax.random.uniform(key_mu, (n, 1))
        return Batch(x, x)

    def population(params: Params) -> Scalar:
        return potential(params["W"], params["b"])

    return Task(sample, lambda prediction, y: jnp.sum((prediction - y) ** 2), population)


def potential(W: Float[Array, "hidden features"], b: Float[Array, " features"]) -> Scalar:
    """The exact population loss E|x - ReLU(W^T W x + b)|^2 of `one_sparse`, in closed form.

    (1/c) sum_i [ own(a_ii, b_i) + sum_{j != i} cross(a_ij, b_i) ] with a = W^T W and c features, where own and cross
    are the integrals over mu in [0, 1] of (mu - ReLU(a mu + b))^2 and ReLU(a mu + b)^2. Chen et al. 2023.
    """
    a = W.T @ W
    cross = _cross(a, b[:, None])
    return (jnp.sum(cross) - jnp.trace(cross) + jnp.sum(_own(jnp.diagonal(a), b))) / b.size


def _active(a: Array, b: Array) -> tuple[Array, Array]:
    """The interval of mu in [0, 1] on which a mu + b > 0."""
    root = jnp.clip(-b / jnp.where(a == 0, 1, a), 0, 1)
    lower = jnp.where(a > 0, root, jnp.where(b > 0, 0.0, 1.0))
    upper = jnp.where(a < 0, jnp.where(b > 0, root, lower), 1.0)
    return lower, upper


def _cross(a: Array, b: Array) -> Array:
    """int_0^1 ReLU(a mu + b)^2 dmu: the interference of a feature with an output that is not its own."""
    lo, hi = _active(a, b)
    return a**2 * (hi**3 - lo**3) / 3 + a * b * (hi**2 - lo**2) + b**2 * (hi - lo)


def _own(a: Array, b: Array) -> Array:
    """int_0^1 (mu - ReLU(a mu + b))^2 dmu: how well a feature is read back, a = |W_i|^2."""
    lo, hi = _active(a, b)
    return _cross(a, b) + 1 / 3 - 2 * (a * (hi**3 - lo**3) / 3 + b * (hi**2 - lo**2) / 2)


def polygon(k: int, features: int, positive: int = 0) -> tuple[Float[Array, "2 features"], Float[Array, " features"]]:
    """The k-gon critical point of `potential`: features 0..k-1 on a regular polygon, the others dead. Returns (W, b).

    `positive` of the dead features have the bias 1/(2c), the others a clearly negative one. Chen et al. 2023.
    """
    if not 2 <= k <= 8 or k > features:
        raise ValueError(f"got k={k}, features={features}: k-gons are known for k = 2..8, with k <= features")
    if not 0 <= positive <= features - k:
        raise ValueError(f"got positive={positive}: a {k}-gon of {features} features leaves {features - k} dead ones")
    radius, bias = (1.0, 0.0) if k <= 4 else _vertex(k)
    dead = np.where(np.arange(features - k) < positive, 1 / (2 * features), -1.0)
    W = np.concatenate([radius * _directions(k), np.zeros((2, features - k))], axis=1)
    return jnp.asarray(W, jnp.float32), jnp.asarray(np.concatenate([np.full(k, bias), dead]), jnp.float32)


def _directions(k: int) -> np.ndarray:
    """The vertices of the regular k-gon on the unit circle, shape (2, k)."""
    angle = 2 * np.pi * np.arange(k) / k
    return np.stack([np.cos(angle), np.sin(angle)])


@functools.cache
def _vertex(k: int) -> tuple[float, float]:
    """Radius and bias that minimise `potential` over regular k-gons of k features, in double precision."""
    import scipy.optimize  # here: it takes a quarter of a second

    with jax.enable_x64(True):
        height = jax.jit(jax.value_and_grad(lambda z: potential(z[0] * _directions(k), jnp.full(k, z[1]))))
        fit = scipy.optimize.minimize(height, np.array([1.2, -0.4]), jac=True, method="BFGS", options={"gtol": 1e-12})
    return float(fit.x[0]), float(fit.x[1])


def levels(features: int) -> dict[str, float]:
    """The theory's plateaus of the loss: name (see `kgon`) -> potential of the k-gons, k >= 4, in two dimensions.

    Chen et al. 2023.
    """
    loss = jax.jit(potential)
    names = {}
    for k in range(4, min(features, 8) + 1):
        for plus in range(features - k + 1):
            for minus in range(4 + 1 if k == 4 else 1):
                level = float(loss(*polygon(k, features, plus))) + minus / (3 * features)
                names[f"{k}" + "+" * plus + "-" * minus] = level
    return names
