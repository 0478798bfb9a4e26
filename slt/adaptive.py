"""lambda-hat to a stated error, in one call: tuned, and run until the error is met or the budget is spent."""

from collections.abc import Iterator
from functools import partial
from math import sqrt
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from slt import stein
from slt.chains import Chains
from slt.diagnostics import Finding, verdict
from slt.estimate import LLC, Centre, degrees, look, observer, summary
from slt.probing import top_curvature
from slt.samplers import base
from slt.samplers.base import Data, Loss, Number, Params
from slt.samplers.underdamped import COST, ghmc
from slt.statistics import autocorrelation_time

CHUNK = 64  # steps of the chains in one call of the program
FIRST = 4  # chunks before the first look; before each later one, twice as many
WARMUP = 0.25  # of the steps, thrown away
SMALL = 0.25  # lambda-hat below which the error is a share of this
LADDER = tuple(10 ** (i / 2 - 2) for i in range(9))  # gamma, in units of nbeta times the largest curvature at w*
PILOT = 16  # chunks, of each gamma that is tried
LOCAL = {"diverged", "negative", "not a minimum", "escaped", "saturated"}  # cured by a larger gamma
SHORT = {
    "not stationary",
    "too few effective draws",
    "chains disagree",
    "slow directions",
    "imprecise",
}  # by more steps
Walk = Iterator[tuple[int, Chains]]


class Result(NamedTuple):
    """lambda-hat with its standard error, its gamma, what `verdict` finds, its cost, and all the evidence.

    gradients: of the loss on all the data, those that tuning took included.
    """

    value: float
    stderr: float
    gamma: float
    findings: list[Finding]
    gradients: int
    llc: LLC

    def __str__(self) -> str:
        found = "; ".join(f"{kind}: {text}" for kind, text in self.findings) or "nothing found against it"
        how = f"gamma {self.gamma:.3g}, {self.gradients:,} gradients"
        return f"lambda-hat = {self.value:.4g} +- {self.stderr:.2g} ({how}); {found}"


class Held(NamedTuple):
    """What chains are held by: U = nbeta (L + weight_decay/2 |w|^2) + gamma/2 |w - w*|^2, on the free coordinates."""

    nbeta: Number
    gamma: Number
    weight_decay: Number
    mask: PyTree | None


class Problem(NamedTuple):
    """A loss at a point, with what all its chains share. dense: the Hessian is taken for Stein's control variate."""

    loss: Loss
    params: Params
    data: Data
    chains: int
    chance: float | None
    at_centre: float
    dense: bool

    def spent(self, steps: int) -> int:
        """Gradients of the loss that so many steps of all chains take, with tuning and the Hessian."""
        size = sum(leaf.size for leaf in jax.tree.leaves(self.params))
        return self.chains * steps + COST + (stein.PRODUCT * size if self.dense else 0)


def llc(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    *,
    nbeta: float,
    gamma: float | None = None,
    stderr: float = 0.02,
    chains: int = 4,
    gradients: int = 400_000,
    weight_decay: float = 0.0,
    mask: PyTree | None = None,
    chance: float | None = None,
) -> Result:
    """lambda-hat(w*) at w* = `params` up to a relative standard error `stderr`, by `ghmc` with its own step and metric.

    gamma None: the least of a ladder at which a short run finds no trouble that a larger gamma cures. The first quarter
    of the steps is warm-up. Chains go on until the error is met, as seen in the first half of the draws, and `verdict`
    finds nothing that longer ones mend, or until `gradients` of the loss on all the data are spent; `findings` says
    what is missing then. The error is a share of lambda-hat, or of 1/4 where that is larger. On the host.
    """
    base.require("> 0", nbeta=nbeta, stderr=stderr)
    base.require(">= 1", chains=chains, gradients=gradients)
    at_centre = float(jax.jit(base.mean_loss, static_argnums=0)(loss, params, data))
    dense = stein.affords(params, FIRST**2 * CHUNK * chains)
    problem = Problem(loss, params, data, chains, chance, at_centre, dense)
    key_gamma, key_run = jax.random.split(key)
    held, before = Held(nbeta, 0.0 if gamma is None else gamma, weight_decay, mask), 0
    if gamma is None:
        held, before = _least_gamma(key_gamma, problem, held)
    decided = False  # by the first half of the draws: what they happen to miss makes their error too small as well
    for steps, record in _walk(key_run, problem, held):
        used = before + problem.spent(steps)
        last = before + problem.spent(2 * steps) > gradients
        if last or decided:
            estimate = _estimate(record, problem, held)
            found = verdict(estimate) + _missed(estimate, stderr, used)
            if last or not SHORT.intersection(finding.kind for finding in found):
                value, error = float(estimate.value), float(estimate.stderr)
                return Result(value, error, float(held.gamma), found, used, estimate)
        trace = nbeta * (np.asarray(record.loss) - at_centre)
        decided = decided or _error(trace, record.seen.control) <= sqrt(2) * stderr
    raise AssertionError("a walk has no end")


def _missed(estimate: LLC, stderr: float, used: int) -> list[Finding]:
    """Whether the error is larger than was asked."""
    short = float(estimate.stderr) / (stderr * max(abs(float(estimate.value)), SMALL))
    if short <= 1:
        return []
    text = f"the standard error is {short:.2g} times what was asked; allow gradients={used * short**2:.0f}"
    return [Finding("imprecise", text)]


def _walk(key: Key[Array, ""], problem: Problem, held: Held) -> Walk:
    """(steps, the draws of all but the first quarter of them), at looks that are ever further apart."""
    key_init, key_steps = jax.random.split(key)
    keys, records, due = jax.random.split(key_steps, problem.chains), [], FIRST
    at = problem.loss, problem.params, problem.data, held
    centre, states = _begin(jax.random.split(key_init, problem.chains), *at, problem.dense)
    while True:
        states, record = _onward(keys, states, centre, len(records) * CHUNK, *at)
        records.append(jax.device_get(record))
        if len(records) == due:
            kept = records[round(WARMUP * due) :]
            due = 2 * due
            yield len(records) * CHUNK, jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *kept)


@partial(jax.jit, static_argnames=("loss", "dense"))
def _begin(
    keys: Key[Array, " chains"], loss: Loss, params: Params, data: Data, held: Held, dense: bool
) -> tuple[Centre, Any]:
    """What is known at w*, and the first states of the chains."""
    potential = base.localised(loss, data, params, **held._asdict())
    states = jax.vmap(lambda key: ghmc().init(key, params, potential))(keys)
    return look(loss, params, data, dense=dense, **held._asdict()), states


@partial(jax.jit, static_argnames="loss")
def _onward(
    keys: Key[Array, " chains"],
    states: Any,
    centre: Centre,
    first: Array | int,
    loss: Loss,
    params: Params,
    data: Data,
    held: Held,
) -> tuple[Any, Chains]:
    """The chains `CHUNK` steps further, and the draws on the way."""
    sampler, potential = ghmc(), base.localised(loss, data, params, **held._asdict())
    observe = observer(params, centre, nbeta=held.nbeta, mask=held.mask)

    def step(carry: tuple[Any, Array], t: Array) -> Any:
        state, key = carry
        seen = observe(state.params, state.grad)
        state, info = sampler.step(jax.random.fold_in(key, t), state, potential)
        return (state, key), (info.loss, info.acceptance, seen)

    chain = lambda state, key: jax.lax.scan(step, (state, key), first + jnp.arange(CHUNK))
    (states, _), (L, acceptance, seen) = jax.vmap(chain)(states, keys)
    return states, Chains(L, acceptance, (), seen)


def _estimate(record: Chains, problem: Problem, held: Held) -> LLC:
    """The estimate that the draws make."""
    free = jax.device_get(degrees(problem.params, held.mask))
    numbers = held.nbeta, problem.at_centre, free, problem.chance
    return jax.device_get(_summary(record, *numbers))


@jax.jit
def _summary(record: Chains, nbeta: Number, at_centre: Number, free: dict, chance: Number | None) -> LLC:
    known: Any = dict(exact=True, rejects=True, free=free, chance=chance)
    return summary(record, nbeta=nbeta, loss_at_centre=jnp.asarray(at_centre), **known)


def _least_gamma(key: Key[Array, ""], problem: Problem, held: Held) -> tuple[Held, int]:
    """The least gamma of `LADDER` whose short run finds nothing that a larger one cures, and the gradients spent."""
    loss, params, data, used = problem.loss, problem.params, problem.data, 0
    curvature = jax.jit(top_curvature, static_argnums=1)(jax.random.key(0), loss, params, data, mask=held.mask)
    unit = held.nbeta * max(float(curvature), 1e-6)
    for i, relative in enumerate(LADDER):
        held = held._replace(gamma=unit * relative)
        walk = _walk(jax.random.fold_in(key, i), problem, held)
        steps, record = next(each for each in walk if each[0] >= PILOT * CHUNK)
        used += problem.spent(steps)
        if LOCAL.isdisjoint(finding.kind for finding in verdict(_estimate(record, problem, held))):
            break
    return held, used


def _error(trace: np.ndarray, control: Any) -> float:
    """The relative standard error that the draws seem to have, quickly."""
    better = np.asarray(stein.corrected(jnp.asarray(trace), jnp.asarray(control)))
    errors = [draws.std() * np.sqrt(autocorrelation_time(draws) / draws.size) for draws in (trace, better)]
    return min(errors) / max(abs(trace.mean()), SMALL)
