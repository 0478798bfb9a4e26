"""Small models whose estimate at finite nbeta is exact, and the samplers on them, for the same number of gradients."""

from collections.abc import Callable, Sequence
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key

import slt
import sweeps
from slt.samplers.base import Info

LEAPFROG, DOUBLINGS = 10, 6
CHAINS = 4
SIZE, NBETA, GAMMA = 12, 1e3, 1.0
INPUTS = np.linspace(-2, 2, 20)

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

    exact: what a perfect sampler returns at this nbeta and gamma.  limit: lambda.  step_size: of Langevin, for where
    its chains go.
    """
    curvature, at = np.geomspace(0.03, 3, 10), dict(nbeta=NBETA, gamma=GAMMA)
    rows: dict[str, dict[str, Any]] = {
        "regular, d = 10": dict(h=curvature, exact=slt.regular_finite(curvature, **at), limit=slt.regular(10)[0])
    }
    for k, step in (((1, 1), 1e-4), ((1, 2), 2e-5), ((1, 1, 1), 5e-5)):
        exact, limit = slt.normal_crossing_finite(k, **at), slt.normal_crossing(k)[0]
        rows[f"monomial {k}"] = dict(k=k, s=1.0, step_size=step, exact=exact, limit=limit)
    exact, limit = slt.reduced_rank_finite(3, 2, 3, **at), slt.reduced_rank(3, 2, 3, 0)[0]
    rows["reduced rank 3-2-3"] = dict(kind=1, exact=exact, limit=limit)
    for n, name in ((1, "tanh, 1 unit"), (2, "tanh, 2 units")):
        rows[name] = dict(kind=2, live=n - 1.0, exact=tanh_finite(n, **at), limit=slt.tanh_network(n)[0])
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


def tanh_finite(hidden: int, *, nbeta: float, gamma: float) -> float:
    """nbeta E[K] of `hidden` <= 2 tanh units at 0, by quadrature over a: b is Gaussian given a, as in reduced rank.

    With G(a) = E tanh(a x) tanh(a x)' the weight of a is det(gamma + nbeta G)^{-1/2} exp(-gamma |a|^2/2), and the
    energy given a is tr(nbeta G (gamma + nbeta G)^{-1})/2.
    """
    half = np.geomspace(1e-5, 6, 150) / np.sqrt(gamma)
    axis = np.concatenate([-half[::-1], half])
    each = lambda values: np.stack(np.meshgrid(*[values] * hidden, indexing="ij"), axis=-1).reshape(-1, hidden)
    a, width = each(axis), each(np.gradient(axis))
    phi = np.tanh(a[:, :, None] * INPUTS)
    G = np.einsum("phx,pkx->phk", phi, phi) / len(INPUTS)
    A = gamma * np.eye(hidden) + nbeta * G
    log_weight = -np.linalg.slogdet(A)[1] / 2 - gamma * (a**2).sum(1) / 2 + np.log(width).sum(1)
    weight = np.exp(log_weight - log_weight.max())
    energy = (hidden - gamma * np.trace(np.linalg.inv(A), axis1=1, axis2=2)) / 2
    return float(np.sum(weight * energy) / np.sum(weight))


def compare(names: Sequence[str], repeats: int, budget: int) -> xr.Dataset:
    """Each sampler on each small model, the same number of gradients: estimates, and gradients of an estimate."""
    rows = models()
    table = {name: np.array([row[name] for row in rows.values()]) for name in rows["regular, d = 10"]}
    single = {name: values.astype(np.float32) if name != "kind" else values for name, values in table.items()}
    grid = sweeps.product(model=range(len(rows)), repeat=range(repeats))
    parts = []
    for name in names:
        draws = budget // (LEAPFROG + 1) if name in ("hmc", "nuts") else budget
        found = sweeps.map(estimator(name, draws, repeats, single), grid, name=name, block=16)
        price = {"hmc": LEAPFROG + 1.0, "nuts": nuts_price(single) if name == "nuts" else None}.get(name, 1.0)
        gradients = np.broadcast_to(price, len(rows)) * CHAINS * draws
        parts.append(found.drop_vars("repeat").assign(gradients=("model", gradients)))
    found = xr.concat(parts, xr.DataArray(list(names), dims="sampler", name="sampler"))
    found.gradients.attrs["units"] = "gradients an estimate, warm-up left out"
    found = found.rename({str(field): f"sampled_{field}" for field in found}).assign_coords(model=[*rows])
    return found.assign(exact=("model", table["exact"]), limit=("model", table["limit"]))


def estimator(name: str, draws: int, repeats: int, table: dict[str, np.ndarray]) -> Callable[[Any], dict[str, Array]]:
    """lambda-hat of one model by one sampler, with a warm-up of a quarter of its draws."""
    sampling = slt.Sampling(CHAINS, draws // 4, draws)

    def estimate(at: dict[str, Array]) -> dict[str, Array]:
        key = jax.random.fold_in(jax.random.key(1), at["model"] * repeats + at["repeat"])
        data = {field: jnp.asarray(values)[at["model"], None] for field, values in table.items()}
        sampler, held = SAMPLERS[name](data["step_size"][0]), dict(nbeta=NBETA, gamma=GAMMA)
        llc = slt.estimate_llc(key, loss, jnp.zeros(SIZE), data, sampler, **held, **sampling._asdict())
        return {"value": llc.value, "stderr": llc.stderr, "ess": llc.ess}

    return estimate


def nuts_price(table: dict[str, np.ndarray]) -> np.ndarray:
    """Gradients of a step of NUTS on each model: the mean over some of them."""

    def gradients(at: dict[str, Any]) -> Array:
        data, w = jax.tree.map(lambda leaf: leaf[None], at), jnp.zeros(SIZE)
        potential = slt.localised(loss, data, w, nbeta=NBETA, gamma=GAMMA)
        key = jax.random.fold_in(jax.random.key(2), at["model"])
        chains = slt.run_chains(key, counted_nuts(at["step_size"]), potential, w, slt.Sampling(CHAINS, 50, 100))
        return jnp.mean(chains.acceptance)

    models = np.arange(len(table["kind"]))
    return sweeps.map(gradients, table | {"model": models}, name="nuts_gradients", block=len(models)).result.values


def counted_nuts(step_size: Array) -> slt.Sampler:
    """`nuts` on a flat vector of parameters, that reports for the acceptance the gradients of each step."""
    ours, kernel = slt.nuts(step_size, max_doublings=DOUBLINGS), blackjax.nuts.build_kernel()

    def step(key: Key[Array, ""], state: Any, potential: slt.Potential) -> tuple[Any, Info]:
        density = lambda w: -potential.value(jax.random.key(0), w)[0]
        bits = jax.random.bits(key, jax.random.PRNGKey(0).shape)
        moved, told = kernel(bits, state.kernel, density, state.h, state.inverse_mass, max_num_doublings=DOUBLINGS)
        gradients = jnp.asarray(told.num_integration_steps, jnp.float32)
        return state._replace(kernel=moved, params=moved.position), Info(state.loss, gradients)

    return ours._replace(step=step)
