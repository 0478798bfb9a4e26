"""A two-layer ReLU network and its copies W_1 c, W_2/c, which compute the same: does lambda-hat know?"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array

import slt
import sweeps
import toymodels as tm

WIDTHS = 5, 8, 5
LIMIT = (WIDTHS[1] * (WIDTHS[0] + WIDTHS[2]) - WIDTHS[1]) / 2  # lambda = (parameters - units)/2
FACTORS = 10.0 ** np.arange(-4, 5)
NBETA, GAMMA, EXAMPLES = 1e5, 100.0, 500


def rescaling(draws: int) -> xr.Dataset:
    """lambda-hat of the copies in the weights, and in weights divided by the root mean square of their layer.

    The data are of the network's own making, without noise: w* is a minimum of loss 0 at every c. U is nbeta L +
    (gamma/2)|w - w*|^2 in one case, and in the other |.|^2 is of the relative weights, in which the copies are one. The
    step size follows the curvature of each, gamma is the same at c = 1.
    """
    model = tm.MLP(WIDTHS, bias=False)
    key_teacher, key_data = jax.random.split(jax.random.key(0))
    teacher = model.init(key_teacher, jnp.zeros(WIDTHS[0]))["params"]
    target = lambda x: jnp.asarray(model.apply({"params": teacher}, x))
    task = tm.regression(target, tm.gaussian_inputs(WIDTHS[0]))
    unscaled, data = tm.objective(model, task), task.sample(key_data, EXAMPLES)
    c = np.asarray(FACTORS, np.float32)[:, None, None]
    copies = {"W1": np.asarray(teacher["W1"])[None] * c, "W2": np.asarray(teacher["W2"])[None] / c}
    size = {name: np.sqrt(np.mean(W**2, axis=(1, 2))) for name, W in copies.items()}
    typical = np.mean([size[name][len(FACTORS) // 2] ** 2 for name in size])
    grid: dict[str, Any] = {
        "params": {name: np.concatenate([W, W]) for name, W in copies.items()},
        "unit": {name: np.concatenate([np.ones_like(s), s]) for name, s in size.items()},
        "gamma": np.repeat(np.array([GAMMA, GAMMA * typical], np.float32), len(FACTORS)),
    }

    def relative(at: dict[str, Any]) -> tuple[Callable, dict[str, Array]]:
        """The loss as a function of the weights in the point's units, and its weights in them."""
        loss = lambda w, batch: unscaled(jax.tree.map(jnp.multiply, w, at["unit"]), batch)
        return loss, jax.tree.map(jnp.divide, at["params"], at["unit"])

    def estimate(at: dict[str, Any]) -> dict[str, Array]:
        (loss, params), sampling = relative(at), slt.Sampling(4, 2 * draws, draws, 4)
        held, sampler = dict(nbeta=NBETA, gamma=at["gamma"]), slt.mala(at["step_size"])
        llc = slt.estimate_llc(jax.random.key(0), loss, params, data, sampler, **held, **sampling._asdict())
        return {name: getattr(llc, name) for name in ("value", "stderr", "ess", "acceptance")}

    H = jax.jit(lambda at: slt.hessian(*relative(at), data))
    rows = [jax.tree.map(lambda leaf, i=i: leaf[i], grid) for i in range(len(grid["gamma"]))]
    h = np.array([np.clip(np.linalg.eigvalsh(np.asarray(H(row), float)), 0, None) for row in rows])
    grid["step_size"] = np.asarray(0.3 / (NBETA * h.max(1) + grid["gamma"]), np.float32)
    found = sweeps.map(estimate, grid, name="rescaling", block=9)
    gaussian = [slt.regular_finite(s, nbeta=NBETA, gamma=g) for s, g in zip(h, grid["gamma"], strict=True)]
    values = {name: found[name].values for name in ("value", "stderr", "ess", "acceptance")} | {"gaussian": gaussian}
    over = "coordinates", "factor"
    variables: dict[str, Any] = {f"rescaled_{name}": (over, np.reshape(v, (2, -1))) for name, v in values.items()}
    coordinates = {"coordinates": ["weights", "relative"], "factor": FACTORS}
    return xr.Dataset(variables | {"rescaled_limit": LIMIT}, coordinates)
