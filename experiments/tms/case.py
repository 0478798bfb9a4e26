"""The runs of `tms`: task, model, optimiser, what is read off a checkpoint, and where a curve changes."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import xarray as xr
from jaxtyping import Array

import slt
import sweeps
import toymodels as tm
from experiments.shared import tell
from experiments.shared.coefficient_curves import Setting, curves

At = Mapping[str, Array]  # a point of the grid, with its seed and bias_scale
FEATURES, HIDDEN = 6, 2
START_AT = 4  # vertices of the polygon from which training starts
CHANCE = 1 / 3 - 1 / (4 * FEATURES)  # loss of the best constant prediction
LOSS_NOISE = 1 / (8 * FEATURES**2)  # half the smallest distance between two levels, that of k and k+
SETTLE = 3  # checkpoints at the start, of a model that has not reached a polygon yet, in which no transition is sought
BLOCK = 16  # estimates at a time on a device: their chains fit a core's cache, twice as many run a third slower
DATA, START, TRAIN, CHAINS = range(4)  # purposes of a seed's keys
TASK = tm.one_sparse(FEATURES)
LOSS = tm.objective(tm.Autoencoder(FEATURES, HIDDEN), TASK)
FULL_BATCH = "full batch"
DIMS = {"W": ["hidden", "feature"], "b": ["feature"]}


class Case(NamedTuple):
    """How the runs are trained; each has a data set of its own, of `samples` examples."""

    samples: int
    batch_size: int
    noise: float
    tx: optax.GradientTransformation

    def data(self, at: At) -> tm.Batch:
        """The data set of a run."""
        return TASK.sample(tm.key(at["seed"], DATA), self.samples)

    def begin(self, at: At) -> tm.TrainState:
        """The square with N(0, noise^2) on W, and biases from N(0, bias_scale^2)."""
        key_W, key_b = jax.random.split(tm.key(at["seed"], START))
        W = tm.polygon(START_AT, FEATURES)[0] + self.noise * jax.random.normal(key_W, (HIDDEN, FEATURES))
        return tm.start({"W": W, "b": at["bias_scale"] * jax.random.normal(key_b, (FEATURES,))}, self.tx)

    def onward(self, at: At, state: tm.TrainState, steps: Array) -> tuple[tm.TrainState, tm.Trajectory]:
        """Train one run on, through some checkpoints, on its data set."""
        task = tm.finite(TASK, self.data(at))
        key = tm.key(at["seed"], TRAIN)
        return tm.advance(key, state, steps, loss=LOSS, task=task, tx=self.tx, batch_size=self.batch_size)

    def curves(self, runs: sweeps.Runs, setting: Setting, sampling: slt.Sampling, *, name: str) -> xr.Dataset:
        """lambda-hat on the data set of each run, with the run's key, the same at every checkpoint."""
        key = lambda at: tm.key(at["seed"], CHAINS)
        how: Any = dict(sampling=sampling, chance=CHANCE, name=name, block=BLOCK)
        return curves(LOSS, runs, self.data, key, settings={FULL_BATCH: setting}, **how).isel(setting=0, drop=True)


def of_polygons(nbeta: float, gamma: float, sampling: slt.Sampling) -> xr.Dataset:
    """lambda-hat at the polygons themselves, of the population loss: what an exact estimate is there at this nbeta.

    Of those with five vertices or more: the others are no minima, and chains leave them.
    """
    names = [name for name in tm.levels(FEATURES) if int(name[0]) > START_AT]
    centres = [tm.polygon(int(name[0]), FEATURES, name.count("+")) for name in names]
    W, b = (np.stack([np.asarray(centre[i]) for centre in centres]) for i in range(2))
    loss = lambda params, _: tm.potential(params["W"], params["b"])

    def estimate(at: Any) -> dict[str, Array]:
        how: Any = dict(nbeta=nbeta, gamma=gamma) | sampling._asdict()
        llc = slt.estimate_llc(tm.key(0, CHAINS), loss, at["params"], np.zeros(1), slt.ghmc(), **how)
        return {"level_llc": llc.value, "level_llc_stderr": llc.stderr}

    grid = sweeps.Points({"params": {"W": W, "b": b}}, None, {"theory": np.array(names)})
    return sweeps.map(estimate, grid, name="polygons", block=len(names))


def reading(_: At, checkpoint: tm.Trajectory) -> dict[str, Array]:
    """The weights of one checkpoint, and the exact population loss."""
    return checkpoint.params | {"loss": tm.potential(checkpoint.params["W"], checkpoint.params["b"])}


def named(read: xr.Dataset) -> xr.Dataset:
    """The polygon of each checkpoint, read off W and b; and, of the loss alone, the theory's level nearest to it."""
    models = zip(tell.runs(read.W, "hidden", "feature"), tell.runs(read.b, "feature"), strict=True)
    names = np.array([tm.kgon(W, b) for W, b in models]).reshape(read.loss.shape)
    theory, time = tm.levels(FEATURES), read.loss.dims
    heights = np.array(list(theory.values()))
    distance = np.abs(read.loss.values[..., None] - heights)
    nearest = np.nan_to_num(distance, nan=np.inf).argmin(-1)
    found = {
        "kgon": (time, names, {"long_name": "polygon read off W and b"}),
        "level": (time, np.array(list(theory))[nearest], {"long_name": "level of the theory nearest to the loss"}),
        "level_distance": (time, distance.min(-1), {"units": "E|x - x'|^2"}),
        "level_loss": ("theory", heights, {"units": "E|x - x'|^2"}),
    }
    return read.assign(found).assign_coords(theory=list(theory))


def transitions(results: xr.Dataset) -> xr.Dataset:
    """The jump of the loss (`kgon`, `loss`) or of lambda-hat (`llc`) at each transition, NaN elsewhere."""
    loss, value, stderr, names = (tell.runs(results[name], "step") for name in ("loss", "value", "stderr", "kgon"))
    jumps = {name: np.full(loss.shape, np.nan) for name in ("kgon", "loss", "llc")}
    for name, curve, noise in (("loss", loss, np.full(loss.shape, LOSS_NOISE)), ("llc", value, stderr)):
        for run in range(len(curve)):
            for change in slt.change_points(curve[run, SETTLE:], noise[run, SETTLE:]):
                jumps[name][run, SETTLE + change.index] = change.jump
    for run, sequence in enumerate(names):
        for i in tm.transitions(sequence[SETTLE:].tolist()):
            jumps["kgon"][run, SETTLE + i] = loss[run, SETTLE + i] - loss[run, SETTLE + i - 1]
    dims, shape = results.loss.dims, results.loss.shape
    return xr.Dataset({f"{name}_jump": (dims, values.reshape(shape)) for name, values in jumps.items()})
