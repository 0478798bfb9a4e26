"""Small sweeps that the tests of this folder share, some of them in processes of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import sweeps
from toymodels import training
from toymodels.models.autoencoder import Autoencoder
from toymodels.task import objective
from toymodels.tasks.superposition import sparse_features

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)  # the same programs come again in many tests

GRID = {"seed": np.arange(10), "scale": np.linspace(0.1, 1, 10, dtype=np.float32)}
RUNS = sweeps.product(density=[0.2, 0.6, 1.0], rate=[0.1, 0.01]) | {"seed": np.arange(6)}
MODEL, TIMES = Autoencoder(3, 2), np.array([0, 1, 2, 4, 8, 9, 12], np.int32)


def point(at):
    """Something with a matrix product, a random number and an integer in it."""
    x = jax.random.normal(jax.random.key(at["seed"]), (4, 4))
    return {"value": jnp.sum(jnp.tanh(at["scale"] * x @ x)), "row": x[0], "twice": 2 * at["seed"]}


def begin(at):
    params = MODEL.init(jax.random.key(at["seed"]), jnp.zeros(3))["params"]
    return training.start(params, optax.adam(at["rate"]))


def steps(at, state, times):
    """The autoencoder on features of the point's density, with the point's learning rate."""
    task, key = sparse_features(jnp.ones(3), at["density"]), jax.random.key(at["seed"])
    loss, tx = objective(MODEL, task), optax.adam(at["rate"])
    return training.advance(key, state, times, loss=loss, task=task, tx=tx, batch_size=4)


def trained(chunk: int = 3, **cut: int) -> sweeps.Runs:
    return sweeps.scan(steps, RUNS, begin, TIMES, chunk=chunk, **cut)


def walk(at, state, times):
    """A random walk from a key in the state, a loop of as many steps as there are between times."""

    def to(state, stop):
        def body(_, state):
            key, draw = jax.random.split(state["key"])
            return {**state, "key": key, "x": state["x"] + at["scale"] * jax.random.normal(draw, (3,))}

        state = jax.lax.fori_loop(state["step"], stop, body, state) | {"step": stop}
        return state, {"x": state["x"], "key": state["key"]}

    return jax.lax.scan(to, state, times)


def walk_begin(at):
    return {"step": jnp.int32(0), "key": jax.random.key(at["seed"]), "x": jnp.zeros(3)}
