"""The phase of a sample of the posterior: the polygon at the bottom of the basin in which it lies."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

import toymodels as tm

WIDTH = 1e-3  # how near a level of the theory a descended sample must be
Params = dict[str, Array]


def descend(params: Params, steps: int) -> Params:
    """To the bottom of the basin in which a model lies: clipped gradient descent on the population loss."""
    tx = optax.chain(optax.clip_by_global_norm(0.3), optax.sgd(0.3, momentum=0.9, nesterov=True))
    task, loss = tm.one_sparse(params["b"].size), lambda w, _: tm.potential(w["W"], w["b"])
    state = tm.start(params, tx)
    return tm.segment(jax.random.key(0), state, steps, loss=loss, task=task, tx=tx, batch_size=1).params


def phase(params: Params, phases: dict[str, tuple[int, int]], levels: dict[str, float]) -> Int[Array, ""]:
    """The index in `phases` (name -> vertices, dead features with positive bias) of a descended model.

    len(phases): fewer than four vertices. len(phases) + 1: nothing with a name. Two readings must agree, the weights
    and the loss. A vertex whose own output never fires (the `-` of Chen et al. 2023) is none.
    """
    W, b = params["W"], params["b"]
    norm2 = jnp.sum(W**2, axis=0)
    vertex = (norm2 > tm.LIVE**2) & (norm2 + b > 0)
    k, plus = jnp.sum(vertex), jnp.sum(~vertex & (b > 0))
    names = np.array(list(phases.values()))
    close = jnp.abs(tm.potential(W, b) - np.array([levels[name] for name in phases], np.float32)) < WIDTH
    found = (names[:, 0] == k) & (names[:, 1] == plus) & close
    other = jnp.where(k < 4, len(phases), len(phases) + 1)
    return jnp.where(jnp.any(found), jnp.argmax(found), other)
