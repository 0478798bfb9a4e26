"""A learning-coefficient curve from the start of its process: run as a file, it imports what a user's script would.

Takes JSON: `problem` (an .npz with x, and W and b of every point), chains, draws and their settings.
"""

import json
import sys
from typing import Any

import jax
import numpy as np

import sweeps
from slt.estimate import LLC, estimate_llc
from slt.samplers.langevin import sgld
from toymodels.models.autoencoder import Autoencoder
from toymodels.prng import lowbias32
from toymodels.task import Batch, objective
from toymodels.tasks.superposition import one_sparse

BLOCK = 8  # points on a device at a time: 64 chains


def curve(request: dict[str, Any]) -> np.ndarray:
    """Lambda-hat at every point."""
    problem = np.load(request["problem"])
    data = Batch(jax.numpy.asarray(problem["x"]), jax.numpy.asarray(problem["x"]))
    points = {"W": problem["W"], "b": problem["b"]}
    loss, key = objective(Autoencoder(6, 2), one_sparse(6)), jax.random.key(0, impl=lowbias32)
    settings = {name: request[name] for name in ("nbeta", "gamma", "chains", "draws")}

    def point(params: dict[str, Any]) -> LLC:
        sampler = sgld(request["step_size"])
        return estimate_llc(key, loss, params, data, sampler, warmup=0, batch_size=request["batch"], **settings)

    return sweeps.map(point, points, name="curve", block=BLOCK)["value"].values


if __name__ == "__main__":
    assert np.all(np.isfinite(curve(json.loads(sys.argv[1]))))
