"""Does the learning coefficient announce grokking before the test loss does, and what announces it that is simpler?

Modular addition with weight decay (Power et al. 2022, arXiv 2201.02177; Nanda et al. 2023, arXiv 2301.05217): a network
answers the questions it is trained on after a hundred steps, and the others thousands of steps later. lambda-hat falls
all the while. Whether that announces anything is asked of every number that falls or rises in the meantime, with the
same detector, which knows the past alone, and on runs that memorise and never grok as well. The definitions are in
`experiments.grokking.announce`, and were made before the results.
"""

from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import xarray as xr
from typing_extensions import Doc

from experiments.curves import Setting, curves
from experiments.experiment import at_least, positive
from experiments.grokking.announce import boundaries
from experiments.grokking.cases import Case, key, kinds, loss, measured, mlp, runs, train_set, trained, transformer
from experiments.grokking.report import claims
from toymodels.tasks.modular_arithmetic import entropies
from toymodels.training import linear, union

__all__ = ["PRESETS", "claims", "plot", "run"]

EARLY = 50, 100, 150  # checkpoints around memorisation
BLOCK = 2  # estimates at a time on a device: their chains fit a core's cache

PRESETS = {
    "smoke": dict(seeds=2, controls=1, transformers=0, steps=90, every=10, chains=2, warmup=2, draws=8),
    "default": {},
    "paper": dict(seeds=20, controls=20, transformers=8, transformer_controls=4, every=100, steps=10000, chains=4, warmup=200, draws=1000),
}  # fmt: skip


def run(
    *,
    seeds: Annotated[int, Doc("runs of the MLP that may grok: questions, start and chains are by seed")] = 8,
    controls: Annotated[int, Doc("runs of the MLP of each of the two kinds that memorise and never grok")] = 3,
    transformers: Annotated[int, Doc("runs of the transformer that may grok")] = 2,
    transformer_controls: Annotated[int, Doc("runs of the transformer of each kind that never groks")] = 0,
    steps: Annotated[int, Doc("of full-batch AdamW")] = 6000,
    every: Annotated[int, Doc("steps between two checkpoints; there are also 50, 100 and 150")] = 300,
    learning_rate: Annotated[float, Doc("of the MLP; the transformer takes two thirds of it")] = 3e-3,
    nbeta: Annotated[float, Doc("n*beta of the first setting; gamma is as large")] = 100.0,
    colder: Annotated[
        float, Doc("by which n*beta and gamma are larger in the second setting, and steps smaller")
    ] = 10.0,
    step_size: Annotated[float, Doc("epsilon of SGLD in the first setting")] = 5e-4,
    batch_size: Annotated[int, Doc("size of the chains' minibatches, whose baseline is paired")] = 256,
    chains: Annotated[int, Doc("chains for an estimate")] = 2,
    warmup: Annotated[int, Doc("steps thrown away at the start of each chain")] = 50,
    draws: Annotated[int, Doc("draws of each chain")] = 90,
) -> xr.Dataset:
    """Train, measure every checkpoint, estimate it at two temperatures, find the boundaries of stages."""
    at_least(1, seeds=seeds, every=every, chains=chains, batch_size=batch_size)
    at_least(0, controls=controls, transformers=transformers, transformer_controls=transformer_controls, warmup=warmup)
    at_least(8, draws=draws)
    at_least(8 * every, steps=steps)  # a shorter curve cannot hold a boundary
    positive(learning_rate=learning_rate, nbeta=nbeta, colder=colder, step_size=step_size)
    settings = {
        f"nbeta = {nbeta:g}": Setting(nbeta, nbeta, step_size),
        f"nbeta = {colder * nbeta:g}": Setting(colder * nbeta, colder * nbeta, step_size / colder),
    }
    checkpoints = union(linear(steps, every), np.array([t for t in EARLY if t < steps]))
    length: dict[str, Any] = dict(chains=chains, warmup=warmup, draws=draws, batch_size=batch_size)
    parts = [_case(mlp(learning_rate), (seeds, controls), checkpoints, settings, length)]
    if transformers + transformer_controls:
        counts = (transformers, transformer_controls)
        parts.append(_case(transformer(learning_rate * 2 / 3), counts, checkpoints, settings, length))
    results = xr.concat(parts, dim="run", coords="different", compat="equals", data_vars="all", join="exact")
    for name in ("nbeta", "gamma", "step_size", "block"):
        results[name] = parts[0][name]
    return results.merge(boundaries(results))


def plot(results: xr.Dataset) -> Any:
    """One run of each kind, and the table of leads."""
    from experiments.grokking.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _case(
    case: Case, counts: tuple[int, int], checkpoints: np.ndarray, settings: dict[str, Setting], length: dict[str, Any]
) -> xr.Dataset:
    """The runs of one network with everything known of their checkpoints."""
    points = runs(*counts)
    params = trained(case, points, checkpoints).params
    own = {name: jnp.asarray(points[name]) for name in ("seed", "repeat")}
    llc = curves(
        lambda run: key(own["seed"][run], "chains"), loss(case), params,
        lambda run: train_set(case, own["seed"][run], own["repeat"][run]),
        seeds=np.arange(len(points["seed"])), settings=settings, chance=entropies(case.p).answer,
        name=f"llc-{case.name}", block=BLOCK, **length,
    )  # fmt: skip
    numbers = {name: (("run", "time"), values) for name, values in measured(case, points, params).items()}
    coordinates = {
        "step": ("time", checkpoints, {"units": "steps"}),
        "seed": ("run", points["seed"]),
        "kind": ("run", np.array(kinds(*counts))),
        "model": ("run", np.array([case.name] * len(points["seed"]))),
        "p": ("run", np.full(len(points["seed"]), case.p)),
    }
    return llc.merge(xr.Dataset(numbers)).assign_coords(coordinates)
