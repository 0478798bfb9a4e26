"""One setting of a sampler for a whole trajectory of checkpoints, from short runs, and why it was chosen."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil, isfinite, log
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, Key, PyTree, Scalar
from scipy.stats import norm

from slt.chains import Fold, run_chains
from slt.curves import rows
from slt.diagnostics import MIN_EFFECTIVE_PER_CHAIN, verdict
from slt.estimate import LLC, summary
from slt.samplers.base import Data, Loss, Params, Sampler, free_parameters, localised, mean_loss, paired, select
from slt.samplers.langevin import sgld

LADDER = tuple(10 ** (i / 2 - 2) for i in range(13))  # gamma, in units of nbeta times the largest curvature
ACCEPTANCE = 0.57, 0.7  # of a sampler that rejects: its best lies between (Roberts and Rosenthal 1998)
MAX_KEPT = 2000  # draws a chain; longer chains are thinned
LAST = Fold(lambda params: params, lambda _, params: params)


class Calibration(NamedTuple):
    """A setting of `estimate_llc`, with a sentence on each choice.

    `estimate_llc(key, loss, params, data, sampler(c.step_size), **c.settings)` is the estimate it was made for.
    """

    step_size: float
    gamma: float
    nbeta: float
    chains: int
    warmup: int
    draws: int
    thin: int
    batch_size: int | None
    baseline: Literal["full", "paired"]
    reasons: list[str]

    @property
    def settings(self) -> dict[str, Any]:
        """All but the step size, as keyword arguments."""
        return {name: value for name, value in self._asdict().items() if name not in ("step_size", "reasons")}


def default_nbeta(n: int) -> float:
    """n/log n, n the size of the data set (Watanabe 2013: the inverse temperature 1/log n of the WBIC).

    devinterp's function of this name, 1.x and 2.x, puts the size of the minibatch in the place of n: its estimates are
    at another temperature.
    """
    if n < 2:
        raise ValueError(f"got n={n}: n/log n needs two examples or more")
    return n / log(n)


class Probe(NamedTuple):
    """What short chains tell, with a leading axis of checkpoints.

    curvature: the largest Hessian eigenvalue of L where the chains ended, the largest of them.
    gradient_noise: E|g_B - g|^2, the same.
    """

    llc: LLC
    curvature: Float[Array, " checkpoints"]
    gradient_noise: Float[Array, " checkpoints"]


def calibrate(
    key: Key[Array, ""],
    loss: Loss,
    checkpoints: Params,
    data: Data,
    *,
    nbeta: float,
    chance: float | None = None,
    sampler: Callable[[Any], Sampler] = sgld,
    chains: int = 4,
    batch_size: int | None = None,
    mask: PyTree | None = None,
    gammas: Sequence[float] | None = None,
    bias: float = 0.05,
    troubled: float = 0.2,
    relative_stderr: float = 0.05,
    probe: int = 1000,
    max_steps: int = 20_000,
    block: int = 4,
) -> Calibration:
    """One setting for all of `checkpoints`, whose leaves have a leading axis, with the reasons for it. On the host.

    The step size is the largest whose estimate is at most `bias` too large, or for a sampler that rejects, the one
    with its best acceptance. gamma is the least of `gammas` (default: .01 to 10^4 times nbeta times the curvature) at
    which the chains of no more than a share `troubled` of the checkpoints are negative, escape, or saturate towards
    `chance`: a start or a transition is no minimum, and a gamma that holds chains there would hide all others. The
    length is what `relative_stderr` takes, at most `max_steps`. A run of that setting is judged by `verdict`, and up to
    three times made longer, or its step halved; the last reason is what is still found. `probe` is the length of the
    short runs, `block` how many checkpoints run side by side.
    """
    run = _runner(loss, data, sampler, chance=chance, chains=chains, batch_size=batch_size, mask=mask, block=block)
    start = float(jnp.max(jax.jit(_everywhere(loss, data, mask, block))(jax.random.clone(key), checkpoints)))
    adjusted = sampler(1.0).adjusted
    ladder = list(gammas) if gammas is not None else [nbeta * start * r if start > 0 else 100 * r for r in LADDER]

    def attempt(gamma: float) -> Tried:
        at = lambda step: run(key, checkpoints, step, gamma, nbeta, probe // 2, probe // 2, 1)
        step_size, found = _step_size(at, start, gamma, nbeta=nbeta, bias=bias, adjusted=adjusted)
        return Tried(gamma, step_size, found, *_trouble(found.llc))

    best, tried = _least(attempt, ladder, troubled)
    relaxation = 1 / (best.step_size * (nbeta * start + best.gamma))
    length = _lengths(best.found.llc, relaxation, relative_stderr, max_steps)
    at = lambda step, length: run(key, checkpoints, step, best.gamma, nbeta, *length)
    step_size, (warmup, draws, thin), said = _judged(at, best.step_size, length, max_steps)
    reasons = [
        f"nbeta {nbeta:.4g}: as given",
        _why_gamma(best, tried, nbeta, start, troubled),
        _why_step(step_size, best, nbeta, start, bias, adjusted),
        _why_length(best.found.llc, warmup, draws, thin, relative_stderr, max_steps),
        said,
    ]
    baseline: Literal["full", "paired"] = "paired" if batch_size else "full"
    return Calibration(step_size, best.gamma, nbeta, chains, warmup, draws, thin, batch_size, baseline, reasons)


def _least(attempt: Callable[[float], "Tried"], gammas: list[float], troubled: float) -> tuple["Tried", list["Tried"]]:
    """The first gamma that leaves few in trouble, or else the one that leaves the fewest; and all that were tried."""
    tried = []
    for gamma in gammas:
        tried.append(attempt(gamma))
        if tried[-1].share <= troubled:
            return tried[-1], tried
    return min(tried, key=lambda t: t.share), tried


class Tried(NamedTuple):
    """One gamma: the step size at it, what short chains told, the share of checkpoints in trouble, and which."""

    gamma: float
    step_size: float
    found: Probe
    share: float
    trouble: list[str]


def _runner(
    loss: Loss,
    data: Data,
    sampler: Callable[[Any], Sampler],
    *,
    chance: float | None,
    chains: int,
    batch_size: int | None,
    mask: PyTree | None,
    block: int,
) -> Callable[..., Probe]:
    """(key, checkpoints, step_size, gamma, nbeta, warmup, draws, thin) -> Probe, compiled once for each length."""

    def point(
        key: Key[Array, ""], params: Params, step_size: Scalar, gamma: Scalar, nbeta: Scalar, *length: int
    ) -> Probe:
        potential = localised(loss, data, params, nbeta=nbeta, gamma=gamma, batch_size=batch_size, mask=mask)
        at_centre = mean_loss(loss, params, data)
        potential = paired(potential, params, at_centre) if batch_size else potential
        key_run, key_curvature, key_noise = jax.random.split(key, 3)
        warmup, draws, thin = length
        kinds = dict(chains=chains, warmup=warmup, draws=draws, thin=thin)
        ran = run_chains(key_run, sampler(step_size), potential, params, **kinds, fold=LAST)
        clone = jax.random.clone  # where each chain ended, with one key for all
        curvature = jax.vmap(lambda w: _top_curvature(clone(key_curvature), loss, w, data, mask))(ran.folded)
        noise = jax.vmap(lambda w: _gradient_noise(clone(key_noise), loss, w, data, batch_size))(ran.folded)
        llc = summary(
            ran,
            nbeta=nbeta,
            loss_at_centre=at_centre,
            adjusted=sampler(1.0).adjusted,
            free=free_parameters(params, mask),
            chance=chance,
        )
        return Probe(llc, jnp.max(curvature), jnp.max(noise))

    def run(key: Key[Array, ""], checkpoints: Params, step_size: Scalar, gamma: Scalar, nbeta: Scalar, *length: int):
        one = lambda params: point(jax.random.clone(key), params, step_size, gamma, nbeta, *length)  # one key for all
        return jax.lax.map(one, checkpoints, batch_size=block)

    compiled = jax.jit(run, static_argnums=(5, 6, 7))
    return lambda key, *rest: jax.tree.map(np.asarray, compiled(jax.random.clone(key), *rest))


def _everywhere(loss: Loss, data: Data, mask: PyTree | None, block: int) -> Callable:
    one = lambda key, params: _top_curvature(jax.random.clone(key), loss, params, data, mask)
    return lambda key, checkpoints: jax.lax.map(lambda params: one(key, params), checkpoints, batch_size=block)


def _top_curvature(key: Key[Array, ""], loss: Loss, params: Params, data: Data, mask: PyTree | None) -> Scalar:
    """The Hessian eigenvalue of L of largest size, by 20 power iterations on at most 1000 examples."""
    key_data, key_start = jax.random.split(key)
    data = _sample(key_data, data, 1000)
    gradient = jax.grad(lambda w: mean_loss(loss, w, data))
    zeros = optax.tree.zeros_like(params)
    free = lambda v: v if mask is None else select(mask, v, zeros)

    def iterate(v: Params, _: None) -> tuple[Params, Scalar]:
        v = optax.tree.scale(1 / jnp.maximum(optax.tree.norm(v), 1e-30), v)
        Hv = free(jax.jvp(gradient, (params,), (v,))[1])
        return Hv, optax.tree.norm(Hv)

    v = free(optax.tree.random_like(key_start, params, jax.random.normal))
    return jax.lax.scan(iterate, v, length=20)[1][-1]


def _gradient_noise(key: Key[Array, ""], loss: Loss, params: Params, data: Data, batch_size: int | None) -> Scalar:
    """E|g_B - g|^2 of the gradient on a minibatch, from sixteen of them; 0 on all the data."""
    if batch_size is None:
        return jnp.zeros(())
    gradient = lambda i: jax.grad(lambda w: mean_loss(loss, w, _sample(jax.random.fold_in(key, i), data, batch_size)))(
        params
    )
    each = jax.vmap(gradient)(jnp.arange(16))
    return sum((jnp.sum(jnp.var(leaf, axis=0, ddof=1)) for leaf in jax.tree.leaves(each)), start=jnp.zeros(()))


def _sample(key: Key[Array, ""], data: Data, size: int) -> Data:
    n = len(jax.tree.leaves(data)[0])
    if size >= n:
        return data
    index = jax.random.randint(key, (size,), 0, n)
    return jax.tree.map(lambda leaf: leaf[index], data)


def _step_size(
    run: Callable[[float], Probe], curvature: float, gamma: float, *, nbeta: float, bias: float, adjusted: bool
) -> tuple[float, Probe]:
    """The step size at this gamma, and what chains with it tell; each run corrects the last one's step."""
    limit = 4 * bias / (1 + bias) if not adjusted else 1.0
    step = limit / (nbeta * curvature + gamma)
    for _ in range(5):
        found = run(step)
        better = _better_step(found, step, curvature, gamma, nbeta, bias, adjusted)
        acceptance = float(found.llc.acceptance.min())
        if (ACCEPTANCE[0] <= acceptance <= ACCEPTANCE[1]) if adjusted else (better > 0.8 * step):
            break
        step = better if adjusted else min(step, better)
    return step, found


def _better_step(
    found: Probe, step: float, curvature: float, gamma: float, nbeta: float, bias: float, adjusted: bool
) -> float:
    """What the last run's step should have been."""
    if not np.isfinite(found.llc.trace).all():
        return step / 10
    if adjusted:
        return step * (_roughness(0.63) / _roughness(float(found.llc.acceptance.min()))) ** (2 / 3)
    noisy = found.gradient_noise.max() > 0
    share = bias / 2 if noisy else bias
    stable = 4 * share / (1 + share) / (nbeta * max(curvature, found.curvature.max()) + gamma)
    if not noisy:
        return float(stable)
    return float(min(stable, share * step / _heat(found, step, nbeta).max()))


def _heat(found: Probe, step: float, nbeta: float) -> Float[np.ndarray, " checkpoints"]:
    """eps nbeta^2 E|g_B - g|^2/(8 lambda-hat): what gradient noise adds to lambda-hat, as a share of it."""
    return step * nbeta**2 * np.asarray(found.gradient_noise) / (8 * _scale(found.llc.value))


def _scale(value: Float[ArrayLike, " checkpoints"]) -> Float[np.ndarray, " checkpoints"]:
    """What errors are measured against: lambda-hat, but no less than a tenth of the largest; that one where it is negative.

    A checkpoint that is no minimum has no lambda-hat of which an error could be a share.
    """
    value = np.asarray(value)
    largest = max(float(np.nanmax(np.append(value, 0.0))), 0.1)
    return np.where(value > 0, np.maximum(value, 0.1 * largest), largest)


def _roughness(acceptance: float) -> float:
    """s of the mean acceptance 2 Phi(-s/2) of a Langevin proposal; s^2 = sum_i (eps A_i)^3/16 on a quadratic."""
    return -2 * float(norm.ppf(np.clip(acceptance, 0.01, 0.999) / 2))


def _kinds(llc: LLC) -> list[set[str]]:
    """What `verdict` finds at each checkpoint."""
    return [{line.split(":")[0] for line in verdict(row)} for row in rows(llc)]


def _trouble(llc: LLC) -> tuple[float, list[str]]:
    """What a larger gamma may cure: the share of checkpoints that have it, and each kind with its count."""
    middle = lambda x: float(np.subtract(*np.percentile(x, [75, 25])))  # one checkpoint alone is no curve
    if middle(llc.mean_loss) < 0.1 * middle(llc.loss_at_centre):
        return 1.0, ["saturated: E[L] is the same at all checkpoints"]
    kinds, cured = _kinds(llc), ("diverged", "negative", "escaped", "saturated")
    counts = {kind: sum(kind in found for found in kinds) for kind in cured}
    share = sum(bool(found & set(cured)) for found in kinds) / len(kinds)
    return share, [f"{kind} at {count} of {len(kinds)} checkpoints" for kind, count in counts.items() if count]


def _judged(
    run: Callable[[float, tuple[int, int, int]], Probe], step: float, length: tuple[int, int, int], max_steps: int
) -> tuple[float, tuple[int, int, int], str]:
    """The setting after runs at it, each judged: made longer, or its step halved, where a fifth of the checkpoints need it."""
    for _ in range(4):
        kinds = _kinds(run(step, length).llc)
        share = lambda *names: sum(bool(found & set(names)) for found in kinds) / len(kinds)
        warmup, draws, thin = length
        before = step, length
        if share("not stationary") > 0.2:
            length = min(2 * warmup, max_steps), draws, thin
        if share("too few effective draws", "chains disagree") > 0.2 and 2 * draws * thin <= max_steps:
            length = length[0], draws, 2 * thin
        if share("diverged", "step size too large") > 0.2:
            step, length = step / 2, (min(2 * warmup, max_steps), draws, thin)
        if before == (step, length):
            break
    else:
        step, length = before
    counts = Counter(kind for found in kinds for kind in found)
    found = "; ".join(f"{kind} at {count} of {len(kinds)} checkpoints" for kind, count in counts.most_common())
    return step, length, f"a run of this setting: {found or 'verdict finds nothing at any checkpoint'}"


def _lengths(llc: LLC, relaxation: float, relative_stderr: float, max_steps: int) -> tuple[int, int, int]:
    """Warm-up, draws and thinning, from the autocorrelation time and the spread of the traces.

    The warm-up is also five times `relaxation`, 1/(eps A) of the largest curvature: the noise of minibatches is new at
    each draw, and hides in the autocorrelation how slowly the chains move.
    """
    chains, size = llc.trace.shape[1], llc.trace[0].size
    time = size / llc.ess
    scale = _scale(llc.value)
    spread = llc.trace.reshape(len(scale), -1).std(axis=1)
    wanted = np.maximum((spread / (relative_stderr * scale)) ** 2 / chains, 2 * MIN_EFFECTIVE_PER_CHAIN)
    steps = np.nanmax(np.append(wanted * time, 0.0))
    steps = int(min(max(steps if isfinite(steps) else max_steps, 100), max_steps))
    warmup = np.nanmax(np.append(5 * time, 5 * relaxation))
    warmup = int(min(max(warmup if isfinite(warmup) else max_steps, 50), max_steps))
    thin = ceil(steps / MAX_KEPT)
    return warmup, ceil(steps / thin), thin


def _why_gamma(best: Tried, tried: list[Tried], nbeta: float, curvature: float, troubled: float) -> str:
    which = "; ".join(best.trouble)
    if not best.trouble:
        why = "the least at which chains neither escape nor saturate"
    elif best.share <= troubled:
        why = f"the least at which only few checkpoints are in trouble ({which})"
    else:
        why = f"of those tried the one with the fewest checkpoints in trouble ({which})"
    smaller = [f"; at {t.gamma:.3g} {'; '.join(t.trouble)}" for t in tried if t.gamma < best.gamma][-1:]
    left = nbeta * curvature / (nbeta * curvature + best.gamma) if curvature > 0 else 0.0
    return (
        f"gamma {best.gamma:.3g}: {why}{''.join(smaller)}; of the direction of largest curvature it leaves {left:.0%}"
    )


def _why_step(step: float, best: Tried, nbeta: float, curvature: float, bias: float, adjusted: bool) -> str:
    found, halved = best.found, ""
    if step < best.step_size:
        halved = f"; found {best.step_size:.3g}, and halved where a run of the setting had too large a step or diverged"
    if adjusted:
        least = f"the least acceptance of the checkpoints at {best.step_size:.3g} is {found.llc.acceptance.min():.2f}"
        return f"step size {step:.3g}: {least}; a Langevin proposal does best at .57{halved}"
    A = nbeta * max(curvature, float(found.curvature.max())) + best.gamma
    why = f"eps A = {step * A:.2g} for the largest curvature A = {A:.3g} at the checkpoints and where chains went"
    if (noise := float(found.gradient_noise.max())) > 0:
        why += f", and the gradient noise E|g_B - g|^2 = {noise:.3g} adds {_heat(found, step, nbeta).max():.1%}"
    return f"step size {step:.3g}: {why}, which makes lambda-hat at most {bias:.0%} too large{halved}"


def _why_length(llc: LLC, warmup: int, draws: int, thin: int, relative_stderr: float, max_steps: int) -> str:
    time = float(np.nanmax(llc.trace[0].size / llc.ess))
    capped = f"; capped at {max_steps} steps" if draws * thin >= max_steps else ""
    return f"warm-up {warmup}, draws {draws}, thin {thin}: the autocorrelation time is up to {time:.0f} steps, for a standard error of {relative_stderr:.0%}{capped}"
