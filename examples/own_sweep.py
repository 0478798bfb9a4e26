"""A sweep of one's own. Students of three units learn a sum of two tanh: when do their units come apart?

Trained over a grid with checkpoints, the learning coefficient at each, two figures; the same again goes on where it
was stopped. The model is a plain function; own_sweep_flax.py and own_sweep_equinox.py have the other two forms.
"""

import jax
import jax.numpy as jnp
import optax

import slt
import sweeps
import toymodels as tm


def student(params, x):
    return params["v"] @ jnp.tanh(params["W"] @ x + params["b"])


def sample(key, n):
    x = jax.random.normal(key, (n, 2))
    return tm.Batch(x, jnp.tanh(2 * x[:, 0]) + jnp.tanh(x[:, 1]))


task = tm.Task(sample, loss=lambda prediction, y: (prediction - y) ** 2 / 2)
loss, data = tm.objective(student, task), sample(tm.key(0, "data"), 512)
training = dict(loss=loss, task=task, tx=optax.sgd(0.2), batch_size=64)


def begin(at):
    W, v = jax.random.normal(tm.key(at["seed"], "W"), (3, 2)), jax.random.normal(tm.key(at["seed"], "v"), (3,))
    return tm.start({"W": at["scale"] * W, "b": jnp.zeros(3), "v": at["scale"] * v}, training["tx"])


def fit(at, state, steps):
    return tm.advance(tm.key(at["seed"], "training"), state, steps, **training)


def coefficient(at, checkpoint):
    return slt.estimate_llc(tm.key(at["seed"], "chains"), loss, checkpoint.params, data, sampler, **chains)


with sweeps.run("runs/student"):
    runs = sweeps.scan(fit, sweeps.product(scale=[0.1, 0.3, 1.0], seed=range(4)), begin, tm.log_steps(2000, 8))
    few, nbeta = runs.at(slice(None, None, 4), [-1]).outputs.params, slt.default_nbeta(512)
    sampler, chains = slt.calibrate(
        tm.key(0, "calibration"), loss, few, data, nbeta=nbeta, axes=2, relative_stderr=0.2
    )[:2]
    curve = sweeps.map(coefficient, runs)  # axes scale, seed, step
curve["findings"] = curve.value.dims, slt.findings(curve)

slt.plots.curve(curve.sel(scale=0.1)).savefig("runs/student/curve.png")
sweeps.plots.phase_diagram(curve.isel(step=-1), x="scale", y="seed", value="value").savefig("runs/student/plane.png")
