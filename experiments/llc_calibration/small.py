"""Small models: samplers on those whose estimate at finite nbeta is exact; and a ReLU network under W_1 c, W_2/c."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

import slt
import sweeps
import toymodels as tm

LEAPFROG, DOUBLINGS = 10, 6
SIZE, NBETA, GAMMA = 12, 1e3, 1.0
INPUTS = np.linspace(-2, 2, 20)
WIDTHS = 5, 8, 5
LIMIT = (WIDTHS[1] * (WIDTHS[0] + WIDTHS[2]) - WIDTHS[1]) / 2  # lambda = (parameters - units)/2
FACTORS = 10.0 ** np.arange(-4, 5)
RESCALED_NBETA, RESCALED_GAMMA, EXAMPLES = 1e5, 100.0, 500

SAMPLERS: dict[str, Callable[[Any], slt.Sampler]] = {
    "sgld": slt.sgld,
    "rmsprop_sgld": lambda step: slt.rmsprop_sgld(0.1 * step),  # its epsilon: where gradients vanish it is sgld(step)
    "adam_sgld": lambda step: slt.adam_sgld(0.1 * step),
    "sghmc": lambda step: slt.sghmc(step, friction=0.1),
    "sgnht": lambda step: slt.sgnht(step, diffusion=0.1),
    "mala": slt.mala,
    "hmc": lambda step: slt.hmc(step, leapfrog=LEAPFROG),
    "nuts": lambda step: slt.nuts(step, max_doublings=DOUBLINGS),
}


def models() -> dict[str, dict[str, Any]]:
    """A regular model, monomials, reduced-rank regression and tanh networks at the true parameter 0: numbers of `loss`.

    exact: what a perfect sampler returns at this nbeta and gamma.  step_size: of Langevin, for where its chains go.
    """
    curvature, at = np.geomspace(0.03, 3, 10), dict(nbeta=NBETA, gamma=GAMMA)
    rows: dict[str, dict[str, Any]] = {"regular, d = 10": dict(h=curvature, exact=slt.regular_finite(curvature, **at))}
    for k, step in (((1, 1), 1e-4), ((1, 2), 2e-5), ((1, 1, 1), 5e-5)):
        rows[f"monomial {k}"] = dict(k=k, s=1.0, step_size=step, exact=slt.normal_crossing_finite(k, **at))
    rows["reduced rank 3-2-3"] = dict(kind=1, exact=slt.reduced_rank_finite(3, 2, 3, **at))
    rows["tanh, 1 unit"] = dict(kind=2, exact=slt.tanh_finite(1, INPUTS, **at))
    rows["tanh, 2 units"] = dict(kind=2, live=1.0, exact=slt.tanh_finite(2, INPUTS, **at))
    blank = dict(kind=0, h=(), k=(), s=0.0, live=0.0, step_size=1e-4)
    for name, row in rows.items():
        rows[name] = blank | row
        for numbers in ("h", "k"):
            rows[name][numbers] = np.pad(rows[name][numbers], (0, SIZE - len(rows[name][numbers])))
    return rows


def loss(w: Float[Array, " 12"], data: Any) -> Float[Array, " 1"]:
    """One of three, on the first of twelve parameters: the others are flat directions.

    sum_i h_i w_i^2/2 + s prod_i w_i^{2 k_i};  |B A|^2/2 of 3-2-3;  E_x (b_1 tanh(a_1 x) + live b_2 tanh(a_2 x))^2/2.
    """
    kind, h, k, s, live = (data[name][0] for name in ("kind", "h", "k", "s", "live"))
    factors = jnp.where(k == 0, 1.0, jnp.where(k == 1, w**2, w**4))
    polynomial = jnp.sum(h * w**2) / 2 + s * jnp.prod(factors)
    product = w[:6].reshape(3, 2) @ w[6:].reshape(2, 3)
    x = jnp.asarray(INPUTS, jnp.float32)
    y = w[2] * jnp.tanh(w[0] * x) + live * w[3] * jnp.tanh(w[1] * x)
    return jnp.stack([polynomial, jnp.sum(product**2) / 2, jnp.mean(y**2) / 2])[kind][None]


def compare(names: Sequence[str], repeats: int, budget: int) -> xr.Dataset:
    """Each sampler on each small model, `budget` gradients a chain; NUTS makes as many steps as HMC."""
    rows = models()
    table = {name: np.array([row[name] for row in rows.values()]) for name in rows["regular, d = 10"]}
    grid = sweeps.product(model=range(len(rows)), repeat=range(repeats))
    parts = []
    for name in names:
        draws = budget // (LEAPFROG + 1) if name in ("hmc", "nuts") else budget
        estimates = functools.partial(estimate, name, draws, repeats, table)
        parts.append(sweeps.map(estimates, grid, name=name, block=16))
    found = xr.concat(parts, xr.DataArray(list(names), dims="sampler", name="sampler"))
    return found.assign_coords(model=[*rows]).assign(exact=("model", table["exact"]))


def estimate(
    name: str, draws: int, repeats: int, table: dict[str, np.ndarray], at: dict[str, Array]
) -> dict[str, Array]:
    """lambda-hat of one model by one sampler, with a warm-up of a quarter of its draws."""
    key = jax.random.fold_in(jax.random.key(1), at["model"] * repeats + at["repeat"])
    data = {field: jnp.asarray(values)[at["model"], None] for field, values in table.items()}
    sampler, sampling = SAMPLERS[name](data["step_size"][0]), slt.Sampling(4, draws // 4, draws)
    options: Any = dict(nbeta=NBETA, gamma=GAMMA) | sampling._asdict()
    llc = slt.estimate_llc(key, loss, jnp.zeros(SIZE), data, sampler, **options)
    return {"sampled_value": llc.value, "sampled_stderr": llc.stderr, "sampled_ess": llc.ess}


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
        "gamma": np.repeat(np.array([RESCALED_GAMMA, RESCALED_GAMMA * typical], np.float32), len(FACTORS)),
    }

    def relative(at: dict[str, Any]) -> tuple[Callable, dict[str, Array]]:
        """The loss as a function of the weights in the point's units, and its weights in them."""
        loss = lambda w, batch: unscaled(jax.tree.map(jnp.multiply, w, at["unit"]), batch)
        return loss, jax.tree.map(jnp.divide, at["params"], at["unit"])

    def estimate(at: dict[str, Any]) -> dict[str, Array]:
        (loss, params), sampling = relative(at), slt.Sampling(4, 2 * draws, draws, 4)
        held, sampler = dict(nbeta=RESCALED_NBETA, gamma=at["gamma"]), slt.mala(at["step_size"])
        llc = slt.estimate_llc(jax.random.key(0), loss, params, data, sampler, **held, **sampling._asdict())
        return {"rescaled_value": llc.value, "rescaled_stderr": llc.stderr}

    H = jax.jit(lambda at: slt.hessian(*relative(at), data))
    rows = [jax.tree.map(lambda leaf, i=i: leaf[i], grid) for i in range(len(grid["gamma"]))]
    h = np.array([np.clip(np.linalg.eigvalsh(np.asarray(H(row), float)), 0, None) for row in rows])
    grid["step_size"] = np.asarray(0.3 / (RESCALED_NBETA * h.max(1) + grid["gamma"]), np.float32)
    axes = {"coordinates": np.array(["weights", "relative"]), "factor": FACTORS}
    found = sweeps.map(estimate, sweeps.Points(grid, None, axes), name="rescaling", block=len(FACTORS))
    at = zip(h, grid["gamma"], strict=True)
    gaussian = np.reshape([slt.regular_finite(s, nbeta=RESCALED_NBETA, gamma=g) for s, g in at], (2, -1))
    return found.assign(rescaled_gaussian=(tuple(axes), gaussian), rescaled_limit=LIMIT)
