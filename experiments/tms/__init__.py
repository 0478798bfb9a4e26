"""Does the learning coefficient mark, or foretell, the moments when a toy model of superposition changes its polygon?

The dynamical phase transitions of Chen, Lau, Mendel, Wei and Murfet 2023 (arXiv 2310.06301): six features in two
dimensions, x = mu e_j, SGD from a square. Training moves between k-gons; the loss falls and lambda-hat rises at each
step. The loss, lambda-hat, and the polygon read off the weights are held against each other.
"""

from typing import Annotated, Any

import jax
import numpy as np
import optax
import xarray as xr
from typing_extensions import Doc

import slt
import sweeps
import toymodels as tm
from experiments.shared.coefficient_curves import Setting
from experiments.shared.ranges import Count, Natural, NonNegative, Positive, at_least, between, checked, multiple
from experiments.tms.case import DIMS, FEATURES, Case, named, of_polygons, reading, transitions
from experiments.tms.report import claims

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

PATIENCE = 20  # how many times longer than of a checkpoint the chains of a polygon are
COST = "2-3 min on two cores"

PRESETS = {
    "smoke": dict(seeds=2, epochs=240, watch=16, horizon=300, read=60, patience=1, step_size=1e-3)
    | dict(sampling=slt.Sampling(2, warmup=10, draws=20)),
    "default": {},
    "paper": dict(seeds=100, watch=1000, sampling=slt.Sampling(chains=10, warmup=100, draws=1000)),
}


@checked
def run(
    *,
    seeds: Annotated[Count, Doc("runs with a curve, for each of the two bias initialisations: zero, normal")] = 12,
    epochs: Annotated[Count, Doc("length of the curves; an epoch is samples/batch_size steps")] = 4500,
    every: Annotated[Count, Doc("epochs between two checkpoints")] = 30,
    watch: Annotated[Count, Doc("runs from zero biases that are watched for leaving the square")] = 96,
    horizon: Annotated[Count, Doc("epoch up to which they are watched")] = 6000,
    read: Annotated[Natural, Doc("epoch at which the forecast is made, a multiple of `every`")] = 360,
    patience: Annotated[Count, Doc("how many times longer the chains of the forecast are than the others")] = 10,
    samples: Annotated[int, between(2, 10**6), Doc("size n of each run's data set; n*beta is n/ln n")] = 1000,
    batch_size: Annotated[Count, Doc("size of a training minibatch")] = 20,
    learning_rate: Annotated[Positive, Doc("of SGD")] = 5e-3,
    noise: Annotated[NonNegative, Doc("standard deviation of the noise on the square at the start")] = 0.01,
    gamma: Annotated[Positive, Doc("strength of the localisation of the chains")] = 1.0,
    step_size: Annotated[Positive | None, Doc("epsilon of SGLD; none: GHMC, which finds its own step")] = None,
    sampling: slt.Sampling = slt.Sampling(chains=4, warmup=300, draws=700),
) -> xr.Dataset:
    """Train, estimate the learning-coefficient curves, find the transitions, read early who will leave the square."""
    at_least(8 * every, epochs=epochs)  # a shorter curve cannot hold a transition
    at_least(max(epochs, read), horizon=horizon)
    multiple(every, epochs=epochs, read=read)
    multiple(batch_size, samples=samples)
    case = Case(samples, batch_size, noise, optax.sgd(learning_rate))
    per_epoch = samples // batch_size
    steps = tm.linear_steps(horizon * per_epoch, every * per_epoch)
    pairs = sweeps.product(bias_scale=[0.0, 1.0], seed=range(max(seeds, watch)))
    wanted = (pairs["bias_scale"] == 0) | (pairs["seed"] < seeds)
    grid = {name: values[wanted] for name, values in pairs.items()}
    runs = sweeps.scan(case.onward, grid, case.begin, steps, name="train")

    studied = runs.at(points=np.flatnonzero(grid["seed"] < seeds), times=slice(epochs // every + 1))
    watched = runs.at(points=np.flatnonzero((grid["bias_scale"] == 0) & (grid["seed"] < watch)))
    nbeta = float(samples / np.log(samples))
    setting = Setting(nbeta, gamma, step_size)
    results = named(sweeps.map(reading, studied, dims=DIMS)).merge(case.curves(studied, setting, sampling, name="llc"))
    results = results.merge(transitions(results)).assign_coords(epoch=("step", results.step.values // per_epoch))

    at_rest = sampling._replace(warmup=PATIENCE * sampling.warmup, draws=PATIENCE * sampling.draws)
    results = results.merge(of_polygons(nbeta, gamma, at_rest).reindex(theory=results.theory))
    patient = sampling._replace(warmup=patience * sampling.warmup, draws=patience * sampling.draws)
    early = case.curves(watched.at(times=[read // every]), setting, patient, name="forecast")
    return results.merge(_forecast(early, watched, read // every)).assign_attrs(
        nbeta=nbeta, gamma=gamma, every=every, read=read, horizon=horizon, samples=samples
    )


def plot(results: xr.Dataset) -> Any:
    """Three runs with their polygons, and the comparison over all runs."""
    from experiments.tms.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _forecast(early: xr.Dataset, watched: sweeps.Runs, read: int) -> xr.Dataset:
    """What is known of each run at checkpoint `read`, and whether it has more than four vertices later."""
    W, b = watched.outputs.params["W"], watched.outputs.params["b"]
    norm = np.linalg.norm(W, axis=2)
    vertices = np.sum(norm > tm.LIVE, axis=2)
    found = {
        "on_square": vertices[:, read] == 4,
        "leaves": (vertices[:, read:] > 4).any(axis=1),
        "read_llc": early.value,
        "read_loss": jax.jit(jax.vmap(tm.potential))(W[:, read], b[:, read]),
        "read_empirical_loss": early.loss_at_centre,
        "read_dead_norm": np.sort(norm[:, read], axis=1)[:, FEATURES - 5],  # of the largest of the two
    }
    return xr.Dataset({name: ("watched", np.ravel(np.asarray(values))) for name, values in found.items()})
