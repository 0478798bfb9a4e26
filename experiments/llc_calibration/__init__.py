"""How near are estimates of the learning coefficient to the truth, where the truth is known?

Deep linear networks of the class of Furman and Lau 2024 (arXiv 2402.03698), whose learning coefficient at a particular
point is known exactly (`slt.strata`); eight samplers on small models whose estimate at finite nbeta is known; and a
ReLU network under W_1 c, W_2/c, which changes the weights and not the function.

The deep linear networks have one setting: SGHMC of friction .03, whose slow directions mix as the root of what Langevin
steps take; the step size that makes the stiffest direction's part 5 % too large, as `slt.calibration` chooses it; gamma =
30 at n = 1e5, growing as sqrt(n): gamma/(n h) is what it takes from a direction of curvature h, n h/gamma how long that
one mixes.
"""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array
from typing_extensions import Doc

from experiments import sweep
from experiments.experiment import at_least, positive
from experiments.llc_calibration import cases
from experiments.llc_calibration.cases import Network
from experiments.llc_calibration.report import claims
from slt.chains import run_chains
from slt.curvature import hessian
from slt.diagnostics import verdict
from slt.estimate import LLC, estimate_llc
from slt.samplers.base import Sampler, localised
from slt.samplers.hamiltonian import hmc, nuts
from slt.samplers.langevin import mala, sgld
from slt.samplers.momentum import sghmc, sgnht
from slt.samplers.preconditioned import adam_sgld, rmsprop_sgld
from slt.strata import deep_linear_local
from slt.theory import deep_linear, regular_finite

__all__ = ["PRESETS", "claims", "plot", "run"]

FRICTION = 0.03
THEIR_N = 1e5  # of Furman and Lau, for the first of their classes
LEAPFROG, DOUBLINGS = 10, 6
SPLITS = 300  # of the search for a network's exact coefficient; the few that need more are left out
ZERO = 1e-10  # of the largest curvature: eigenvalues below are rounding
FACTORS = 10.0 ** np.arange(-4, 5)
POINTS_NBETA, POINTS_GAMMA = 1e5, 20.0
CHAINS = 4  # of an estimate of a small model
BLOCK = 4  # networks at a time on a device
KEPT = ("value", "stderr", "ess", "rhat", "findings")

SAMPLERS: dict[str, Callable[[Any], Sampler]] = {
    "sgld": sgld,
    "rmsprop_sgld": lambda step: rmsprop_sgld(0.1 * step),  # its epsilon: where gradients vanish it is sgld(step)
    "adam_sgld": lambda step: adam_sgld(0.1 * step),
    "sghmc": lambda step: sghmc(step, friction=0.1),
    "sgnht": lambda step: sgnht(step, diffusion=0.1),
    "mala": mala,
    "hmc": lambda step: hmc(step, leapfrog=LEAPFROG),
    "nuts": lambda step: nuts(step, max_doublings=DOUBLINGS),
}

PRESETS = {
    "smoke": dict(
        networks=1, depths="2", widest=8, chains=1, warmup=40, draws=20, thin=1, samplers="sgld", repeats=2, budget=100, rescale_draws=0
    ),
    "default": {},
    "paper": dict(networks=100, depths="2,3,4,5", warmup=5000, draws=1000, thin=50, repeats=32, budget=100_000),
}  # fmt: skip


def run(
    *,
    networks: Annotated[int, Doc("deep linear networks of each depth")] = 12,
    depths: Annotated[str, Doc("numbers of layers of the deep linear networks")] = "2,3,4,5",
    widest: Annotated[int, Doc("largest layer; the smallest has five units")] = 50,
    samples: Annotated[
        float,
        Doc(
            "n of the deep linear networks, beside the 1e5 of Furman and Lau; without noise it is the temperature alone"
        ),
    ] = 1e8,
    gamma: Annotated[
        float,
        Doc(
            "localisation of the deep linear networks at n = 1e5; it grows as sqrt(n), so both what it takes away and what it lets mix do"
        ),
    ] = 30.0,
    bias: Annotated[float, Doc("share by which the step size may make the stiffest direction's part too large")] = 0.05,
    chains: Annotated[int, Doc("chains for an estimate of a deep linear network")] = 2,
    warmup: Annotated[int, Doc("steps thrown away at the start of each of them")] = 2000,
    draws: Annotated[int, Doc("draws of each of them")] = 300,
    thin: Annotated[int, Doc("steps from draw to draw")] = 10,
    samplers: Annotated[str, Doc("samplers to compare")] = ",".join(SAMPLERS),
    repeats: Annotated[int, Doc("estimates of each small model with each sampler")] = 8,
    budget: Annotated[int, Doc("gradients of each chain of these, a quarter of them as warm-up before")] = 10_000,
    rescale_draws: Annotated[int, Doc("draws of each chain of the rescaled networks; 0: none of them")] = 1000,
) -> xr.Dataset:
    """Deep linear networks at two sizes of data set, points with known strata, the samplers, the rescaled network."""
    at_least(1, networks=networks, chains=chains, thin=thin)
    at_least(0, warmup=warmup)
    at_least(5, widest=widest)
    at_least(8, draws=draws)
    at_least(0, rescale_draws=rescale_draws)
    at_least(2, repeats=repeats)
    at_least(8 * (LEAPFROG + 1), budget=budget)
    positive(samples=samples, gamma=gamma, bias=bias)
    length = dict(chains=chains, warmup=warmup, draws=draws, thin=thin)
    chosen = _chosen(samplers)
    results = [
        _deep_linear(_depths(depths), networks, widest, sizes=(THEIR_N, samples), gamma=gamma, bias=bias, **length),
        _samplers(chosen, repeats, budget),
        _rescaling(rescale_draws),
    ]
    return xr.merge(results).assign_attrs(bias=bias)


def plot(results: xr.Dataset) -> Any:
    """Estimates against truth, errors beside those of the baselines, the samplers, the rescaled network."""
    from experiments.llc_calibration.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _depths(text: str) -> list[int]:
    depths = [int(word) for word in text.split(",") if word.strip().isdigit()]
    if not depths or min(depths) < 2:
        raise ValueError(f"got depths={text!r}: write numbers of layers from 2 on, such as --depths 2,3,4,5")
    return depths


def _chosen(text: str) -> list[str]:
    names = [word.strip() for word in text.split(",")]
    if unknown := [name for name in names if name not in SAMPLERS]:
        raise ValueError(f"got samplers={text!r}: {unknown[0]!r} is none of {', '.join(SAMPLERS)}")
    return names


def _step_size(stiffest: float, bias: float) -> float:
    """eps of SGHMC that makes the part of the stiffest direction, of curvature A of U, at most `bias` too large.

    eta A/(4 - 2 alpha) = bias/(1 + bias), eta = eps/2: the rule of `slt.calibration`, for SGHMC's stationary law.
    """
    return 2 * (4 - 2 * FRICTION) * bias / (1 + bias) / stiffest


def _estimate(chains: int, warmup: int, draws: int, thin: int) -> Callable[[dict[str, Any]], LLC]:
    """One point: lambda-hat of a padded network at its true parameter; entries that do not exist are frozen at zero."""

    def point(p: dict[str, Any]) -> LLC:
        return estimate_llc(
            jax.random.key(p["seed"]), cases.product_loss, p["params"], p["target"][None],
            sghmc(p["step_size"], friction=FRICTION), nbeta=p["nbeta"], gamma=p["gamma"], mask=p["mask"],
            chains=chains, warmup=warmup, draws=draws, thin=thin,
        )  # fmt: skip

    return point


def _settled(nets: list[Network], width: int, nbeta: np.ndarray, gamma: float, bias: float) -> dict[str, Any]:
    """The grid of networks of one depth, each at its own nbeta and step size."""
    stiff = np.array([cases.stiffness(net, gamma, i) for i, net in enumerate(nets)])
    steps = [_step_size(n * h + gamma, bias) for n, h in zip(nbeta, stiff, strict=True)]
    numbers = {"seed": np.arange(len(nets)), "nbeta": nbeta, "gamma": np.full(len(nets), gamma), "step_size": steps}
    kinds = {name: np.asarray(values, np.float32 if name != "seed" else int) for name, values in numbers.items()}
    return cases.padded(nets, width) | kinds


def _deep_linear(
    depths: list[int], count: int, widest: int, *, sizes: tuple[float, float], gamma: float, bias: float, **length: int
) -> xr.Dataset:
    """The class of Furman and Lau at two sizes n of the data set, and the points of networks as deep, in one sweep."""
    parts, points = [], []
    for layers in depths:
        rng = np.random.default_rng(layers)
        nets = [cases.furman_lau(rng, layers, 5, widest) for _ in range(count)]
        facts = _facts(nets, sizes, gamma)
        named = {name: net for name, net in cases.POINTS.items() if len(net.weights) == layers}
        grids = [_settled(nets, widest, facts.nbeta.values[:, i], facts.gamma.values[i], bias) for i in range(2)]
        if named:
            grids.append(_settled(list(named.values()), widest, np.full(len(named), POINTS_NBETA), POINTS_GAMMA, bias))
        grid = jax.tree.map(lambda *leaves: np.concatenate(leaves), *grids)
        found = sweep.run(_estimate(**length), grid, name=f"{layers} layers", block=BLOCK)
        llc = LLC._make(found[field].values for field in LLC._fields)
        for field, values in {**llc._asdict(), "findings": _findings(llc)}.items():
            if field in KEPT:
                facts[field] = ("network", "samples"), values[: 2 * count].reshape(2, count).T
        parts.append(facts)
        points.append(_points(named, *(np.asarray(leaf)[2 * count :] for leaf in (llc.value, llc.stderr))))
    whole = xr.concat(parts, "network", data_vars="minimal", coords="minimal", compat="equals")
    return whole.merge(xr.concat(points, "where"))


def _facts(nets: list[Network], sizes: tuple[float, float], gamma: float) -> xr.Dataset:
    """What is known of networks without a chain.

    Furman and Lau's loss is the mean over outputs of (f(x) - y)^2, their inputs U[-10, 10]: 200/3/outputs times
    `product_loss`, which is what the factor of nbeta is.
    """
    spectra = [cases.curvatures(net) for net in nets]
    nbeta = np.array([[200 / 3 / net.widths[-1] * n / np.log(n) for n in sizes] for net in nets])
    gammas = [gamma * np.sqrt(n / THEIR_N) for n in sizes]
    settings = [list(zip(row, gammas, strict=True)) for row in nbeta]
    gaussian = [[regular_finite(h, nbeta=n, gamma=g) for n, g in row] for h, row in zip(spectra, settings, strict=True)]
    rank = lambda net: int(net.ranks[0, -1])
    numbers = {
        "layers": [len(net.weights) for net in nets],
        "parameters": [sum(W.size for W in net.weights) for net in nets],
        "rank": [rank(net) for net in nets],
        "local": [deep_linear_local(net.ranks, splits=SPLITS) for net in nets],
        "overall": [deep_linear(net.widths, rank(net))[0] for net in nets],
        "hessian_rank": [int(np.sum(h > ZERO * max(h.max(), ZERO))) for h in spectra],
        "widths": ["-".join(map(str, net.widths)) for net in nets],
    }
    variables: dict[str, Any] = {name: ("network", np.array(values)) for name, values in numbers.items()}
    variables |= {"nbeta": (("network", "samples"), nbeta), "gaussian": (("network", "samples"), np.array(gaussian))}
    variables["gamma"] = "samples", gammas
    return xr.Dataset(variables, {"samples": list(sizes)})


def _findings(llc: LLC) -> np.ndarray:
    kinds = [", ".join(line.split(":")[0] for line in verdict(LLC(*one))) for one in zip(*llc, strict=True)]
    return np.array(kinds, dtype=str)


def _points(named: dict[str, Network], value: np.ndarray, stderr: np.ndarray) -> xr.Dataset:
    """Points of small networks: their own coefficients, and those of the deepest singularity with the same product."""
    variables = {
        "point_value": value,
        "point_stderr": stderr,
        "point_local": [deep_linear_local(net.ranks) for net in named.values()],
        "point_overall": [deep_linear(net.widths, int(net.ranks[0, -1]))[0] for net in named.values()],
    }
    where = np.array(list(named), dtype=str)
    return xr.Dataset(
        {name: ("where", np.array(values, float)) for name, values in variables.items()}, {"where": where}
    )


def _samplers(names: list[str], repeats: int, budget: int) -> xr.Dataset:
    """Each sampler on each small model, the same number of gradients: bias, spread and effective draws."""
    models = cases.small()
    each = {name: _compared(name, models, repeats, budget) for name in names}
    over = ("sampler", "model", "repeat")
    variables: dict[str, Any] = {
        f"sampled_{field}": (over, np.stack([each[name][field] for name in names]))
        for field in ("value", "stderr", "ess")
    }
    variables["exact"], variables["limit"] = ("model", models.exact), ("model", models.limit)
    price = [np.broadcast_to(_price(name, models), len(models.names)) * CHAINS * _draws(name, budget) for name in names]
    variables["sampled_gradients"] = (
        ("sampler", "model"),
        np.stack(price),
        {"units": "gradients an estimate, warm-up left out"},
    )
    return xr.Dataset(variables, {"sampler": names, "model": models.names})


def _price(name: str, models: cases.Small) -> np.ndarray | float:
    """Gradients of a step; for NUTS, whose steps differ, the mean over some of each model's."""
    if name != "nuts":
        return LEAPFROG + 1.0 if name == "hmc" else 1.0

    def point(p: dict[str, Any]) -> dict[str, Array]:
        potential = localised(cases.small_loss, p["data"], jnp.zeros(cases.SIZE), nbeta=cases.NBETA, gamma=cases.GAMMA)
        run = run_chains(
            jax.random.fold_in(jax.random.key(2), p["seed"]), cases.counted_nuts(p["step_size"], DOUBLINGS), potential,
            jnp.zeros(cases.SIZE), chains=CHAINS, warmup=50, draws=100,
        )  # fmt: skip
        return {"gradients": jnp.mean(run.acceptance)}

    steps = np.array(models.step_size, np.float32)
    grid = {"data": models.data, "step_size": steps, "seed": np.arange(len(steps))}
    return sweep.run(point, grid, name="nuts, its gradients", block=len(steps)).gradients.values


def _draws(name: str, budget: int) -> int:
    return budget // (LEAPFROG + 1) if name in ("hmc", "nuts") else budget


def _compared(name: str, models: cases.Small, repeats: int, budget: int) -> dict[str, np.ndarray]:
    """One sampler on all models: (model, repeat) estimates."""
    draws, count = _draws(name, budget), len(models.names)

    def point(p: dict[str, Any]) -> dict[str, Array]:
        llc = estimate_llc(
            jax.random.fold_in(jax.random.key(1), p["seed"]), cases.small_loss, jnp.zeros(cases.SIZE), p["data"],
            SAMPLERS[name](p["step_size"]), nbeta=cases.NBETA, gamma=cases.GAMMA, chains=CHAINS, warmup=draws // 4, draws=draws,
        )  # fmt: skip
        return {"value": llc.value, "stderr": llc.stderr, "ess": llc.ess}

    models_data = {"data": models.data, "step_size": np.array(models.step_size, np.float32)}
    grid = jax.tree.map(lambda leaf: np.repeat(leaf, repeats, axis=0), models_data) | {
        "seed": np.arange(count * repeats)
    }
    found = sweep.run(point, grid, name=name, block=16)
    return {str(field): found[field].values.reshape(count, repeats) for field in found}


RELU_NBETA, RELU_GAMMA = 1e5, 100.0


def _rescaling(draws: int) -> xr.Dataset:
    """lambda-hat of W_1 c, W_2/c in the weights, and in weights divided by the root mean square of their layer.

    U is nbeta L + (gamma/2)|w - w*|^2 in one case, and in the other |.|^2 is of the relative weights, in which the copies
    are one. The step size follows the curvature of each, gamma is the same at c = 1.
    """
    case = cases.rescaled(FACTORS)
    size = {name: np.sqrt(np.mean(W**2, axis=(1, 2))) for name, W in case.params.items()}
    typical = np.mean([size[name][len(FACTORS) // 2] ** 2 for name in size])
    grid = {
        "params": {name: np.concatenate([W, W]) for name, W in case.params.items()},
        "unit": {name: np.concatenate([np.ones_like(s), s]) for name, s in size.items()},
        "gamma": np.repeat(np.array([RELU_GAMMA, RELU_GAMMA * typical], np.float32), len(FACTORS)),
    }

    def relative(p: dict[str, Any]) -> tuple[Callable, dict[str, Array]]:
        """The loss as a function of the weights in the point's units, and its weights in them."""
        loss = lambda w, data: case.loss(jax.tree.map(jnp.multiply, w, p["unit"]), data)
        return loss, jax.tree.map(jnp.divide, p["params"], p["unit"])

    def point(p: dict[str, Any]) -> dict[str, Array]:
        llc = estimate_llc(
            jax.random.key(0), *relative(p), case.data, mala(p["step_size"]), nbeta=RELU_NBETA, gamma=p["gamma"],
            chains=4, warmup=2 * draws, draws=draws, thin=4,
        )  # fmt: skip
        return {name: getattr(llc, name) for name in ("value", "stderr", "ess", "acceptance")}

    if draws == 0:
        return xr.Dataset()
    H = jax.jit(lambda p: hessian(*relative(p), case.data))
    rows = [jax.tree.map(lambda leaf, i=i: leaf[i], grid) for i in range(len(grid["gamma"]))]
    h = np.array([np.clip(np.linalg.eigvalsh(np.asarray(H(row), float)), 0, None) for row in rows])
    grid["step_size"] = np.asarray(0.3 / (RELU_NBETA * h.max(1) + grid["gamma"]), np.float32)
    found = sweep.run(point, grid, name="rescaling", block=9)
    values = {name: found[name].values for name in found}
    values["gaussian"] = np.array(
        [regular_finite(s, nbeta=RELU_NBETA, gamma=g) for s, g in zip(h, grid["gamma"], strict=True)]
    )
    variables = {f"rescaled_{name}": (("coordinates", "factor"), v.reshape(2, -1)) for name, v in values.items()}
    return xr.Dataset(variables, {"coordinates": ["weights", "relative"], "factor": FACTORS}).assign(
        rescaled_limit=case.limit
    )
