"""Does the learning coefficient peak where a transformer learns to induce, and does it show more than the loss does?

In-context Markov chains (Edelman et al. 2024, arXiv 2402.11004): two layers of attention first predict uniformly, then
by counts of tokens (unigram), then all at once by counts of pairs (bigram), for which the first layer must attend to
the previous token and the second to what followed the present one. Chains are localised and their baseline paired;
beside them are another temperature, loose chains, and each layer alone.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Key
from typing_extensions import Doc

from experiments import sweep
from experiments.curves import Setting, curves
from experiments.experiment import at_least, positive
from experiments.markov_induction.report import SETTLE, claims
from experiments.markov_induction.runs import Case, begin, readings, trainer
from slt.refined import blocks
from toymodels.training import TrainState

__all__ = ["PRESETS", "claims", "plot", "run"]

SYMBOLS = (2, 3)
FINE = 3  # readings of the model between two estimates
DATA = 512  # sequences that an estimate's minibatches are drawn from

PRESETS = {
    "smoke": dict(
        most=2, seeds=2, studied=1, steps_2=60, steps_3=60, checkpoints=10, length=8, batch_size=4, sequences=8, chains=2,
        warmup=2, draws=8, chain_batch=4,
    ),
    "default": {},
    "paper": dict(
        seeds=16, studied=16, steps_2=2000, steps_3=3000, checkpoints=60, length=100, batch_size=64, faster=1.0,
        sequences=1024, step_size=1e-5, chains=8, warmup=1000, draws=1000, chain_batch=64,
    ),
}  # fmt: skip


def run(
    *,
    most: Annotated[int, Doc("largest number of symbols: 2, or 3 for both 2 and 3")] = 3,
    seeds: Annotated[int, Doc("runs for each number of symbols")] = 8,
    studied: Annotated[int, Doc("of those with 2 symbols, runs that are also estimated under other settings")] = 3,
    steps_2: Annotated[int, Doc("of training with 2 symbols")] = 2500,
    steps_3: Annotated[int, Doc("of training with 3 symbols")] = 900,
    checkpoints: Annotated[int, Doc("with an estimate, evenly spaced, besides the start and one soon after")] = 12,
    length: Annotated[int, Doc("tokens that are predicted from")] = 64,
    batch_size: Annotated[int, Doc("sequences of a training minibatch, all new")] = 32,
    learning_rate: Annotated[float, Doc("of AdamW with 2 symbols: at 2e-3 seven of eight runs form no heads")] = 5e-4,
    faster: Annotated[float, Doc("by which it is multiplied with 3 symbols")] = 4.0,
    sequences: Annotated[int, Doc("on which the model is compared with the predictors")] = 128,
    nbeta: Annotated[float, Doc("n*beta of the localised chains")] = 3000.0,
    cooler: Annotated[float, Doc("by which n*beta is divided to see what depends on it, gamma the same")] = 3.0,
    gamma: Annotated[float, Doc("strength of the localisation")] = 1000.0,
    step_size: Annotated[float, Doc("epsilon of SGLD, of the localised chains")] = 3e-5,
    loose_nbeta: Annotated[float, Doc("n*beta of the loose chains")] = 300.0,
    loose_gamma: Annotated[float, Doc("strength of their localisation")] = 100.0,
    loose_step: Annotated[float, Doc("their epsilon")] = 1e-4,
    chains: Annotated[int, Doc("chains for an estimate")] = 2,
    warmup: Annotated[int, Doc("steps thrown away at the start of each chain")] = 40,
    draws: Annotated[int, Doc("draws of each chain")] = 40,
    chain_batch: Annotated[int, Doc("sequences of a chain's minibatch")] = 16,
) -> xr.Dataset:
    """Train at both numbers of symbols, read off what each checkpoint predicts and attends to, estimate its coefficients."""
    if most not in SYMBOLS:
        raise ValueError(f"got most={most}: write --most 2 or --most 3")
    at_least(1, seeds=seeds, studied=studied, batch_size=batch_size, chains=chains, length=length)
    at_least(2, sequences=sequences, length=length)
    at_least(0, warmup=warmup)
    at_least(8, draws=draws)
    at_least(SETTLE + 6, checkpoints=checkpoints)
    at_least(FINE * checkpoints, steps_2=steps_2, steps_3=steps_3)
    positive(learning_rate=learning_rate, faster=faster, nbeta=nbeta, cooler=cooler, gamma=gamma, step_size=step_size)
    positive(loose_nbeta=loose_nbeta, loose_gamma=loose_gamma, loose_step=loose_step)
    held = {"localised": Setting(nbeta, gamma, step_size)}
    others = {
        "lower nbeta": Setting(nbeta / cooler, gamma, step_size),
        "loose": Setting(loose_nbeta, loose_gamma, loose_step),
        "layer 0": Setting(nbeta, gamma, step_size, "attention_0"),
        "layer 1": Setting(nbeta, gamma, step_size, "attention_1"),
    }
    lengths = dict(chains=chains, warmup=warmup, draws=draws, batch_size=chain_batch)
    parts, study = [], xr.Dataset()
    runs = zip(SYMBOLS[: most - 1], (steps_2, steps_3), (learning_rate, faster * learning_rate), strict=False)
    for symbols, steps, rate in runs:
        case = Case.of(symbols, length, learning_rate=rate, batch_size=batch_size)
        fine, at = _schedule(steps, checkpoints)
        params = _train(case, range(seeds), fine)
        rows = jax.tree.map(lambda leaf, at=at: leaf[:, at], params)
        curve = _estimates(case, rows, range(seeds), held, lengths=lengths, name=f"llc_{symbols}")
        if symbols == SYMBOLS[0]:
            few = jax.tree.map(lambda leaf: leaf[:studied, SETTLE:], rows)
            made = _estimates(case, few, range(min(studied, seeds)), others, lengths=lengths, name="study")
            study = _study(curve, made)
        read = _readings(case, params, fine, sequences)
        parts.append(read.merge(curve.isel(setting=0, drop=True)).assign(step=("time", fine[at])))
    both = xr.concat(parts, xr.DataArray(list(SYMBOLS[: most - 1]), dims="symbols", name="symbols"))
    return both.merge(study).assign_attrs(length=length, nbeta=nbeta, gamma=gamma, step_size=step_size, fine=FINE)


def plot(results: xr.Dataset) -> Any:
    """What the model predicts and attends to; lambda-hat about the transition; other temperatures, each layer."""
    from experiments.markov_induction.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _key(seed: Any, purpose: str) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.key(seed), ("start", "train", "data", "chains").index(purpose))


def _schedule(steps: int, checkpoints: int) -> tuple[np.ndarray, np.ndarray]:
    """Steps at which the model is read, and which of them have an estimate: 0, one soon after, then evenly spaced."""
    fine = np.round(np.linspace(0, steps, FINE * checkpoints + 1)).astype(np.int32)
    return fine, np.union1d([1], np.arange(0, len(fine), FINE))


def _train(case: Case, seeds: Sequence[int], checkpoints: np.ndarray) -> Any:
    """All runs with one number of symbols as one sweep: parameters with the axes (run, time)."""
    runs = sweep.product(seed=seeds)
    start = jax.vmap(lambda p: begin(_key(p["seed"], "start"), case), out_axes=TrainState._make((None, 0, 0)))
    train_on = trainer(case, lambda seed: _key(seed, "train"))
    return sweep.train(train_on, runs, jax.jit(start)(runs), checkpoints, name=f"train_{case.symbols}").params


def _estimates(
    case: Case, params: Any, seeds: Sequence[int], settings: dict[str, Setting], *, lengths: dict[str, int], name: str
) -> xr.Dataset:
    """lambda-hat of checkpoints on a data set of each run's own; its saturation is towards the uniform prediction."""
    one = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[2:], leaf.dtype), params)
    masks = {part: mask for part, mask in blocks(one, depth=1).items() if part.startswith("attention")}
    whole = all(setting.block == "all" for setting in settings.values())
    return curves(
        lambda seed: _key(seed, "chains"), case.loss, params, lambda seed: case.task.sample(_key(seed, "data"), DATA),
        seeds=np.array(seeds), settings=settings, masks=None if whole else masks, chance=float(np.log(case.symbols)),
        name=name, block=1, **lengths,
    )  # fmt: skip


def _readings(case: Case, params: Any, fine: np.ndarray, sequences: int) -> xr.Dataset:
    """What every checkpoint predicts and attends to, on the same new sequences: axes (run, reading)."""
    point = lambda p: readings(_key(0, "data"), case, p, sequences)
    shape = jax.tree.leaves(params)[0].shape[:2]
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), params)
    found = sweep.run(point, flat, name=f"readings_{case.symbols}", block=1)
    variables = {name: (("run", "reading"), values.values.reshape(shape)) for name, values in found.items()}
    return xr.Dataset(variables).assign(reading_step=("reading", fine))


def _study(curve: xr.Dataset, others: xr.Dataset) -> xr.Dataset:
    """The other settings beside the localised one on the same checkpoints, under names of their own."""
    few = curve.isel(run=slice(others.sizes["run"]), time=slice(SETTLE, None))
    both = xr.concat([few, others], "setting")
    return both.rename({str(name): f"study_{name}" for name in [*both.data_vars, *both.dims]})
