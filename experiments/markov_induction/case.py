"""The runs of `markov_induction`: model, optimiser, and what is read off one checkpoint."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Float, PyTree

import slt
import sweeps
import toymodels as tm
from experiments.shared.coefficient_curves import Setting, curves

At = Mapping[str, Array]  # a point of the grid
WIDTH = 16
DATA_SIZE = 512  # sequences that an estimate's minibatches are drawn from
DECAYED = ("W_Q", "W_K", "W_V", "W_O", "W_U")  # linear maps: not the embedding, norms and vectors of distances
START, TRAIN, DATA, CHAINS = range(4)  # purposes of a seed's keys


class Case(NamedTuple):
    """Everything about the runs with one number of symbols."""

    symbols: int
    length: int
    task: tm.Task
    model: tm.Transformer
    loss: tm.Loss
    tx: optax.GradientTransformation
    batch_size: int

    @classmethod
    def of(cls, symbols: int, length: int, *, learning_rate: float, batch_size: int) -> "Case":
        """Two layers of one head without MLPs, and AdamW as in the source, gradients cut at 1."""
        task = tm.markov_chains(symbols, length)
        sizes: Any = dict(vocabulary=symbols, outputs=symbols, width=WIDTH, heads=1, layers=2, context=length)
        model = tm.Transformer(**sizes, positions="relative")
        decayed = functools.partial(jax.tree.map_with_path, lambda path, _: path[-1].key in DECAYED)
        adamw = optax.adamw(learning_rate, 0.9, 0.95, weight_decay=0.1, mask=decayed)
        tx = optax.chain(optax.clip_by_global_norm(1.0), adamw)
        return cls(symbols, length, task, model, tm.objective(model, task), tx, batch_size)

    def begin(self, at: At) -> tm.TrainState:
        """Weights from N(0, .02^2), those that write to the stream from N(0, .01^2), as in the source."""
        key = tm.key(at["seed"], START)
        params = self.model.init(key, jnp.zeros(self.length, int))["params"]
        paths, tree = jax.tree.flatten_with_path(params)

        def weight(i: int, name: str, leaf: Array) -> Array:
            scale = 0.01 if name == "W_O" else 0.02
            return scale * jax.random.normal(jax.random.fold_in(key, i), leaf.shape) if name.startswith("W_") else leaf

        leaves = [weight(i, path[-1].key, leaf) for i, (path, leaf) in enumerate(paths)]  # type: ignore[attr-defined]
        return tm.start(jax.tree.unflatten(tree, leaves), self.tx)

    def onward(self, at: At, state: tm.TrainState, steps: Array) -> tuple[tm.TrainState, tm.Trajectory]:
        """Train one run on, through some checkpoints."""
        key = tm.key(at["seed"], TRAIN)
        return tm.advance(key, state, steps, loss=self.loss, task=self.task, tx=self.tx, batch_size=self.batch_size)

    def curves(
        self, runs: sweeps.Runs, settings: Mapping[str, Setting], sampling: slt.Sampling, *, name: str
    ) -> xr.Dataset:
        """lambda-hat on a data set of each run's own; its saturation is towards the uniform prediction."""
        one = jax.tree.map(lambda leaf: leaf[0, 0], runs.outputs.params)
        masks = {part: mask for part, mask in slt.blocks(one, depth=1).items() if part.startswith("attention")}
        data = lambda at: self.task.sample(tm.key(at["seed"], DATA), DATA_SIZE)
        key = lambda at: tm.key(at["seed"], CHAINS)
        how: Any = dict(sampling=sampling, chance=float(np.log(self.symbols)), name=name, block=1)
        return curves(self.loss, runs, data, key, settings=settings, masks=masks, **how)

    def reading(self, params: PyTree, n: int) -> dict[str, Float[Array, ""]]:
        """Of one checkpoint on n new sequences: KL from each predictor, attention to the previous token."""
        key_P, key_x = jax.random.split(jax.random.fold_in(tm.key(0, DATA), 1))
        P = tm.transition_matrices(key_P, n, self.symbols)
        tokens = tm.sequences(key_x, P, self.length + 1)

        def one(P: Array, x: Array) -> dict[str, Array]:
            logits: Any = self.model.apply({"params": params}, x)
            log_q, first = jax.nn.log_softmax(logits), tm.patterns(self.model, params, x)[0][0]
            divergences = {f"kl_{name}": jnp.mean(tm.kl(p, log_q)) for name, p in tm.predictors(x, P).items()}
            return divergences | {"previous": tm.previous_token_score(first)}

        each = jax.vmap(one)(P, tokens[:, :-1])
        mean = {name: jnp.mean(values) for name, values in each.items()}
        return mean | {"kl_bigram_stderr": jnp.std(each["kl_bigram"]) / jnp.sqrt(n)}
