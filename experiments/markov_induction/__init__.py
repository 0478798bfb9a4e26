"""Does the learning coefficient peak where a transformer learns to induce, and does it show more than the loss does?

In-context Markov chains (Edelman et al. 2024, arXiv 2402.11004): two layers of attention first predict uniformly, then
by counts of tokens (unigram), then all at once by counts of pairs (bigram), for which the first layer must attend to
the previous token and the second to what followed the present one. Beside localised chains are another temperature,
loose chains, and each layer alone.
"""

from typing import Annotated, Any, Literal

import numpy as np
import xarray as xr
from typing_extensions import Doc

import slt
import sweeps
from experiments.markov_induction.case import Case
from experiments.markov_induction.report import SETTLE, claims
from experiments.shared.coefficient_curves import Setting
from experiments.shared.ranges import Count, Positive, at_least, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "5-6 min on two cores"
SYMBOLS = (2, 3)
FINE = 3  # readings of the model between two estimates
LONG = slt.Sampling(chains=8, warmup=1000, draws=1000, batch_size=64)
PRESETS = {
    "smoke": dict(most=2, seeds=2, studied=1, steps_2=60, steps_3=60, checkpoints=10, length=8, batch_size=4)
    | dict(sequences=8, sampling=slt.Sampling(chains=2, warmup=2, draws=8, batch_size=4)),
    "default": {},
    "paper": dict(seeds=16, studied=16, steps_2=2000, steps_3=3000, checkpoints=60, length=100, batch_size=64)
    | dict(faster=1.0, sequences=1024, step_size=1e-5, sampling=LONG),
}


@checked
def run(
    *,
    most: Annotated[Literal[2, 3], Doc("largest number of symbols: 2, or 3 for both 2 and 3")] = 3,
    seeds: Annotated[Count, Doc("runs for each number of symbols")] = 8,
    studied: Annotated[Count, Doc("of those with 2 symbols, runs that are also estimated under other settings")] = 3,
    steps_2: Annotated[Count, Doc("of training with 2 symbols")] = 2500,
    steps_3: Annotated[Count, Doc("of training with 3 symbols")] = 900,
    checkpoints: Annotated[int, between(SETTLE + 6, 10**5), Doc("with an estimate, besides one soon after 0")] = 12,
    length: Annotated[int, between(2, 10**4), Doc("tokens that are predicted from")] = 64,
    batch_size: Annotated[Count, Doc("sequences of a training minibatch, all new")] = 32,
    learning_rate: Annotated[Positive, Doc("of AdamW with 2 symbols; few runs form heads at 2e-3")] = 5e-4,
    faster: Annotated[Positive, Doc("by which it is multiplied with 3 symbols")] = 4.0,
    sequences: Annotated[int, between(2, 10**6), Doc("on which the model is compared with the predictors")] = 128,
    nbeta: Annotated[Positive, Doc("n*beta of the localised chains")] = 3000.0,
    cooler: Annotated[Positive, Doc("by which n*beta is divided to see what depends on it, gamma the same")] = 3.0,
    gamma: Annotated[Positive, Doc("strength of the localisation")] = 1000.0,
    step_size: Annotated[Positive, Doc("epsilon of SGLD, of the localised chains")] = 3e-5,
    loose_nbeta: Annotated[Positive, Doc("n*beta of the loose chains")] = 300.0,
    loose_gamma: Annotated[Positive, Doc("strength of their localisation")] = 100.0,
    loose_step: Annotated[Positive, Doc("their epsilon")] = 1e-4,
    sampling: slt.Sampling = slt.Sampling(chains=2, warmup=40, draws=40, batch_size=16),
) -> xr.Dataset:
    """Train with two and three symbols, read what checkpoints predict and attend to, estimate lambda-hat."""
    at_least(FINE * checkpoints, steps_2=steps_2, steps_3=steps_3)
    localised = {"localised": Setting(nbeta, gamma, step_size)}
    others = {
        "lower nbeta": Setting(nbeta / cooler, gamma, step_size),
        "loose": Setting(loose_nbeta, loose_gamma, loose_step),
        "layer 0": Setting(nbeta, gamma, step_size, "attention_0"),
        "layer 1": Setting(nbeta, gamma, step_size, "attention_1"),
    }
    parts, study = [], xr.Dataset()
    for symbols in SYMBOLS[: most - 1]:
        steps, rate = {2: (steps_2, learning_rate), 3: (steps_3, faster * learning_rate)}[symbols]
        case = Case.of(symbols, length, learning_rate=rate, batch_size=batch_size)
        fine, at = schedule(steps, checkpoints)
        grid = sweeps.product(seed=range(seeds))
        runs = sweeps.scan(case.onward, grid, case.begin, fine, name=f"train_{symbols}", block=2)
        reading = lambda at, checkpoint, case=case: case.reading(checkpoint.params, sequences)
        read = sweeps.map(reading, runs, name=f"reading_{symbols}", block=1)
        estimated = runs.at(times=at)
        curve = case.curves(estimated, localised, sampling, name=f"llc_{symbols}").isel(setting=0, drop=True)
        if symbols == SYMBOLS[0]:
            few = estimated.at(points=slice(studied), times=slice(SETTLE, None))
            study = case.curves(few, others, sampling, name="study")
        parts.append(_by_place(read, "reading").merge(_by_place(curve, "estimate")))
    results = xr.concat(parts, xr.DataArray(list(SYMBOLS[: most - 1]), dims="symbols", name="symbols"))
    renamed = study.rename({str(name): f"study_{name}" for name in [*study.data_vars, *study.dims]})
    return results.merge(renamed).assign_attrs(length=length, nbeta=nbeta, gamma=gamma, step_size=step_size)


def plot(results: xr.Dataset) -> Any:
    """What the model predicts; lambda-hat about the transition; other temperatures, each layer."""
    from experiments.markov_induction.figure import draw

    return draw(results)


def schedule(steps: int, checkpoints: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps at which the model is read, and which of them have an estimate: 0, one soon after, then evenly spaced."""
    fine = np.round(np.linspace(0, steps, FINE * checkpoints + 1)).astype(np.int32)
    return fine, np.union1d([1], np.arange(0, len(fine), FINE))


def _by_place(data: xr.Dataset, dim: str) -> xr.Dataset:
    """The data set with checkpoints counted, since other numbers of symbols have other steps: these are a variable."""
    return data.drop_vars("step").rename_dims(step=dim).assign({f"{dim}_step": (dim, data.step.values)})
