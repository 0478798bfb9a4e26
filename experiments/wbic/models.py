"""Two models whose evidence, posterior means and predictive distribution are exact: one regular, one singular.

Both have y = f(x) + N(0, 1), x ~ N(0, 1) and the prior N(0, 1) on every parameter: f(x) = w x with three weights, or
a b x with the truth 0, where lambda = 1/2, m = 2 and the zero set of the loss is a cross. Losses are given in excess
of the truth's: over a data set n(L - S_n), over new examples G - S, with S the entropy and S_n its empirical value.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Key, Scalar
from scipy.special import k0

GAMMA = 1.0  # of the prior
REGULAR, SINGULAR = 0, 1
MODELS = {"regular": (3, 1.5, 1), "singular": (2, 0.5, 2)}  # parameters, lambda, multiplicity
TRUTH = np.array([1.0, -0.5, 0.0], np.float32)  # of the regular model
NODES = 16  # of Gauss-Hermite quadrature, each dimension
Data = dict[str, Array]


class Exact(NamedTuple):
    """Without sampling. free_energy: F - n S_n.  wbic: n(E[L] - S_n) at n/log n.  fitted: n(L - S_n) at the maximum
    of the likelihood.  bayes: Bayes generalisation loss less S, at nbeta = n.
    """

    free_energy: Scalar
    wbic: Scalar
    fitted: Scalar
    bayes: Scalar


def sample(key: Key[Array, ""], model: Array, n: Array, most: int) -> Data:
    """n examples of the truth among `most` rows: the others are zero and count for nothing in any sum."""
    key_x, key_y = jax.random.split(key)
    real = jnp.arange(most) < n
    x = jax.random.normal(key_x, (most, len(TRUTH))) * real[:, None]
    return {"x": x, "y": (predict(model, truth(model), x) + jax.random.normal(key_y, (most,))) * real, "real": real}


def truth(model: Array) -> Float[Array, "3"]:
    """The weights that the examples are drawn with."""
    return jnp.where(model == SINGULAR, 0.0, jnp.asarray(TRUTH))


def predict(model: Array, w: Array, x: Array) -> Float[Array, " n"]:
    """f(x) = w x, or the singular model's a b x, in which the third weight is idle and keeps its prior."""
    return jnp.where(model == SINGULAR, w[0] * w[1] * x[:, 0], x @ w)


def loss(model: Array, w: Array, data: Data) -> Float[Array, " n"]:
    """-log p(y | x, w) of each example; 0 of the rows that are none."""
    return -norm.logpdf(data["y"], predict(model, w, data["x"])) * data["real"]


def exact(model: Array, data: Data, n: Array) -> Exact:
    """What needs no sampling, of a data set of the model."""
    either = _exact_regular(data, n), _exact_singular(data, n)
    return jax.tree.map(lambda a, b: jnp.where(model == SINGULAR, b, a), *either)


def _exact_regular(data: Data, n: Array) -> Exact:
    """Conjugate linear regression about the truth: w - w0 has the prior mean -w0."""
    x, noise = data["x"], data["y"] - data["x"] @ TRUTH
    d, prior = x.shape[1], -jnp.asarray(TRUTH)
    A, g, identity = x.T @ x, x.T @ noise, jnp.eye(x.shape[1])

    def at(beta: Any) -> tuple[Array, Array]:
        """Mean of w - w0 and covariance of the posterior."""
        covariance = jnp.linalg.inv(beta * A + GAMMA * identity)
        return covariance @ (beta * g + GAMMA * prior), covariance

    rise = lambda u, S: (u @ A @ u + jnp.trace(A @ S)) / 2 - g @ u  # n(L - S_n), its mean
    (mean, S), least, nothing = at(1.0), jnp.linalg.solve(A, g), jnp.zeros((d, d))
    log_ratio = (jnp.linalg.slogdet(S)[1] + d * np.log(GAMMA)) / 2  # of the posterior's volume to the prior's
    free_energy = rise(mean, nothing) + GAMMA * jnp.sum((mean - prior) ** 2) / 2 - log_ratio
    nodes, weights = _gauss_hermite(d, 8)
    v, apart = jnp.einsum("ki,ij,kj->k", nodes, S, nodes), nodes @ mean
    bayes = weights @ (jnp.log1p(v) + (1 + apart**2) / (1 + v) - 1) / 2
    return Exact(free_energy, rise(*at(1 / jnp.log(n))), rise(least, nothing), bayes)


def _exact_singular(data: Data, n: Array) -> Exact:
    """Sums over c = a b, whose prior density is K_0(|c|)/pi; n(L - S_n) is a quadratic in c."""
    x, y = data["x"][:, 0], data["y"]
    xx, xy = x @ x, x @ y
    c, log_prior = _product_of_normals()
    rise = xx * c**2 / 2 - xy * c
    at = lambda beta: jax.nn.softmax(log_prior - beta * rise)
    log_posterior = jax.nn.log_softmax(log_prior - rise)
    nodes, weights = _gauss_hermite(2, NODES)
    ratio = c[None] * (nodes[:, :1] * nodes[:, 1:]) - c[None] ** 2 * nodes[:, :1] ** 2 / 2  # log p(y|x,c)/p(y|x,0)
    return Exact(
        free_energy=-logsumexp(log_prior - rise),
        wbic=at(1 / jnp.log(n)) @ rise,
        fitted=-(xy**2) / xx / 2,
        bayes=-weights @ logsumexp(log_posterior[None] + ratio, axis=1),
    )


def _product_of_normals(size: int = 240) -> tuple[Array, Array]:
    """Values c of either sign, evenly spaced in log |c|, and the log of the prior's mass at each: sum 1."""
    t = np.linspace(-20, 3.2, size)
    log_mass = np.tile(t + np.log(np.maximum(k0(np.exp(t)), 1e-30)), 2)
    c = np.concatenate([np.exp(t), -np.exp(t)])
    return jnp.asarray(c, jnp.float32), jnp.asarray(log_mass - np.log(np.exp(log_mass).sum()), jnp.float32)


def _gauss_hermite(dimensions: int, nodes: int) -> tuple[Array, Array]:
    """Points and weights of E[f(z)], z standard normal."""
    z, weight = np.polynomial.hermite_e.hermegauss(nodes)
    points = np.stack(np.meshgrid(*[z] * dimensions, indexing="ij"), axis=-1).reshape(-1, dimensions)
    product = np.prod(np.stack(np.meshgrid(*[weight / weight.sum()] * dimensions, indexing="ij"), -1), -1).ravel()
    return jnp.asarray(points, jnp.float32), jnp.asarray(product, jnp.float32)
