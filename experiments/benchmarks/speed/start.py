"""A process from its start to its first training step, or to a whole learning-coefficient curve.

Run as a file by `experiments.speed.ours`, so that it imports what a user's script would and no more. Takes JSON: `begun`
(when it was started), `problem` (an .npz with x, W, b), `do` (step or curve), chains, draws and their settings.
"""

import json
import sys
import time
from typing import Any

import jax
import numpy as np

from toymodels.models.autoencoder import Autoencoder
from toymodels.prng import lowbias32
from toymodels.task import Batch, finite, objective
from toymodels.tasks.superposition import one_sparse

TASK = one_sparse(6)
LOSS = objective(Autoencoder(6, 2), TASK)


def step(request: dict[str, Any], data: Batch, points: dict[str, np.ndarray]) -> np.ndarray:
    """The weights after one step of SGD."""
    import optax

    from toymodels.training import train

    key, settings = jax.random.key(0, impl=lowbias32), dict(tx=optax.sgd(5e-3), batch_size=20)
    fit = lambda params: train(key, params, np.array([1]), loss=LOSS, task=finite(TASK, data), **settings)  # type: ignore
    return np.asarray(jax.jit(fit)(jax.tree.map(lambda leaf: leaf[0], points)).params["W"])


def curve(request: dict[str, Any], data: Batch, points: dict[str, np.ndarray]) -> np.ndarray:
    """Lambda-hat at every point."""
    from experiments.devices import spread
    from slt.estimate import LLC, estimate_llc
    from slt.samplers.langevin import sgld

    key, sampler = jax.random.key(0, impl=lowbias32), sgld(request["step_size"])
    settings = {name: request[name] for name in ("nbeta", "gamma", "chains", "draws", "batch_size")}

    def point(params: dict[str, Any]) -> LLC:
        return estimate_llc(key, LOSS, params, data, sampler, warmup=0, **settings)

    return spread(point, points, block=request["block"]).apply(points).value


if __name__ == "__main__":
    request = json.loads(sys.argv[1])
    problem = np.load(request["problem"])
    found = {"step": step, "curve": curve}[request["do"]](
        request,
        Batch(jax.numpy.asarray(problem["x"]), jax.numpy.asarray(problem["x"])),
        {"W": problem["W"], "b": problem["b"]},
    )
    assert np.all(np.isfinite(found))
    print(json.dumps({"seconds": time.time() - request["begun"]}))
