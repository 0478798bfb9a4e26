"""The model whose curves are estimated, whose stages are known; and its loss to second order."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

import toymodels as tm
from experiments.shared.coefficient_curves import Setting

START, TRAIN, CHAINS, CALIBRATE = range(4)  # purposes of a seed's keys
TARGET = (4.0, 2.0, 1.0, 0.0, 0.0, 0.0)  # singular values to be learned
RANK, SIZE = 3, len(TARGET)
WIDTHS = SIZE, RANK, RANK, SIZE
CHANCE = sum(s * s for s in TARGET) / 2  # the loss of the best constant prediction


class Local(NamedTuple):
    """The loss to second order: its value, and along the Hessian's eigenvectors its slope and curvature."""

    loss: Float[Array | np.ndarray, "*k"]
    slope: Float[Array | np.ndarray, "*k d"]
    curvature: Float[Array | np.ndarray, "*k d"]


class Case(NamedTuple):
    """y = W3 W2 W1 x learns y = diag(4, 2, 1, 0, 0, 0) x from N(0, scale^2), one singular value after another.

    Saxe et al. 2014 (arXiv 1312.6120). The inputs are whitened, x_j = sqrt(6) e_j, so L = |W3 W2 W1 - diag|^2/2.
    The plateaus are saddles: that of r learned values is the set of products of rank r, of lambda r (12 - r)/2, and
    has no second derivative along which the loss falls (three layers: it falls with the third).
    """

    model: tm.MLP
    task: tm.Task
    data: tm.Batch
    loss: tm.Loss
    tx: optax.GradientTransformation
    scale: float

    @classmethod
    def of(cls, learning_rate: float, scale: float) -> "Case":
        """Gradient descent: every batch is all the data."""
        model = tm.MLP(WIDTHS, activation=None, bias=False)
        x, S = jnp.sqrt(jnp.float32(SIZE)) * jnp.eye(SIZE), jnp.array(TARGET)
        task = tm.regression(lambda x: S * x, lambda key, n: x)
        data = task.sample(jax.random.key(0), SIZE)
        return cls(model, task, data, tm.objective(model, task), optax.sgd(learning_rate), scale)

    def begin(self, at: Mapping[str, Any]) -> tm.TrainState:
        """All weights from N(0, scale^2)."""
        key = tm.key(at["seed"], START)
        like = self.model.init(key, self.data.x[0])["params"]
        normal = optax.tree.random_like(key, like, jax.random.normal)
        return tm.start(jax.tree.map(lambda W: self.scale * W, normal), self.tx)

    def onward(self, at: Mapping[str, Any], state: tm.TrainState, steps: Any) -> tuple[tm.TrainState, tm.Trajectory]:
        """Train one seed on, through some checkpoints."""
        key = tm.key(at["seed"], TRAIN)
        return tm.advance(key, state, steps, loss=self.loss, task=self.task, tx=self.tx, batch_size=SIZE)

    def local(self, params: tm.Params) -> Local:
        """L, grad L and the eigenvalues of its Hessian at `params`."""
        flat, unravel = ravel_pytree(params)
        L = lambda w: jnp.mean(self.loss(unravel(w), self.data))
        h, V = jnp.linalg.eigh(jax.hessian(L)(flat))
        return Local(L(flat), V.T @ jax.grad(L)(flat), h)


def quadratic(at: Local, setting: Setting) -> tuple[Any, Any]:
    """What a chain of `sgld` returns if the loss is its second-order expansion: without and with its slope.

    1/2 sum_i nbeta h_i/A_i/(1 - eps A_i/4), A_i = nbeta h_i + gamma (`slt.regular_finite`); the slope g moves the mean
    by -nbeta g_i/A_i, which adds -sum_i nbeta^2 g_i^2/A_i (1 - nbeta h_i/(2 A_i)). NaN where some A_i is not positive:
    gamma does not hold the chain.
    """
    g, h, nbeta = np.asarray(at.slope, float), np.asarray(at.curvature, float), setting.nbeta
    A = nbeta * h + setting.gamma
    held = np.where((A > 0).all(-1), 0.0, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sum(nbeta * h / A / (1 - setting.step_size * A / 4), axis=-1) / 2 + held
        return spread, spread - np.sum(nbeta**2 * g**2 / A * (1 - nbeta * h / (2 * A)), axis=-1)
