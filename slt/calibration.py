"""One setting of a sampler for a whole trajectory of checkpoints, from short runs, and why it was chosen."""

from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil, isfinite
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PyTree
from scipy.stats import norm

from slt.chains import Sampling
from slt.diagnostics import MIN_EFFECTIVE_PER_CHAIN, rows, verdict
from slt.estimate import LLC
from slt.probing import Probe, prober, scale, top_curvatures
from slt.samplers.base import Data, Loss, Params, Sampler, require
from slt.samplers.langevin import sgld
from slt.samplers.underdamped import ghmc

LADDER = tuple(10 ** (i / 2 - 2) for i in range(13))  # gamma, in units of nbeta times the largest curvature
ACCEPTANCE = 0.57, 0.7  # of a sampler that rejects: its best lies between (Roberts and Rosenthal 1998)
BIAS = 0.05  # of lambda-hat, by the step size of a sampler that does not reject
CHAINS = 4
PROBE = 500  # steps of warm-up, and draws, of a short run
MAX_STEPS = 20_000  # of the warm-up, and of the draws
MAX_KEPT = 2000  # draws a chain; longer chains are thinned
FEW = 0.2  # share of the checkpoints in trouble, up to which a setting is left as it is
CURED = "diverged", "negative", "not a minimum", "escaped", "saturated"  # by a larger gamma
SLOW = "too few effective draws", "chains disagree", "slow directions"  # by longer chains
Kinds = list[set[str]]  # what `verdict` finds at each checkpoint


class Calibration(NamedTuple):
    """What `estimate_llc(key, loss, params, data, sampler, **chains)` needs, with a sentence on each choice."""

    sampler: Sampler
    chains: dict[str, Any]
    step_size: float
    reasons: list[str]


class Setting(NamedTuple):
    """What is chosen."""

    step_size: float
    gamma: float
    warmup: int = PROBE
    draws: int = PROBE
    thin: int = 1


class Trial(NamedTuple):
    """What a short run of a setting told, the share of checkpoints in trouble, and which trouble."""

    setting: Setting
    probe: Probe
    share: float
    trouble: list[str]


class Problem(NamedTuple):
    """run: a setting at all checkpoints. curvature: the largest Hessian eigenvalue of L at the checkpoints.

    tunes: the sampler finds its own step at each checkpoint, and that of a setting is NaN.
    """

    run: Callable[[Setting], Probe]
    nbeta: float
    curvature: float
    rejects: bool
    tunes: bool


def calibrate(
    key: Key[Array, ""],
    loss: Loss,
    checkpoints: Params,
    data: Data,
    *,
    nbeta: float,
    sampler: Callable[[Any], Sampler] | None = None,
    batch_size: int | None = None,
    mask: PyTree | None = None,
    chance: float | None = None,
    gammas: Sequence[float] | None = None,
    troubled: float = FEW,
    relative_stderr: float = 0.05,
    axes: int = 1,
) -> Calibration:
    """One setting for all of `checkpoints`, whose leaves have `axes` leading axes, with the reasons. On the host.

    sampler: of a step size; None: `ghmc`, which tunes itself at each checkpoint, or `sgld` on minibatches.
    gamma is the least of `gammas` (default: `LADDER`) at which the chains of no more than a share `troubled` of the
    checkpoints are in trouble (`CURED`). The step size is the largest whose estimate is at most `BIAS` too large, or
    the one with the best acceptance. The length is what `relative_stderr` takes. A run of that setting is judged by
    `verdict`, and up to three times made longer, or its step halved.
    """
    require("> 0", nbeta=nbeta, relative_stderr=relative_stderr)
    require(">= 0", troubled=troubled, axes=axes)
    checkpoints = jax.tree.map(lambda leaf: jnp.reshape(leaf, (-1, *np.shape(leaf)[axes:])), checkpoints)
    tunes = sampler is None and batch_size is None
    sampler = sampler or ((lambda _: ghmc()) if tunes else sgld)
    probe = prober(loss, data, sampler, batch_size=batch_size, mask=mask, chance=chance)

    def run(setting: Setting) -> Probe:
        numbers, sampling = (*setting[:2], nbeta), Sampling(CHAINS, *setting[2:], batch_size)
        return jax.tree.map(np.asarray, probe(jax.random.clone(key), checkpoints, numbers, sampling))

    curvature = float(jnp.max(top_curvatures(jax.random.clone(key), loss, checkpoints, data, mask=mask)))
    problem = Problem(run, nbeta, curvature, sampler(1.0).rejects, tunes)
    trials = _trials(problem, gammas, troubled)
    best = min(trials, key=lambda trial: trial.share)
    setting, kinds = _judged(run, _with_length(problem, best, relative_stderr))
    reasons = _reasons(problem, trials, setting, kinds, best=best)
    chains = setting._asdict() | dict(nbeta=nbeta, chains=CHAINS, batch_size=batch_size)
    del chains["step_size"]
    return Calibration(sampler(setting.step_size), chains, setting.step_size, reasons)


def _trials(problem: Problem, gammas: Sequence[float] | None, troubled: float) -> list[Trial]:
    """Every gamma up to the first that leaves few checkpoints in trouble."""
    if gammas is None:
        unit = problem.nbeta * problem.curvature
        gammas = [unit * r if unit > 0 else 100 * r for r in LADDER]
    trials = []
    for gamma in gammas:
        setting, probe = _step_size(problem, gamma)
        trials.append(Trial(setting, probe, *_trouble(probe.llc)))
        if trials[-1].share <= troubled:
            break
    return trials


def _step_size(problem: Problem, gamma: float) -> tuple[Setting, Probe]:
    """The step size at this gamma, and what chains with it tell; each run corrects the last one's step."""
    if problem.tunes:
        return Setting(np.nan, gamma), problem.run(Setting(np.nan, gamma))
    step = (1.0 if problem.rejects else _eps_A(BIAS)) / (problem.nbeta * problem.curvature + gamma)
    for _ in range(5):
        probe = problem.run(Setting(step, gamma))
        better = _better_step(problem, probe, step, gamma)
        near = ACCEPTANCE[0] <= np.min(probe.llc.acceptance) <= ACCEPTANCE[1]
        if near if problem.rejects else better > 0.8 * step:
            break
        step = better if problem.rejects else min(step, better)
    return Setting(step, gamma), probe


def _better_step(problem: Problem, probe: Probe, step: float, gamma: float) -> float:
    """What the last run's step should have been."""
    if not np.isfinite(probe.llc.trace).all():
        return step / 10
    if problem.rejects:  # s of the mean acceptance 2 Phi(-s/2), and s^2 = sum_i (eps A_i)^3/16 on a quadratic
        s = lambda acceptance: -2 * float(norm.ppf(np.clip(acceptance, 0.01, 0.999) / 2))
        return step * (s(0.63) / s(float(np.min(probe.llc.acceptance)))) ** (2 / 3)
    noisy = np.max(probe.gradient_noise) > 0
    share = BIAS / 2 if noisy else BIAS
    stable = _eps_A(share) / _steepest(problem, probe, gamma)
    return float(min(stable, share * step / _heat(problem, probe, step)) if noisy else stable)


def _eps_A(share: float) -> float:
    """The step eps A at which unadjusted Langevin overestimates lambda by this share of it (`sgld`)."""
    return 4 * share / (1 + share)


def _steepest(problem: Problem, probe: Probe, gamma: float) -> Any:
    """The largest curvature A of U, at the checkpoints and where chains went."""
    return problem.nbeta * max(problem.curvature, np.max(probe.curvature)) + gamma


def _heat(problem: Problem, probe: Probe, step: float) -> Any:
    """eps nbeta^2 E|g_B - g|^2/(8 lambda-hat), at most: what gradient noise adds to lambda-hat, as a share of it."""
    return np.max(step * problem.nbeta**2 * np.asarray(probe.gradient_noise) / (8 * scale(probe.llc.value)))


def _kinds(llc: LLC) -> Kinds:
    return [{finding.kind for finding in verdict(row)} for row in rows(llc)]


def _share(kinds: Kinds, *wanted: str) -> float:
    """The share of checkpoints that have one of these."""
    return sum(not found.isdisjoint(wanted) for found in kinds) / len(kinds)


def _counted(kinds: Kinds) -> list[str]:
    counts = Counter(kind for found in kinds for kind in sorted(found))
    return [f"{kind} at {count} of {len(kinds)} checkpoints" for kind, count in counts.most_common()]


def _trouble(llc: LLC) -> tuple[float, list[str]]:
    """What a larger gamma may cure: the share of checkpoints that have it, and each kind with its count."""
    middle = lambda x: float(np.subtract(*np.percentile(x, [75, 25])))  # one checkpoint alone is no curve
    if middle(llc.mean_loss) < 0.1 * middle(llc.loss_at_centre):
        return 1.0, ["saturated: E[L] is the same at all checkpoints"]
    kinds = [found & set(CURED) for found in _kinds(llc)]
    return _share(kinds, *CURED), _counted(kinds)


def _with_length(problem: Problem, best: Trial, relative_stderr: float) -> Setting:
    """Warm-up, draws and thinning, from the autocorrelation time and the spread of the traces.

    The warm-up is also five times 1/(eps A): the noise of minibatches hides how slowly chains move.
    """
    llc, setting = best.probe.llc, best.setting
    time, unit = llc.trace[0].size / np.asarray(llc.ess), scale(llc.value)
    spread = np.reshape(llc.trace, (len(unit), -1)).std(axis=1)
    wanted = np.maximum((spread / (relative_stderr * unit)) ** 2 / CHAINS, 2 * MIN_EFFECTIVE_PER_CHAIN)
    relaxation = 1 / (setting.step_size * (problem.nbeta * problem.curvature + setting.gamma))
    warmup = _steps(np.append(5 * time, 5 * relaxation), least=50)
    steps = _steps(wanted * time, least=100)
    thin = ceil(steps / MAX_KEPT)
    return setting._replace(warmup=warmup, draws=ceil(steps / thin), thin=thin)


def _steps(wanted: Float[np.ndarray, " n"], *, least: int) -> int:
    most = np.nanmax(np.append(wanted, 0.0))
    return int(min(max(most if isfinite(most) else MAX_STEPS, least), MAX_STEPS))


def _judged(run: Callable[[Setting], Probe], setting: Setting) -> tuple[Setting, Kinds]:
    """The setting and what `verdict` finds in a run of it: made longer, or its step halved, up to three times."""
    for attempt in range(4):
        kinds, better = _kinds(run(setting).llc), setting
        longer = min(2 * setting.warmup, MAX_STEPS)
        if _share(kinds, "not stationary") > FEW:
            better = better._replace(warmup=longer)
        slow = _share(kinds, *SLOW) > FEW
        if slow and 2 * setting.draws * setting.thin <= MAX_STEPS:
            better = better._replace(thin=2 * setting.thin)
        if _share(kinds, "diverged", "step size too large") > FEW:
            better = setting._replace(step_size=setting.step_size / 2, warmup=longer)
        if better == setting or attempt == 3:
            break
        setting = better
    return setting, kinds


def _reasons(problem: Problem, trials: list[Trial], setting: Setting, kinds: Kinds, *, best: Trial) -> list[str]:
    """A sentence on nbeta, gamma, the step size, the length, and on what is found in a run of the setting."""
    gamma = setting.gamma
    tried = [f"at {trial.setting.gamma:.3g} {', '.join(trial.trouble) or 'no trouble'}" for trial in trials]
    why = f"the least of those tried at which the fewest checkpoints are in trouble; {'; '.join(tried)}"
    if problem.rejects:
        acceptance = np.min(best.probe.llc.acceptance)
        step = f"its least acceptance is {acceptance:.2f}"
    else:
        A, heat = _steepest(problem, best.probe, gamma), _heat(problem, best.probe, setting.step_size)
        step = f"eps A = {setting.step_size * A:.2g} for the largest curvature A = {A:.3g} of U"
        step += f", with which lambda-hat is at most {BIAS:.0%} too large ({heat:.1%} by gradient noise)"
    size = "found by the sampler at each checkpoint" if problem.tunes else f"{setting.step_size:.3g}"
    time = np.nanmax(best.probe.llc.trace[0].size / np.asarray(best.probe.llc.ess))
    return [
        f"nbeta {problem.nbeta:.4g}: as given",
        f"gamma {gamma:.3g}: {why}",
        f"step size {size}: {step}",
        f"warm-up {setting.warmup}, draws {setting.draws}, thin {setting.thin}: the autocorrelation time is {time:.0f}",
        f"a run of this setting: {'; '.join(_counted(kinds)) or 'verdict finds nothing'}",
    ]
