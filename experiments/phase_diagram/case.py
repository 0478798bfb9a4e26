"""The models of one plane: how they are started and trained on the population loss, and what is read off at the end."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float, Int, Scalar

import slt
import sweeps
import toymodels as tm
from experiments.phase_diagram.theory import CONFUSED, DEDICATED, IGNORED, SUPERPOSED

At = dict[str, Array]  # a point of the plane (s, r) with its index, and a model there
BLOCK = 64  # models at a time on a device
FINE = {2: 24, 3: 12}  # features -> order of the quadrature with which losses are compared
LEAPFROG = 10  # steps of a draw: thirty are no better
SPLIT = 0.3, 0.7  # a norm below is an ignored feature, one above a kept one, one between is confused


def population_loss(params: tm.Params, batch: tm.Batch) -> Float[Array, " nodes"]:
    """One number for each node of the quadrature, of mean E sum_i I_i (x_i - x'_i)^2; y holds the weights I_i w."""
    predict = lambda x: jax.nn.relu(params["W"].T @ (params["W"] @ x) + params["b"])
    return jnp.sum(batch.y * (batch.x - jax.vmap(predict)(batch.x)) ** 2, axis=1)


def fate(W: Float[Array, "hidden features"]) -> Int[Array, ""]:
    """What becomes of the last feature. Superposed: half of another feature or more is read on its direction."""
    norm = jnp.linalg.norm(W, axis=0)
    unclear = jnp.any((norm > SPLIT[0]) & (norm < SPLIT[1]))
    kept = jnp.where(tm.interference(W)[-1] >= 0.5, SUPERPOSED, DEDICATED)
    return jnp.where(unclear, CONFUSED, jnp.where(norm[-1] < SPLIT[0], IGNORED, kept))


class Case(NamedTuple):
    """Models with one dimension fewer than features; order: of the quadrature in training and chains."""

    features: int
    order: int
    seed: int

    def nodes(self, s: Scalar, r: Scalar, order: int) -> tm.Batch:
        """The population at density s with importance r of the last feature, as nodes of a quadrature."""
        x, weight = tm.quadrature(self.features, s, order)
        importance = jnp.ones(self.features).at[-1].set(r)
        return tm.Batch(x, len(weight) * weight[:, None] * importance[None])

    def train(self, grid: sweeps.Points, steps: int, rate: float) -> xr.Dataset:
        """Every model of the grid after Adam: W, b, its loss by the fine quadrature, its fate and what it keeps."""
        n, tx = self.features, optax.adam(optax.cosine_decay_schedule(rate, steps))

        def begin(at: At) -> tm.TrainState:
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(self.seed), at["index"]), at["model"])
            key_W, key_b = jax.random.split(key)
            W = jax.random.normal(key_W, (n - 1, n)) / jnp.sqrt(n - 1)
            return tm.start({"W": W, "b": 0.1 * jax.random.normal(key_b, (n,))}, tx)

        def onward(at: At, state: tm.TrainState, stops: Array) -> tuple[tm.TrainState, tm.Trajectory]:
            batch = self.nodes(at["s"], at["r"], self.order)
            exact = tm.Task(lambda key, n: batch, lambda prediction, y: prediction)  # every minibatch is the population
            unused = jax.random.key(self.seed)
            return tm.advance(unused, state, stops, loss=population_loss, task=exact, tx=tx, batch_size=1)

        def reading(at: At, checkpoint: tm.Trajectory) -> dict[str, Array]:
            W, b = checkpoint.params["W"], checkpoint.params["b"]
            loss = jnp.mean(population_loss(checkpoint.params, self.nodes(at["s"], at["r"], FINE[n])))
            kept = jnp.sum(jnp.linalg.norm(W, axis=0) > SPLIT[1])
            return {"W": W, "b": b, "loss": loss, "own_fate": fate(W), "kept": kept}

        runs = sweeps.scan(onward, grid, begin, [steps], name=f"{n}_features", chunk=1, block=BLOCK)
        dims = {"W": ["hidden", "feature"], "b": ["feature"]}
        return sweeps.map(reading, runs, name=f"{n}_features_read", dims=dims, block=BLOCK).isel(step=-1, drop=True)

    def estimate(self, best: xr.Dataset, *, nbeta: float, gamma: float, sampling: slt.Sampling) -> xr.Dataset:
        """lambda-hat of every model in `best`, NaN where the loss is infinite: there is none."""
        over = ("density", "importance", "fate")
        flat = best.stack(point=over).transpose("point", ...)
        flat = flat.isel(point=np.isfinite(flat.loss.values))
        models: dict[str, Any] = {"params": {"W": flat["W"].values, "b": flat["b"].values}}
        models |= {"s": flat.density.values.astype(np.float32), "r": flat.importance.values.astype(np.float32)}
        nodes = lambda at: self.nodes(at["s"], at["r"], self.order)
        curvature = lambda at: slt.hessian(population_loss, at["params"], nodes(at))
        H = sweeps.map(curvature, models, name=f"{self.features}_features_hessian", block=BLOCK)["result"].values
        top = np.linalg.eigvalsh(H.astype(float))[:, -1]  # on the host: LAPACK in programs on two devices may lock them

        def llc(at: dict[str, Any]) -> dict[str, Array]:
            sampler = slt.hmc(1 / (nbeta * at["top"] + gamma), leapfrog=LEAPFROG)
            chains: Any = dict(nbeta=nbeta, gamma=gamma, **sampling._asdict())
            key, data = jax.random.key(self.seed), nodes(at)
            found = slt.estimate_llc(key, population_loss, at["params"], data, sampler, **chains)
            return {name: getattr(found, name) for name in ("value", "stderr", "ess", "rhat", "acceptance")}

        models["top"] = top.astype(np.float32)
        found = sweeps.map(llc, models, name=f"{self.features}_features_llc", block=BLOCK)
        return found.assign_coords(flat.point.coords).unstack("point").reindex_like(best[list(over)])
