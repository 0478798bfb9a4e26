"""Whether an estimate can be believed: what is found wrong with it, and what to change."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import chi2

from slt.estimate import LLC
from slt.statistics import autocorrelation_time

MIN_EFFECTIVE_PER_CHAIN = 10.0
MAX_RHAT = 1.2
MAX_DRIFT = 4.0  # standard errors
MAX_RANKS = 1e-4  # significance
MAX_SATURATION = 0.3
MAX_STEP_BIAS = 0.2
MIN_ACCEPTANCE = 0.2  # of a sampler that rejects
MAX_IMPRECISION = 0.1  # standard error as a share of lambda-hat,
MIN_IMPRECISION = 0.02  # and what it may be of a small one
MAX_MISSING = 0.05  # of lambda-hat, by degrees of freedom that chains do not hold, or hold too many of
MAX_TILT = 0.1  # of lambda-hat, by the gradient at w*
MIN_Z = 4.0  # standard errors that tell such parts from zero
MAX_BELOW = 0.05  # share of a chain's draws, from which on Chen et al. 2023 leave it out

Kind = Literal[
    "diverged",
    "negative",
    "not a minimum",
    "escaped",
    "not stationary",
    "too few effective draws",
    "chains disagree",
    "slow directions",
    "imprecise",
    "step size too large",
    "saturated",
    "rounded",
    "saturated curve",
    "affine in the loss",
]
Trace = Float[np.ndarray, "chains draws"]


class Finding(NamedTuple):
    """Something that is wrong with an estimate or a curve. text: what was seen, and what to write instead."""

    kind: Kind
    text: str


def verdict(llc: LLC) -> list[Finding]:
    """What is wrong with one estimate and what to change; empty if nothing was found. Runs on the host.

    False alarms on regular models whose chains have forty effective draws or more: "not stationary" in at most 2 of
    100 estimates, "too few effective draws" in 1 of 100, the others in 1 of 1000.
    """
    trace = np.asarray(llc.trace, float)
    if not np.all(np.isfinite(trace)):
        chain, draw = np.argwhere(~np.isfinite(trace))[0]
        text = f"chain {chain} is not finite from draw {draw} on; take a step size ten times smaller"
        return [Finding("diverged", text)]
    checks = (_negative, _tilted, _escaped, _transient, _effective, _agreement, _slow, _imprecise)
    checks += (_step, _saturated, _rounded)
    return [finding for check in checks for finding in check(llc, trace)]


def findings(llc: LLC | Mapping[str, Any]) -> Shaped[np.ndarray, "..."]:
    """The kinds of what `verdict` finds in each estimate, joined by commas; of the shape of the leading axes.

    llc: the estimates, or a data set of their fields.
    """
    if not isinstance(llc, LLC):
        llc = from_fields(llc)
    kinds = [", ".join(finding.kind for finding in verdict(row)) for row in rows(llc)]
    return np.array(kinds, dtype=str).reshape(np.shape(llc.value))


def rows(llc: LLC) -> list[LLC]:
    """One estimate for each place along the leading axes."""
    shape = np.shape(llc.value)
    flat = jax.tree.map(lambda leaf: np.reshape(leaf, (-1, *np.shape(leaf)[len(shape) :])), llc)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], flat) for i in range(len(flat.value))]


def from_fields(data: Mapping[str, Any]) -> LLC:
    """The estimates whose fields are variables of a data set, as `sweeps.map` returns them."""
    fields: Any = {field: np.asarray(data[field]) for field in LLC._fields if field != "held_by"}
    prefix = "held_by."
    names = [str(name) for name in data if str(name).startswith(prefix)]
    fields["held_by"] = {name.removeprefix(prefix): np.asarray(data[name]) for name in names}
    return LLC(**fields)


def _negative(llc: LLC, trace: Trace) -> Iterator[Finding]:
    value, stderr = float(llc.value), float(llc.stderr)
    if value < -2 * stderr:
        text = f"lambda-hat = {value:.3g} +- {stderr:.2g}: w* is no minimum at this scale; train longer, or raise gamma"
        yield Finding("negative", text)


def _escaped(llc: LLC, trace: Trace) -> Iterator[Finding]:
    """Chains that are below L(w*) in their second half; on minibatches, whose draws are noisy, their mean is."""
    late = trace[:, trace.shape[1] // 2 :]
    below = np.mean(late < -1, axis=1) > MAX_BELOW
    lower = late.mean(axis=1) < -4 * _stderr(late)
    out = np.flatnonzero(below if llc.exact else lower)
    if len(out) > 0 and (len(out) < len(trace) or llc.value >= 0):
        text = f"{len(out)} of {len(trace)} chains (first: chain {out[0]}) end in a basin with a lower loss than L(w*)"
        yield Finding("escaped", f"{text}; raise gamma, or leave these chains out")


def _transient(llc: LLC, trace: Trace) -> Iterator[Finding]:
    """The start of the draws against their second half, by means and by the ranks of the first draws; the halves."""
    first, late = trace[:, : max(1, trace.shape[1] // 10)], trace[:, trace.shape[1] // 2 :]
    chains, change = len(trace), first.mean() - late.mean()
    time = autocorrelation_time(late)
    error = late.std() * np.sqrt((min(1, time / first.shape[1]) + time / late.shape[1]) / chains)
    z = change / error if error > 0 else 0.0
    rank = (1 + np.searchsorted(np.sort(late.ravel()), trace[:, 0])) / (1 + late.size)
    low = chi2.sf(-2 * np.log(rank).sum(), 2 * chains) < MAX_RANKS and first.mean() < 0.9 * late.mean()
    halves = late.mean() - trace[:, : trace.shape[1] // 2].mean()
    drift = halves / (2 * float(llc.plain_stderr)) if llc.plain_stderr > 0 else 0.0
    if abs(z) > MAX_DRIFT or low:
        text = f"the first tenth of the draws has the mean {first.mean():.3g}, the second half {late.mean():.3g} "
        yield Finding("not stationary", f"{text}({z:+.1f} standard errors); take a longer warmup")
    elif abs(drift) > MAX_DRIFT:
        text = (
            f"the trace moves by {drift:+.1f} standard errors between its halves; take a longer warmup and more draws"
        )
        yield Finding("not stationary", text)


def _effective(llc: LLC, trace: Trace) -> Iterator[Finding]:
    needed, kind = MIN_EFFECTIVE_PER_CHAIN * len(trace), "too few effective draws"
    if np.ptp(trace) == 0:
        text = "the trace never moves; check the mask, and take a smaller step size if proposals are rejected"
        yield Finding(kind, text)
    elif not llc.ess >= needed:
        ratio = needed / float(llc.ess)
        times = f"{np.ceil(ratio):.0f} times" if np.isfinite(ratio) else "many times"
        text = f"{float(llc.ess):.0f} of {trace.size}, {needed:.0f} are needed; take {times} the draws, or larger steps"
        yield Finding(kind, text)


def _agreement(llc: LLC, trace: Trace) -> Iterator[Finding]:
    if llc.rhat > MAX_RHAT:
        text = f"R-hat = {float(llc.rhat):.2f}, {MAX_RHAT} is allowed; take longer chains, or a larger gamma"
        yield Finding("chains disagree", text)


def _slow(llc: LLC, trace: Trace) -> Iterator[Finding]:
    """Fewer degrees of freedom than there are, by what is more than noise and may be more than a part of lambda-hat."""
    missing = float(llc.free - llc.held)
    if missing > MIN_Z * llc.held_stderr and missing / 2 > MAX_MISSING * abs(float(llc.value)):
        text = f"the chains hold {float(llc.held):.3g} of {float(llc.free):.0f} degrees of freedom{_least(llc)}"
        yield Finding("slow directions", f"{text}; take longer chains, ghmc() with its own metric, or a larger gamma")


def _least(llc: LLC) -> str:
    """The leaf of which the largest share is missing."""
    shares = {name: (1 - held / free, held, free) for name, (held, _, free) in llc.held_by.items() if free > 0}
    if len(shares) < 2:
        return ""
    name = max(shares, key=lambda name: shares[name])
    return f" (the fewest in {name}: {shares[name][1]:.3g} of {shares[name][2]:.0f})"


def _imprecise(llc: LLC, trace: Trace) -> Iterator[Finding]:
    value, stderr = abs(float(llc.value)), float(llc.stderr)
    if stderr > max(MAX_IMPRECISION * value, MIN_IMPRECISION):
        times = (stderr / max(MAX_IMPRECISION * value, MIN_IMPRECISION)) ** 2
        text = f"lambda-hat = {float(llc.value):.3g} +- {stderr:.2g}; take {np.ceil(times):.0f} times the draws"
        yield Finding("imprecise", text)


def _tilted(llc: LLC, trace: Trace) -> Iterator[Finding]:
    tilt, stderr = float(llc.tilt), float(llc.tilt_stderr)
    if abs(tilt) > MIN_Z * stderr and abs(tilt) > MAX_TILT * abs(float(llc.value)):
        text = f"the gradient at w* puts {tilt:+.3g} +- {stderr:.2g} into lambda-hat, so w* is no minimum of this loss"
        yield Finding("not a minimum", f"{text}; train longer, raise gamma, or give the weight decay of the training")


def _step(llc: LLC, trace: Trace) -> Iterator[Finding]:
    """By the acceptance; where there is none, by what no learning coefficient can be."""
    acceptance, bias, most = float(llc.acceptance), float(llc.step_bias), float(llc.free) / 2
    kind = "step size too large"
    if np.isnan(acceptance) and llc.value > (1 + MAX_STEP_BIAS / 2) * most + 4 * llc.stderr:
        text = (
            f"lambda-hat = {float(llc.value):.3g}, and half of the {2 * most:.0f} free parameters is the most it can be"
        )
        yield Finding(kind, f"{text}: steps or minibatches heat the chains; halve it")
    heated = float(llc.held - llc.free) > MIN_Z * llc.held_stderr
    if bias > MAX_STEP_BIAS and (heated or not np.isnan(acceptance)):
        seen = f"acceptance {acceptance:.2f}"
        if np.isnan(acceptance):
            seen = f"chains that hold {float(llc.held):.3g} of {float(llc.free):.0f} degrees of freedom"
        yield Finding(kind, f"{seen}, with which lambda-hat may be {bias:.0%} too large; halve it")
    if llc.rejects and acceptance < MIN_ACCEPTANCE:
        yield Finding(kind, f"acceptance {acceptance:.2f}, so the chains hardly move; halve it")


def _saturated(llc: LLC, trace: Trace) -> Iterator[Finding]:
    ratio = float(llc.saturation)
    if ratio > MAX_SATURATION and llc.value > 0:
        text = f"the chains are {ratio:.0%} of the way to the chance loss and forget w*; raise gamma"
        yield Finding("saturated", text)


def _rounded(llc: LLC, trace: Trace) -> Iterator[Finding]:
    """The least gap between two values of the trace is nbeta times the spacing of the loss's numbers, or more."""
    values = np.unique(trace)
    if len(values) > 1 and (gap := np.diff(values).min()) > llc.plain_stderr:
        error = float(llc.plain_stderr)
        text = (
            f"the draws of lambda-hat come in steps of {gap:.2g}, and the standard error of their mean is {error:.2g}"
        )
        yield Finding("rounded", f"{text}; let the loss return each example's loss less the one at w*, or use float64")


def _stderr(chains: Trace) -> Float[np.ndarray, " chains"]:
    """The standard error of each chain's mean."""
    time = np.array([autocorrelation_time(chain[None]) for chain in chains])
    return chains.std(axis=1) * np.sqrt(time / chains.shape[1])
