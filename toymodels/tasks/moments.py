"""The empirical loss of the 1-sparse model on a grid of values of mu, exactly, at a cost that n does not enter."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Scalar

CELLS = 1024  # values of mu: the midpoints of a grid, on which the population loss is that of `potential` to 3e-7

Moments = Float[Array, "features edges 3"]


def _moments(counts: Float[Array, "features cells"]) -> Moments:
    """Sums of 1, mu, mu^2 over the data of each feature whose mu is below 0, 1/CELLS, ..., 1, divided by n.

    Data are x = mu_g e_j; `counts` is the share of them in each (feature j, cell g).
    """
    mu = (jnp.arange(CELLS) + 0.5) / CELLS
    below = jnp.cumsum(counts[..., None] * jnp.vander(mu, 3, increasing=True)[None], axis=1)
    return jnp.pad(below, ((0, 0), (1, 0), (0, 0)))


def population_moments(features: int) -> Moments:
    """Every cell alike: the data set whose empirical loss is the population loss."""
    return _moments(jnp.full((features, CELLS), 1 / (features * CELLS)))


def drawn_moments(key: Key[Array, ""], features: int, n: Scalar, most: int) -> Moments:
    """n <= most data, feature and cell uniform; a larger n with the same key adds data to them. n may be traced."""
    cell = jax.random.randint(key, (most,), 0, features * CELLS)
    counts = jnp.zeros(features * CELLS).at[cell].add(jnp.where(jnp.arange(most) < n, 1 / n, 0.0))
    return _moments(counts.reshape(features, CELLS))


def empirical_potential(m: Moments, W: Float[Array, "hidden features"], b: Float[Array, " features"]) -> Scalar:
    """L_n = 1/n sum |x - ReLU(W^T W x + b)|^2 on the data that `m` holds, exactly, at a cost that n does not enter.

    Each output is piecewise linear in mu with one kink, at -b_i/a_ij, so a sum over data is a difference of moments.
    """
    a, bias, feature = W.T @ W, b[:, None], jnp.arange(b.size)
    kink = jnp.where(a == 0, jnp.where(bias > 0, 1.0, 0.0), jnp.clip(-bias / jnp.where(a == 0, 1, a), 0, 1))
    cell = jnp.round(jax.lax.stop_gradient(kink) * CELLS).astype(int)
    below, total = m[feature[None, :], cell], m[:, -1]
    active = jnp.where((a > 0)[..., None], total[None] - below, below)  # (output, input, power of mu)
    output = jnp.sum(bias**2 * active[..., 0] + 2 * a * bias * active[..., 1] + a**2 * active[..., 2])
    own = active[feature, feature]
    return output + jnp.sum(total[:, 2] - 2 * (jnp.diagonal(a) * own[:, 2] + b * own[:, 1]))
