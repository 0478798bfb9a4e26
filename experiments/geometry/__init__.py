"""In which regular figures do equal features share too few dimensions, and does the learning coefficient know them?

Uniform superposition, Elhage et al. 2022 (arXiv 2209.10652): x' = ReLU(W'Wx + b) on features of one importance, over
their density 1 - S. The dimensions a feature, D* = m/|W|^2, stick at 1 and at 1/2, and those of single features lie on the
lines of regular polytopes. lambda-hat of each trained model stands beside its loss, its Hessian and its D*.

The default preset finds: D* within 0.03 of 1/2 at three densities of twenty (of sixteen there were two), nine digons and
one dimension shared by the 82 other features; a line at 1/2. lambda-hat rises with the fall of D* from 1 (50: most
directions turn the kept subspace and are flat) to 1/2 (186), where it is as constant as D*; it adds how many directions are
held. At density 1 it is negative: not a minimum, though D* = 1, and there a count of outputs that are always 0 shows one.
The chains are short: on the plateau R-hat is 1.4 to 1.7, and lambda-hat a fifth below the second-order expansion.
"""

import functools
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float, Key
from typing_extensions import Doc

from experiments import sweep
from experiments.experiment import at_least, positive
from experiments.geometry.report import claims
from slt.curvature import gaussian_llc_quadrature, hessian_vector_product, top_eigenvalues
from slt.estimate import estimate_llc
from slt.samplers.hamiltonian import hmc
from toymodels.analysis.features import blocks, canonical, dimensionality, dimensions_per_feature, leverage, polytope
from toymodels.models.autoencoder import Autoencoder
from toymodels.prng import implementation
from toymodels.task import Batch, Loss, Params, objective
from toymodels.tasks.superposition import sparse_features
from toymodels.training import TrainState, Trajectory, advance, linear, start

__all__ = ["PRESETS", "claims", "plot", "run"]

WEIGHT_DECAY = 0.01  # of the published notebook, PyTorch's default
STEP = 0.05  # of the Hamiltonian chains, h^2 times the largest curvature: from w*, where U is least, larger ones are all rejected
PROBES, LANCZOS = 3, 25  # of what the Hessian says
Init = Literal["notebook", "xavier"]
Purpose = Literal["start", "train", "data", "chains", "probes"]

PRESETS = {
    "smoke": dict(features=12, hidden=3, densities=3, steps=60, checkpoints=2, samples=64, warmup=2, draws=8, leapfrog=2),
    "default": {},
    "paper": dict(features=400, hidden=30, densities=40, sparsest=100.0, steps=50_000, batch_size=1024, samples=65536, chains=4, draws=400),
}  # fmt: skip


def run(
    *,
    features: Annotated[int, Doc("n")] = 100,
    hidden: Annotated[int, Doc("m, dimensions in which they are held")] = 10,
    densities: Annotated[int, Doc("models, evenly spaced in log(1 - S)")] = 20,
    sparsest: Annotated[float, Doc("the largest 1/(1 - S); the least is 1")] = 20.0,
    init: Annotated[
        Init,
        Doc("variance of W: 2/(hidden (features + densities)) as in the published notebook, or 2/(hidden + features)"),
    ] = "notebook",
    steps: Annotated[int, Doc("of AdamW")] = 5000,
    batch_size: Annotated[int, Doc("of each step, all examples new")] = 512,
    rate: Annotated[float, Doc("learning rate at the start; it falls to 0 as a cosine")] = 2e-3,
    checkpoints: Annotated[int, Doc("kept of each training run, after its start")] = 10,
    samples: Annotated[int, Doc("examples on which loss and lambda-hat are measured")] = 8192,
    nbeta: Annotated[float, Doc("n*beta of the chains")] = 3000.0,
    strength: Annotated[float, Doc("gamma/nbeta: the curvature from which a direction counts")] = 0.3,
    chains: Annotated[int, Doc("chains for an estimate")] = 2,
    warmup: Annotated[int, Doc("steps of Hamiltonian Monte Carlo thrown away at the start of each chain")] = 8,
    draws: Annotated[int, Doc("draws of each chain")] = 20,
    leapfrog: Annotated[int, Doc("gradients for a draw")] = 12,
    seed: Annotated[int, Doc("of all random numbers")] = 0,
    prng: Annotated[
        str, Doc("generator of all random numbers: lowbias32, threefry2x32, or another of JAX's")
    ] = "lowbias32",
) -> xr.Dataset:
    """Train one model a density, all at once; read their geometry; estimate lambda-hat of each."""
    at_least(2, features=features, densities=densities)
    at_least(1, hidden=hidden, batch_size=batch_size, checkpoints=checkpoints, samples=samples, chains=chains)
    at_least(checkpoints, steps=steps)
    at_least(0, warmup=warmup)
    at_least(8, draws=draws)
    positive(rate=rate, sparsest=sparsest, nbeta=nbeta, strength=strength)
    key = functools.partial(_key, implementation(prng))
    grid = points(np.geomspace(1, 1 / sparsest, densities), seed)
    trained = train(
        key, grid, linear(steps, max(1, steps // checkpoints)), features=features, hidden=hidden,
        std=deviation(init, features=features, hidden=hidden, instances=densities),
        rate=rate, batch_size=batch_size,
    )  # fmt: skip
    settings: Any = dict(nbeta=nbeta, gamma=strength * nbeta, chains=chains, warmup=warmup, draws=draws)
    estimator = functools.partial(_estimate, key, samples=samples, leapfrog=leapfrog, settings=settings)
    last = {name: leaf[:, -1] for name, leaf in trained.params.items()}
    found = sweep.run(estimator, grid | last, name="llc", block=1)
    attributes = dict(features=features, hidden=hidden, init=init, nbeta=nbeta, strength=strength, steps=steps)
    return _results(grid["density"], trained, found).assign_attrs(attributes)


def plot(results: xr.Dataset) -> Any:
    """D* and D_i over the density, and lambda-hat and the loss below them."""
    from experiments.geometry.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def points(density: Float[np.ndarray, " points"], seed: int) -> dict[str, np.ndarray]:
    """The sweep: `instance` is the place of a model in it, from which its random numbers are drawn."""
    count = len(density)
    return {
        "density": np.asarray(density, np.float32),
        "instance": np.arange(count, dtype=np.int32),
        "seed": np.full(count, seed, np.int32),
    }


def deviation(init: Init, *, features: int, hidden: int, instances: int) -> float:
    """The standard deviation of the entries of W at the start: Xavier's sqrt(2/(fan_in + fan_out)).

    For each model by itself that is of hidden and features. The published notebook calls `xavier_normal_` on one tensor
    (instances, features, hidden) of all models, of which PyTorch takes features*hidden and instances*hidden: its scale
    depends on how many models are trained beside each other.
    """
    if init not in ("notebook", "xavier"):
        raise ValueError(f'got init={init!r}: write "notebook" or "xavier"')
    return float(np.sqrt(2 / (hidden * (features + instances) if init == "notebook" else hidden + features)))


def _key(prng: Any, point: dict[str, Array], purpose: Purpose) -> Key[Array, ""]:
    numbered = ("start", "train", "data", "chains", "probes").index(purpose)
    own = jax.random.fold_in(jax.random.key(point["seed"], impl=prng), point["instance"])
    return jax.random.fold_in(own, numbered)


def train(
    key: Any,
    grid: dict[str, np.ndarray],
    checkpoints: np.ndarray,
    *,
    features: int,
    hidden: int,
    std: float,
    rate: float,
    batch_size: int,
    block: int | None = 1,
) -> Trajectory:
    """AdamW on one model a density. The loss is a sum over models and AdamW works by elements: none needs another."""
    decay = optax.cosine_decay_schedule(rate, int(checkpoints[-1]))
    tx, model = optax.adamw(decay, weight_decay=WEIGHT_DECAY), Autoencoder(features, hidden)

    def begin(point: dict[str, Array]) -> TrainState:
        W = std * jax.random.normal(key(point, "start"), (hidden, features))
        return start({"W": W, "b": jnp.zeros(features)}, tx)

    def onward(point: dict[str, Array], state: TrainState, stops: Array) -> tuple[TrainState, Trajectory]:
        task = sparse_features(jnp.ones(features), point["density"])
        own, loss = key(point, "train"), objective(model, task)
        return advance(own, state, stops, loss=loss, task=task, tx=tx, batch_size=batch_size)

    state = jax.jit(jax.vmap(begin, out_axes=TrainState._make((None, 0, 0))))(grid)
    return sweep.train(onward, grid, state, checkpoints, block=block)


def _estimate(
    key: Any, point: dict[str, Array], *, samples: int, leapfrog: int, settings: dict[str, Any]
) -> dict[str, Array]:
    """The loss, lambda-hat, and what the Hessian makes of it, on examples that training has not seen."""
    params = {"W": point["W"], "b": point["b"]}
    nbeta, gamma = settings["nbeta"], settings["gamma"]
    hidden, features = point["W"].shape
    task = sparse_features(jnp.ones(features), point["density"])
    loss, data = objective(Autoencoder(features, hidden), task), task.sample(key(point, "data"), samples)
    key_top, key_trace = jax.random.split(key(point, "probes"))
    top = top_eigenvalues(key_top, loss, params, data, k=1, iterations=12).value[0]
    sampler = hmc(STEP / (nbeta * top + gamma), leapfrog=leapfrog)
    reconstruct = lambda params, x: jax.nn.relu(x @ params["W"].T @ params["W"] + params["b"][None])
    chance = jnp.sum(jnp.var(data.x, axis=0))
    llc = estimate_llc(key(point, "chains"), loss, params, data, sampler, chance=chance, **settings)
    gaussian = gaussian_llc_quadrature(
        key_trace, loss, params, data, nbeta=nbeta, gamma=gamma, probes=PROBES, iterations=LANCZOS
    )
    kept = ("value", "stderr", "ess", "rhat", "acceptance", "saturation")
    return {name: getattr(llc, name) for name in kept} | {
        "test_loss": llc.loss_at_centre,
        "chance": chance,
        "silent": jnp.sum(jnp.all(reconstruct(params, data.x) <= 0, axis=0)),
        "top": top,
        "gaussian": gaussian.value,
        "gaussian_stderr": gaussian.stderr,
        "slope": slope(loss, params, data, nbeta=nbeta, gamma=gamma),
    }


def slope(loss: Loss, params: Params, data: Batch, *, nbeta: float, gamma: float) -> Float[Array, ""]:
    """What a gradient g at w* takes from lambda-hat, to second order: -nbeta^2 g' A^-1 (1 - nbeta H A^-1/2) g, A = nbeta H + gamma.

    A minimum of the expected loss has one on any finite set of examples.
    """
    flat, unravel = ravel_pytree(params)
    product = hessian_vector_product(loss, params, data)
    H = lambda v: ravel_pytree(product(unravel(v)))[0]
    g = jax.grad(lambda w: jnp.mean(loss(unravel(w), data)))(flat)
    u = cg(lambda v: nbeta * H(v) + gamma * v, g, maxiter=LANCZOS)[0]
    return -(nbeta**2) * (g @ u - nbeta / 2 * u @ H(u))


def _results(density: np.ndarray, trained: Trajectory, found: xr.Dataset) -> xr.Dataset:
    """Everything read off the models, with named axes."""
    W, b = trained.params["W"], trained.params["b"]
    over_time = jax.jit(jax.vmap(jax.vmap(dimensions_per_feature)))(W)
    D, t, R = (np.asarray(jax.jit(jax.vmap(f))(W[:, -1])) for f in (dimensionality, leverage, canonical))
    names = [figures(model) for model in W[:, -1]]
    feature, time = ("density", "feature"), ("density", "step")
    variables = {
        "dimensionality": (feature, D, {"units": "hidden dimensions"}),
        "leverage": (feature, t),
        "polytope": (feature, np.array(names), {"long_name": "figure of the block a feature is in; empty: it is dead"}),
        "W": (("density", "hidden", "feature"), R, {"long_name": "W, rotated to be upper triangular"}),
        "b": (feature, b[:, -1]),
        "loss": (time, trained.loss, {"long_name": "on a minibatch", "units": "E|x - x'|^2"}),
        "dimensions_per_feature": (time, np.asarray(over_time), {"long_name": "D* = m/|W|^2"}),
    } | {str(name): ("density", leaf.values) for name, leaf in found.data_vars.items()}
    variables["silent"] = *variables["silent"], {"long_name": "outputs that are 0 on all examples"}
    return xr.Dataset(variables, {"density": density, "step": trained.step})


def figures(W: Float[np.ndarray, "hidden features"]) -> list[str]:
    """For each feature the name of the figure that its block makes; empty for a dead feature."""
    names = [""] * W.shape[1]
    for block in blocks(W):
        name = polytope(W[:, block])
        for i in block:
            names[i] = name
    return names
