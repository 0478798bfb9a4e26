"""The model whose curves are estimated, whose stages are known; and its loss to second order."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, Key

from toymodels.models.mlp import MLP
from toymodels.task import Batch, Loss, Params, Task, objective
from toymodels.tasks.linear_regression import regression
from toymodels.training import TrainState, Trajectory, advance, start, union


class Case(NamedTuple):
    """A model on its data, how it is trained, and the two temperatures at which its chains run.

    chance: the loss of the best constant prediction.  nbeta: loose, localised.  roam: how many times the curvature of
    the checkpoints is the one where loose chains go.  target: the singular values to be learned.
    """

    name: str
    loss: Loss
    data: Batch
    chance: float
    init: Callable[[Key[Array, ""]], Params]
    task: Task
    tx: optax.GradientTransformation
    train_batch: int
    checkpoints: Int[np.ndarray, " time"]
    nbeta: tuple[float, float]
    roam: float
    target: Float[np.ndarray, " size"]


SINGULAR_VALUES, SIZE = (4.0, 2.0, 1.0), 6
WIDTHS = (SIZE, len(SINGULAR_VALUES), len(SINGULAR_VALUES), SIZE)


def deep_linear(
    *, learning_rate: float, scale: float, steps: int, checkpoints: int, nbeta: tuple[float, float]
) -> Case:
    """y = W3 W2 W1 x learns y = diag(4, 2, 1, 0, 0, 0) x from N(0, scale^2), one singular value after another.

    Saxe et al. 2014 (arXiv 1312.6120). The inputs are whitened, x_j = sqrt(6) e_j, so L = |W3 W2 W1 - diag|^2/2 exactly.
    The plateaus are saddles: that of r learned values is the set of products of rank r, of lambda r (12 - r)/2, and
    has no second derivative along which the loss falls (three layers: it falls with the third).
    """
    model = MLP(WIDTHS, activation=None, bias=False)
    x = jnp.sqrt(jnp.float32(SIZE)) * jnp.eye(SIZE)
    S = jnp.zeros(SIZE).at[: len(SINGULAR_VALUES)].set(jnp.array(SINGULAR_VALUES))
    task = regression(lambda x: S * x, lambda key, n: x)  # every batch is all the data: gradient descent
    data = task.sample(jax.random.key(0), SIZE)

    def init(key: Key[Array, ""]) -> Params:
        return jax.tree.map(lambda W: scale * W, _normal(key, model.init(key, x[0])["params"]))

    return Case(
        "deep linear", objective(model, task), data, sum(s * s for s in SINGULAR_VALUES) / 2, init, task,
        optax.sgd(learning_rate), SIZE, schedule(steps, checkpoints), nbeta, 4.0, np.asarray(S),
    )  # fmt: skip


def schedule(steps: int, count: int) -> Int[np.ndarray, " time"]:
    """The start, and `count` - 1 checkpoints evenly spaced in log(step) over the last two decades."""
    return union(np.array([0]), np.round(np.geomspace(steps / 100, steps, count - 1)).astype(int))


def _normal(key: Key[Array, ""], like: Params) -> Params:
    return optax.tree.random_like(key, like, jax.random.normal)


def begin(case: Case, key: Callable[[Any, str], Key[Array, ""]]) -> Callable[[dict[str, Array]], TrainState]:
    """The state before the first step, for a point of the sweep over seeds."""
    return lambda point: start(case.init(key(point["seed"], "start")), case.tx)


def trainer(case: Case, key: Callable[[Any, str], Key[Array, ""]]) -> Callable[..., tuple[TrainState, Trajectory]]:
    """What `sweep.train` needs: one seed trained on through some checkpoints."""

    def onward(point: dict[str, Array], state: TrainState, stops: Array) -> tuple[TrainState, Trajectory]:
        own = key(point["seed"], "train")
        return advance(own, state, stops, loss=case.loss, task=case.task, tx=case.tx, batch_size=case.train_batch)

    return onward


class Local(NamedTuple):
    """The loss to second order: its value, and along the Hessian's eigenvectors its slope and curvature."""

    loss: Float[Array, ""]
    slope: Float[Array, " d"]
    curvature: Float[Array, " d"]


def local(case: Case, params: Params) -> Local:
    """L, grad L and the eigenvalues of its Hessian at `params`."""
    flat, unravel = ravel_pytree(params)
    L = lambda w: jnp.mean(case.loss(unravel(w), case.data))
    h, V = jnp.linalg.eigh(jax.hessian(L)(flat))
    return Local(L(flat), V.T @ jax.grad(L)(flat), h)


def quadratic(
    at: Local, *, nbeta: Float[np.ndarray, "*k"], gamma: Float[np.ndarray, "*k"], step_size: Float[np.ndarray, "*k"]
) -> tuple[np.ndarray, np.ndarray]:
    """What a chain of `sgld` returns if the loss is its second-order expansion: without and with its slope.

    1/2 sum_i nbeta h_i/A_i/(1 - eps A_i/4), A_i = nbeta h_i + gamma (`slt.theory.regular_finite`); the slope g moves
    the mean by -nbeta g_i/A_i, which adds -sum_i nbeta^2 g_i^2/A_i (1 - nbeta h_i/(2 A_i)). NaN where some A_i is not
    positive: gamma does not hold the chain.
    """
    g, h = (np.asarray(leaf, float)[..., None, :] for leaf in (at.slope, at.curvature))
    nbeta, gamma, step_size = (np.asarray(number)[..., None] for number in (nbeta, gamma, step_size))
    A = nbeta * h + gamma
    held = np.where((A > 0).all(-1), 0.0, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sum(nbeta * h / A / (1 - step_size * A / 4), axis=-1) / 2 + held
        return spread, spread - np.sum(nbeta**2 * g**2 / A * (1 - nbeta * h / (2 * A)), axis=-1)
