"""A process from its start to its first training step and to a whole curve; run by `experiments.speed.ours`."""

import json
import sys
import time
from typing import Any

import jax
import numpy as np
import optax

from experiments import devices
from experiments.speed.ours import BATCH, GAMMA, NBETA, STEP_SIZE, problem
from slt.llc import LLC, estimate_llc
from slt.samplers.sgld import sgld
from toymodels.models.autoencoder import Autoencoder
from toymodels.task import finite, objective
from toymodels.tasks.superposition import one_sparse
from toymodels.train import train


def main(begun: float, checkpoints: int, chains: int, draws: int) -> None:
    """Print the seconds since `begun` as JSON."""
    data, W, b = problem()
    task, loss = one_sparse(6), objective(Autoencoder(6, 2), one_sparse(6))
    params, key = {"W": W, "b": b}, jax.random.key(0)
    settings: Any = dict(loss=loss, task=finite(task, data), tx=optax.sgd(5e-3), batch_size=20)
    fit = jax.jit(lambda params, stops: train(key, params, stops, **settings))
    stops = np.arange(1, checkpoints + 1)
    jax.block_until_ready(fit(params, np.minimum(stops, 1)))
    first_step = time.time() - begun
    points = fit(params, 1000 * stops).params

    def point(params: dict) -> LLC:
        chain: Any = dict(nbeta=NBETA, gamma=GAMMA, chains=chains, warmup=0, draws=draws, batch_size=BATCH)
        return estimate_llc(key, loss, params, data, sgld(STEP_SIZE), **chain)

    block = 8  # 64 chains a device: see `devices.block_size`, which would compile once more to find it
    llc = devices.spread(point, points, block=block).apply(jax.tree.map(np.asarray, points))
    assert np.all(np.isfinite(llc.value))
    print(json.dumps({"first_step": first_step, "curve": time.time() - begun}))


if __name__ == "__main__":
    main(float(sys.argv[1]), *map(int, sys.argv[2:]))
