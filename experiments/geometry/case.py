"""The models of `geometry`: how one is started and trained, and what is estimated at its end."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float, Key

import slt
import toymodels as tm
from slt import Sampling

WEIGHT_DECAY = 0.01  # of the published notebook, PyTorch's default
STEP = 0.05  # h^2 of the chains times the largest curvature: from w*, where U is least, larger ones are all rejected
PROBES, LANCZOS, TOP = 3, 25, 12  # of the Hessian: random signs, products with it for each, and for the largest
START, TRAIN, DATA, CHAINS, HESSIAN = range(5)  # purposes of a model's keys
At = Mapping[str, Array]  # a point of the grid


def deviation(*, features: int, hidden: int, instances: int) -> float:
    """The standard deviation of the entries of W at the start, as the published notebook has it.

    It calls `xavier_normal_`, sqrt(2/(fan_in + fan_out)), on one tensor (instances, features, hidden) of all models, of
    which PyTorch takes features*hidden and instances*hidden: the scale depends on how many models there are.
    """
    return float(np.sqrt(2 / (hidden * (features + instances))))


class Case(NamedTuple):
    """Everything that the models of all densities share. std: of W at the start.  rate: learning rate there."""

    features: int
    hidden: int
    std: float
    rate: float
    steps: int
    batch_size: int
    seed: int

    def key(self, at: At, purpose: int) -> Key[Array, ""]:
        """The key of one purpose of one model."""
        own = jax.random.fold_in(jax.random.key(self.seed, impl=tm.lowbias32), at["instance"])
        return jax.random.fold_in(own, purpose)

    def problem(self, at: At) -> tuple[tm.Task, tm.Loss]:
        """Features of one importance at a density, and the loss of a model of them."""
        task = tm.sparse_features(jnp.ones(self.features), at["density"])
        return task, tm.objective(tm.Autoencoder(self.features, self.hidden), task)

    @property
    def tx(self) -> optax.GradientTransformation:
        """AdamW, whose rate falls to 0 as a cosine."""
        return optax.adamw(optax.cosine_decay_schedule(self.rate, self.steps), weight_decay=WEIGHT_DECAY)

    def begin(self, at: At) -> tm.TrainState:
        """A Gaussian W, and no bias."""
        W = self.std * jax.random.normal(self.key(at, START), (self.hidden, self.features))
        return tm.start({"W": W, "b": jnp.zeros(self.features)}, self.tx)

    def onward(self, at: At, state: tm.TrainState, steps: Array) -> tuple[tm.TrainState, tm.Trajectory]:
        """Train one model on, through some checkpoints."""
        task, loss = self.problem(at)
        key = self.key(at, TRAIN)
        return tm.advance(key, state, steps, loss=loss, task=task, tx=self.tx, batch_size=self.batch_size)

    def estimate(
        self, at: At, params: tm.Params, *, samples: int, nbeta: float, gamma: float, leapfrog: int, sampling: Sampling
    ) -> dict[str, Array]:
        """The loss, lambda-hat, and what the Hessian makes of it, on examples that training has not seen."""
        task, loss = self.problem(at)
        data, held = task.sample(self.key(at, DATA), samples), dict(nbeta=nbeta, gamma=gamma)
        d = self.features * (self.hidden + 1)
        key_top, key_trace = jax.random.split(self.key(at, HESSIAN))
        top = slt.top_eigenvalues(key_top, loss, params, data, k=1, iterations=min(TOP, d)).value[0]
        sampler, chance = slt.hmc(STEP / (nbeta * top + gamma), leapfrog=leapfrog), jnp.sum(jnp.var(data.x, axis=0))
        options: Any = held | sampling._asdict()
        llc = slt.estimate_llc(self.key(at, CHAINS), loss, params, data, sampler, chance=chance, **options)
        lanczos: Any = dict(probes=PROBES, iterations=min(LANCZOS, d), **held)
        gaussian = slt.gaussian_llc_quadrature(key_trace, loss, params, data, **lanczos)
        return llc._asdict() | {
            "chance": chance,
            "gaussian": gaussian.value,
            "gaussian_stderr": gaussian.stderr,
            "slope": slope(loss, params, data, **held),
        }


def slope(loss: tm.Loss, params: tm.Params, data: tm.Batch, *, nbeta: float, gamma: float) -> Float[Array, ""]:
    """What a gradient g at w* takes from lambda-hat: -nbeta^2 g'A^-1 (1 - nbeta H A^-1/2) g, A = nbeta H + gamma."""
    flat, unravel = ravel_pytree(params)
    product = slt.hessian_vector_product(loss, params, data)
    H = lambda v: ravel_pytree(product(unravel(v)))[0]
    g = jax.grad(lambda w: jnp.mean(loss(unravel(w), data)))(flat)
    u = cg(lambda v: nbeta * H(v) + gamma * v, g, maxiter=LANCZOS)[0]
    return -(nbeta**2) * (g @ u - nbeta / 2 * u @ H(u))
