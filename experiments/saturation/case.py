"""The model whose curves are estimated, whose stages are known."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Scalar

import toymodels as tm

START, TRAIN, CHAINS = range(3)  # purposes of a seed's keys
TARGET = (4.0, 2.0, 1.0, 0.0, 0.0, 0.0)  # singular values to be learned
RANK, SIZE = 3, len(TARGET)
WIDTHS = SIZE, RANK, RANK, SIZE
LEARNING_RATE, SCALE = 0.03, 0.01  # of gradient descent; standard deviation of the weights at the start
CHANCE = sum(s * s for s in TARGET) / 2  # the loss of the best constant prediction


class Case(NamedTuple):
    """y = W3 W2 W1 x learns y = diag(4, 2, 1, 0, 0, 0) x from N(0, SCALE^2), one singular value after another.

    Saxe et al. 2014 (arXiv 1312.6120). The inputs are whitened, x_j = sqrt(6) e_j, so L = |W3 W2 W1 - diag|^2/2.
    The plateaus are saddles: that of r learned values is the set of products of rank r, of lambda r (12 - r)/2, and
    has no second derivative along which the loss falls (three layers: it falls with the third).
    """

    model: tm.MLP
    task: tm.Task
    data: tm.Batch
    loss: tm.Loss
    tx: optax.GradientTransformation

    @classmethod
    def of(cls) -> "Case":
        """Gradient descent: every batch is all the data."""
        model = tm.MLP(WIDTHS, activation=None, bias=False)
        x, S = jnp.sqrt(jnp.float32(SIZE)) * jnp.eye(SIZE), jnp.array(TARGET)
        task = tm.regression(lambda x: S * x, lambda key, n: x)
        data = task.sample(jax.random.key(0), SIZE)
        return cls(model, task, data, tm.objective(model, task), optax.sgd(LEARNING_RATE))

    def begin(self, at: Mapping[str, Any]) -> tm.TrainState:
        """All weights from N(0, SCALE^2)."""
        key = tm.key(at["seed"], START)
        like = self.model.init(key, self.data.x[0])["params"]
        normal = optax.tree.random_like(key, like, jax.random.normal)
        return tm.start(jax.tree.map(lambda W: SCALE * W, normal), self.tx)

    def onward(self, at: Mapping[str, Any], state: tm.TrainState, steps: Any) -> tuple[tm.TrainState, tm.Trajectory]:
        """Train one seed on, through some checkpoints."""
        key = tm.key(at["seed"], TRAIN)
        return tm.advance(key, state, steps, loss=self.loss, task=self.task, tx=self.tx, batch_size=SIZE)

    def local(self, params: tm.Params) -> tuple[Scalar, Float[Array, " d"]]:
        """L and the eigenvalues of its Hessian at `params`."""
        flat, unravel = ravel_pytree(params)
        L = lambda w: jnp.mean(self.loss(unravel(w), self.data))
        return L(flat), jnp.linalg.eigh(jax.hessian(L)(flat))[0]
