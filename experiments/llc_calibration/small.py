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
    """lambda-hat of each sampler on each small model, `budget` gradients a chain after a quarter of them as warm-up.

    NUTS makes as many steps as HMC.
    """
    rows = models()
    table = {name: np.array([row[name] for row in rows.values()]) for name in rows["regular, d = 10"]}

    def estimate(name: str, draws: int, at: dict[str, Array]) -> dict[str, Array]:
        key = jax.random.fold_in(jax.random.key(1), at["model"] * repeats + at["repeat"])
        data = {field: jnp.asarray(values)[at["model"], None] for field, values in table.items()}
        options: Any = dict(nbeta=NBETA, gamma=GAMMA) | slt.Sampling(4, draws // 4, draws)._asdict()
        sampler = SAMPLERS[name](data["step_size"][0])
        return {"sampled_value": slt.estimate_llc(key, loss, jnp.zeros(SIZE), data, sampler, **options).value}

    grid, parts = sweeps.product(model=range(len(rows)), repeat=range(repeats)), []
    for name in names:
        draws = budget // (LEAPFROG + 1) if name in ("hmc", "nuts") else budget
        parts.append(sweeps.map(functools.partial(estimate, name, draws), grid, name=name, block=16))
    found = xr.concat(parts, xr.DataArray(list(names), dims="sampler", name="sampler"))
    return found.assign_coords(model=[*rows]).assign(exact=("model", table["exact"]))


def rescaling(draws: int) -> xr.Dataset:
    """lambda-hat of the copies W_1 c, W_2/c of a ReLU network, which compute the same.

    The data are of the network's own making, without noise: w* is a minimum of loss 0 at every c. The step size follows
    the curvature, gamma is the same.
    """
    model = tm.MLP(WIDTHS, bias=False)
    key_teacher, key_data = jax.random.split(jax.random.key(0))
    teacher = model.init(key_teacher, jnp.zeros(WIDTHS[0]))["params"]
    target = lambda x: jnp.asarray(model.apply({"params": teacher}, x))
    task = tm.regression(target, tm.gaussian_inputs(WIDTHS[0]))
    loss, data = tm.objective(model, task), task.sample(key_data, EXAMPLES)
    scale = {"W1": FACTORS, "W2": 1 / FACTORS}
    copies = {name: np.asarray(teacher[name]) * c.astype(np.float32)[:, None, None] for name, c in scale.items()}
    hessians = jax.jit(lambda copies: jax.lax.map(lambda params: slt.hessian(loss, params, data), copies))
    top = np.linalg.eigvalsh(np.asarray(hessians(copies), float))[:, -1]
    step_size = np.asarray(0.3 / (RESCALED_NBETA * top + RESCALED_GAMMA), np.float32)

    def estimate(at: dict[str, Any]) -> dict[str, Array]:
        options: Any = dict(nbeta=RESCALED_NBETA, gamma=RESCALED_GAMMA)
        options |= slt.Sampling(4, 2 * draws, draws, 4)._asdict()
        llc = slt.estimate_llc(jax.random.key(0), loss, at["params"], data, slt.mala(at["step_size"]), **options)
        return {"rescaled_value": llc.value}

    grid = {"params": copies, "step_size": step_size}
    return sweeps.map(estimate, sweeps.Points(grid, None, {"factor": FACTORS}), name="rescaling", block=len(FACTORS))
