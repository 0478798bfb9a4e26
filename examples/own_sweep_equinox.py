"""The sweep of own_sweep.py with an Equinox module for a model, split into its arrays and the rest."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import slt
import sweeps
import toymodels as tm


def arrays(key):
    return eqx.partition(eqx.nn.MLP(2, "scalar", 3, 1, jnp.tanh, key=key), eqx.is_inexact_array)


def student(params, x):
    return eqx.combine(params, arrays(jax.random.key(0))[1])(x)


def sample(key, n):
    x = jax.random.normal(key, (n, 2))
    return tm.Batch(x, jnp.tanh(2 * x[:, 0]) + jnp.tanh(x[:, 1]))


task = tm.Task(sample, loss=lambda prediction, y: (prediction - y) ** 2 / 2)
loss, data, tx = tm.objective(student, task), sample(tm.key(0, "data"), 512), optax.sgd(0.2)


def begin(at):
    return tm.start(arrays(tm.key(at["seed"], "weights"))[0], tx)


def fit(at, state, steps):
    return tm.advance(tm.key(at["seed"], "training"), state, steps, loss=loss, task=task, tx=tx, batch_size=64)


def coefficient(at, checkpoint):
    chains = dict(nbeta=slt.default_nbeta(512), gamma=10.0, chains=4, warmup=100, draws=100)
    return slt.estimate_llc(tm.key(at["seed"], "chains"), loss, checkpoint.params, data, slt.sgld(1e-3), **chains)


with sweeps.run("runs/equinox"):
    runs = sweeps.scan(fit, sweeps.product(seed=range(4)), begin, tm.log_steps(2000, 8))
    curve = sweeps.map(coefficient, runs)
slt.plots.curve(curve).savefig("runs/equinox/curve.png")
