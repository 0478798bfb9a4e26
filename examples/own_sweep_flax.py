"""The sweep of own_sweep.py with a Flax module for a model."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

import slt
import sweeps
import toymodels as tm


class Student(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.tanh(nn.Dense(3)(x)))[0]


def sample(key, n):
    x = jax.random.normal(key, (n, 2))
    return tm.Batch(x, jnp.tanh(2 * x[:, 0]) + jnp.tanh(x[:, 1]))


task, model = tm.Task(sample, loss=lambda prediction, y: (prediction - y) ** 2 / 2), Student()
loss, data, tx = tm.objective(model, task), sample(tm.key(0, "data"), 512), optax.sgd(0.2)


def begin(at):
    return tm.start(model.init(tm.key(at["seed"], "weights"), data.x[0])["params"], tx)


def fit(at, state, steps):
    return tm.advance(tm.key(at["seed"], "training"), state, steps, loss=loss, task=task, tx=tx, batch_size=64)


def coefficient(at, checkpoint):
    chains = dict(nbeta=slt.default_nbeta(512), gamma=10.0, chains=4, warmup=100, draws=100)
    return slt.estimate_llc(tm.key(at["seed"], "chains"), loss, checkpoint.params, data, slt.sgld(1e-3), **chains)


with sweeps.run("runs/flax"):
    runs = sweeps.scan(fit, sweeps.product(seed=range(4)), begin, tm.log_steps(2000, 8))
    curve = sweeps.map(coefficient, runs)
slt.plots.curve(curve).savefig("runs/flax/curve.png")
