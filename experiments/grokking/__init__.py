"""Does the learning coefficient announce grokking before the test loss does, and what announces it that is simpler?

Modular addition with weight decay (Power et al. 2022, arXiv 2201.02177; Nanda et al. 2023, arXiv 2301.05217): a network
answers the questions it is trained on after a hundred steps, and the others thousands of steps later. lambda-hat falls
all the while. Whether that announces anything is asked of every number that falls or rises in the meantime, with the
same detector, which knows the past alone, and on runs that memorise and never grok as well. The definitions are in
`experiments.grokking.announce`, and were made before the results.
"""

from typing import Annotated, Any

import numpy as np
import xarray as xr
from typing_extensions import Doc

import slt
import sweeps
import toymodels as tm
from experiments.grokking.case import BLOCK, CHAINS, mlp, runs
from experiments.grokking.report import claims
from experiments.shared.coefficient_curves import Setting, curves
from experiments.shared.ranges import Count, Natural, Positive, at_least, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "4-5 min on two cores"
EARLY = 50, 100, 150  # checkpoints around memorisation
SHORTEST = 8  # checkpoints of a curve that can hold a boundary

SHORT = slt.Sampling(chains=2, warmup=2, draws=8, batch_size=256)
LONG = slt.Sampling(chains=4, warmup=200, draws=1000, batch_size=256)
PRESETS = {
    "smoke": dict(seeds=2, controls=1, steps=90, every=10, sampling=SHORT),
    "default": {},
    "paper": dict(seeds=20, controls=20, every=100, steps=10000, sampling=LONG),
}


@checked
def run(
    *,
    seeds: Annotated[Count, Doc("runs that may grok: questions, start and chains are by seed")] = 8,
    controls: Annotated[Natural, Doc("runs of each of the two kinds that memorise and never grok")] = 3,
    steps: Annotated[Count, Doc("of full-batch AdamW")] = 6000,
    every: Annotated[Count, Doc("steps between two checkpoints; there are also 50, 100 and 150")] = 300,
    learning_rate: Annotated[Positive, Doc("of AdamW")] = 3e-3,
    nbeta: Annotated[Positive, Doc("n*beta of the first setting; gamma is as large")] = 100.0,
    colder: Annotated[
        float, between(1.1, 1e6), Doc("by which both are larger in the second setting, and steps smaller")
    ] = 10.0,
    step_size: Annotated[Positive, Doc("epsilon of SGLD in the first setting")] = 5e-4,
    sampling: slt.Sampling = slt.Sampling(chains=2, warmup=50, draws=90, batch_size=256),
) -> xr.Dataset:
    """Train, read every checkpoint, and estimate it at two temperatures."""
    at_least(SHORTEST * every, steps=steps)
    settings = {
        f"nbeta = {nbeta:g}": Setting(nbeta, nbeta, step_size),
        f"nbeta = {colder * nbeta:g}": Setting(colder * nbeta, colder * nbeta, step_size / colder),
    }
    at = tm.union(tm.linear_steps(steps, every), np.array([t for t in EARLY if t < steps]))
    case, (grid, kinds) = mlp(learning_rate), runs(seeds, controls)
    trained = sweeps.scan(case.onward, grid, case.begin, at, name="train", block=1)
    read = sweeps.map(case.reading, trained, name="reading", block=1)
    estimates = curves(
        case.loss,
        trained,
        case.questions,
        lambda at: tm.key(at["seed"], CHAINS),
        settings=settings,
        sampling=sampling,
        chance=tm.entropies(case.p).answer,  # of the best constant answer
        block=BLOCK,
    )
    return read.merge(estimates).assign_coords(kind=("run", kinds), seed=("run", grid.at["seed"]))


def plot(results: xr.Dataset) -> Any:
    """One run of each kind, and the leads of the announcers."""
    from experiments.grokking.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)
