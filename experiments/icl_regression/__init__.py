"""Which stages of in-context linear regression does the learning coefficient see once its chains are localised?

Hoogland et al. 2024 (arXiv 2402.02364): a transformer first learns to predict zero (LR1), then to regress in context
(LR2). Here one trajectory is estimated under loose settings, as published, and localised ones at two temperatures.

Not as published: blocks add to the residual stream once, initial weights differ, the output has no bias, and the chains
of `paper` draw from 2^16 sequences, not 2^20: L(w*) is of all of them at once.
"""

from typing import Annotated, Any

import numpy as np
import xarray as xr
from typing_extensions import Doc

import slt
import sweeps
import toymodels as tm
from experiments.icl_regression.case import CHAINS, INIT, Case, triangle
from experiments.icl_regression.report import boundaries, claims
from experiments.shared.coefficient_curves import Setting, curves
from experiments.shared.ranges import Count, Positive, at_least, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "3-4 min on two cores"
BLOCK = 4  # estimates at a time on a device

SMALL = dict(seeds=2, steps=60, first=5, checkpoints=7, layers=1, heads=1, width=8, mlp=0, train_batch=16, samples=64)
PUBLISHED = dict(seeds=5, steps=500_000, first=100, checkpoints=190, train_batch=256, samples=2**16)
PUBLISHED_MODEL = dict(dimensions=4, width=64, heads=4, mlp=64)
PUBLISHED_CHAINS = dict(loose_nbeta=66.7, loose_gamma=6.67, loose_step_size=3e-4)

PRESETS = {
    "smoke": SMALL | dict(sampling=slt.Sampling(chains=2, warmup=4, draws=8, batch_size=16)),
    "default": {},
    "paper": PUBLISHED
    | PUBLISHED_MODEL
    | PUBLISHED_CHAINS
    | dict(sampling=slt.Sampling(chains=10, warmup=1000, draws=5000, batch_size=1024)),
}


@checked
def run(
    *,
    seeds: Annotated[Count, Doc("training runs")] = 3,
    steps: Annotated[Count, Doc("of Adam; the rate rises linearly to the middle and falls to 0")] = 3000,
    first: Annotated[Count, Doc("checkpoint after the start; from it on they are evenly spaced in log(step)")] = 30,
    checkpoints: Annotated[int, between(7, 10**5), Doc("of each run")] = 16,
    peak_rate: Annotated[Positive, Doc("largest learning rate")] = 3e-3,
    train_batch: Annotated[Count, Doc("sequences of a training step, fresh ones")] = 128,
    dimensions: Annotated[int, between(1, 10**4), Doc("D of the inputs")] = 2,
    examples: Annotated[int, between(2, 10**4), Doc("K pairs in a sequence")] = 8,
    variance: Annotated[Positive, Doc("of the noise on y")] = 0.125,
    width: Annotated[int, between(1, 10**4), Doc("of the residual stream")] = 32,
    layers: Annotated[int, between(1, 100), Doc("of attention and MLP")] = 2,
    heads: Annotated[int, between(1, 10**3), Doc("of attention, in each layer")] = 2,
    mlp: Annotated[int, between(0, 10**5), Doc("hidden units of each layer")] = 32,
    samples: Annotated[Count, Doc("sequences of the chains' fixed data; as many others measure the model")] = 2048,
    loose_nbeta: Annotated[Positive, Doc("n*beta of the loose chains")] = 60.0,
    loose_gamma: Annotated[Positive, Doc("localisation of the loose chains")] = 6.0,
    loose_step_size: Annotated[Positive, Doc("epsilon of the loose chains")] = 1e-3,
    nbeta: Annotated[Positive, Doc("n*beta of the localised chains")] = 1000.0,
    other_nbeta: Annotated[Positive, Doc("n*beta at which they run a second time")] = 300.0,
    gamma: Annotated[Positive, Doc("localisation of the localised chains")] = 1000.0,
    step_size: Annotated[Positive, Doc("epsilon of the localised chains")] = 1e-5,
    sampling: slt.Sampling = slt.Sampling(chains=2, warmup=100, draws=100, batch_size=64),
) -> xr.Dataset:
    """Train, measure against ridge regression, estimate the curves, find where they change."""
    at_least(first + checkpoints, steps=steps)
    at_least(sampling.batch_size or 1, samples=samples)
    model = tm.Transformer(dimensions + 1, 1, width, heads, layers, 2 * examples, mlp=mlp, W_init=INIT, E_init=INIT)
    tx, noise = triangle(peak_rate, steps), float(np.sqrt(variance))
    case = Case(model, tx, dimensions, examples, noise, train_batch, samples)
    times = tm.union(np.array([0]), np.round(np.geomspace(first, steps, checkpoints - 1)).astype(int))
    runs = sweeps.scan(case.onward, sweeps.product(seed=range(seeds)), case.begin, times, name="train", block=seeds)
    read = sweeps.map(case.reading, runs, name="measured", block=1)
    chance = dimensions + variance  # the loss of the zero predictor
    found = curves(
        case.loss,
        runs,
        case.data,
        lambda at: tm.key(at["seed"], CHAINS),
        settings={
            "loose": Setting(loose_nbeta, loose_gamma, loose_step_size),
            "localised": Setting(nbeta, gamma, step_size),
            "localised, hotter": Setting(other_nbeta, gamma, step_size),
        },
        sampling=sampling,
        chance=chance,
        block=BLOCK,
    )
    results = read.merge(found).assign_attrs(chance=chance)
    return results.merge(boundaries(results))


def plot(results: xr.Dataset) -> Any:
    """What is learned, the curves under loose and localised settings, and where each places the stages."""
    from experiments.icl_regression.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)
