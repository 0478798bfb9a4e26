"""Whether an estimate can be believed: effective draws, agreement of the chains, and a verdict in words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import blackjax.diagnostics
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Scalar
from scipy.stats import chi2

if TYPE_CHECKING:
    from slt.estimate import LLC

MIN_EFFECTIVE_PER_CHAIN = 10.0
MAX_RHAT = 1.2
MAX_DRIFT = 4.0  # standard errors
MAX_RANKS = 1e-4  # significance
MAX_SATURATION = 0.3
MAX_BASELINE_NOISE = 0.5
MAX_STEP_BIAS = 0.2
MIN_ACCEPTANCE = 0.2  # of a sampler that rejects
MAX_BELOW = 0.05  # share of a chain's draws, from which on Chen et al. 2023 leave it out


def ess(trace: Float[Array, "chains draws"]) -> Scalar:
    """Effective number of independent draws among chains * draws, by Geyer's initial monotone sequence (BlackJAX)."""
    return blackjax.diagnostics.effective_sample_size(trace, chain_axis=0, sample_axis=1)


def rhat(trace: Float[Array, "chains draws"]) -> Scalar:
    """Split R-hat: chains are halved, so one chain is enough and a drift shows (Gelman et al. 2013, section 11.4)."""
    chains, draws = trace.shape
    halves = trace[:, : draws - draws % 2].reshape(2 * chains, draws // 2)
    return jnp.squeeze(blackjax.diagnostics.potential_scale_reduction(halves, chain_axis=0, sample_axis=1))


def step_bias(acceptance: Scalar, value: Scalar, free: Float[Array, ""] | int) -> Scalar:
    """At most by which share of itself unadjusted Langevin overestimates lambda: b = (x/4)/(1 - x/4), x a step eps A.

    On a quadratic a coordinate is off by b(eps A_i) (`slt.theory.regular_finite`), and the acceptance is 2 Phi(-s/2)
    with s^2 = sum_i (eps A_i)^3/16 (Roberts and Rosenthal 1998, section 2, for a Gaussian). About 2 lambda-hat of the
    `free` coordinates are weighed, so that their mean x is at most (16 s^2/max(1, 2 lambda-hat))^(1/3). NaN on minibatches.
    """
    s = -2 * norm.ppf(acceptance / 2)
    x = jnp.cbrt(16 * s**2 / jnp.clip(2 * value, 1, jnp.maximum(free, 1)))
    return jnp.where(x < 4, x / 4 / (1 - jnp.minimum(x, 3.999) / 4), jnp.where(jnp.isnan(x), x, jnp.inf))


def verdict(llc: "LLC") -> list[str]:
    """What is wrong with one estimate and what to change, a line each; empty if nothing was found. Runs on the host.

    A line is `kind: what was seen; what to write instead`. How often each kind is found where nothing is wrong, on
    regular models whose chains have forty effective draws or more, exactly sampled or on minibatches: "not
    stationary" in at most 2 of 100 estimates, "too few effective draws" in 1 of 100, the others (diverged, negative,
    escaped, chains disagree, step size too large, noisy baseline, saturated, rounded) in 1 of 1000.
    The step size is judged by the acceptance; on minibatches, which have none, only by lambda-hat > d/2. Saturation is seen
    where the chance loss was given; the noise of the baseline where the loss is one of each example.
    """
    trace = np.asarray(llc.trace, float)
    if not np.all(np.isfinite(trace)):
        chain, draw = np.argwhere(~np.isfinite(trace))[0]
        return [f"diverged: chain {chain} is not finite from draw {draw} on; take a step size ten times smaller"]
    checks = (_negative, _escaped, _transient, _effective, _agreement, _step, _baseline, _saturated, _rounded)
    return [finding for check in checks for finding in check(llc, trace)]


def _negative(llc: "LLC", trace: np.ndarray) -> Iterator[str]:
    value, stderr = float(llc.value), float(llc.stderr)
    if value < -2 * stderr:
        yield (
            f"negative: lambda-hat = {value:.3g} +- {stderr:.2g}, the chains found a lower loss, so w* is no minimum "
            "at this scale; train longer, or raise gamma"
        )


def _escaped(llc: "LLC", trace: np.ndarray) -> Iterator[str]:
    """Chains that are below L(w*) in their second half; on minibatches, whose draws are noisy, their mean is."""
    late = trace[:, trace.shape[1] // 2 :]
    exact = np.isfinite(llc.acceptance)
    below = np.mean(late < -1, axis=1) if exact else np.where(late.mean(axis=1) < -4 * _stderr(late), 1.0, 0.0)
    out = np.flatnonzero(below > MAX_BELOW)
    if len(out) > 0 and (len(out) < len(trace) or llc.value >= 0):
        yield (
            f"escaped: {len(out)} of {len(trace)} chains (first: chain {out[0]}) found a basin with a lower loss than "
            "L(w*) and are in it in the second half of their draws; raise gamma, or leave these chains out"
        )


def _transient(llc: "LLC", trace: np.ndarray) -> Iterator[str]:
    """The start of the draws against their second half, by means and by the ranks of the first draws; the halves."""
    first, late = trace[:, : max(1, trace.shape[1] // 10)], trace[:, trace.shape[1] // 2 :]
    chains, change = len(trace), first.mean() - late.mean()
    time = _autocorrelation_time(late)
    error = late.std() * np.sqrt((min(1, time / first.shape[1]) + time / late.shape[1]) / chains)
    z = change / error if error > 0 else 0.0
    rank = (1 + np.searchsorted(np.sort(late.ravel()), trace[:, 0])) / (1 + late.size)
    low = chi2.sf(-2 * np.log(rank).sum(), 2 * chains) < MAX_RANKS and first.mean() < 0.9 * late.mean()
    if abs(z) > MAX_DRIFT or low:
        yield (
            f"not stationary: the first tenth of the draws has the mean {first.mean():.3g}, the second half "
            f"{late.mean():.3g} ({z:+.1f} standard errors), so the warm-up is in the estimate; take a longer warmup"
        )
    elif (
        llc.stderr > 0
        and abs(drift := (late.mean() - trace[:, : trace.shape[1] // 2].mean()) / (2 * float(llc.stderr))) > MAX_DRIFT
    ):
        yield (
            f"not stationary: the trace moves by {drift:+.1f} standard errors between its halves; take a longer "
            "warmup, and longer chains"
        )


def _effective(llc: "LLC", trace: np.ndarray) -> Iterator[str]:
    needed = MIN_EFFECTIVE_PER_CHAIN * len(trace)
    if np.ptp(trace) == 0:
        yield "too few effective draws: the trace never moves; check the mask, and take a smaller step size if proposals are rejected"
    elif not llc.ess >= needed:
        yield (
            f"too few effective draws: {float(llc.ess):.0f} of {trace.size}, {needed:.0f} are needed; take "
            f"{_times(needed / float(llc.ess))} the draws, or a larger step size if acceptance allows"
        )


def _agreement(llc: "LLC", trace: np.ndarray) -> Iterator[str]:
    if llc.rhat > MAX_RHAT:
        yield (
            f"chains disagree: R-hat = {float(llc.rhat):.2f}, {MAX_RHAT} is allowed; take longer chains, or a larger "
            "gamma if they left the basin"
        )


def _step(llc: "LLC", trace: np.ndarray) -> Iterator[str]:
    """By the acceptance; on minibatches, which have none, by what no learning coefficient can be."""
    acceptance, bias, most = float(llc.acceptance), float(llc.step_bias), float(llc.free) / 2
    if np.isnan(acceptance) and llc.value > (1 + MAX_STEP_BIAS / 2) * most + 4 * llc.stderr:
        yield (
            f"step size too large: lambda-hat = {float(llc.value):.3g}, and half of the {2 * most:.0f} free parameters "
            "is the most it can be: steps or the noise of minibatches heat the chains; halve it"
        )
    if bias > MAX_STEP_BIAS:
        yield (
            f"step size too large: acceptance {acceptance:.2f}, with which lambda-hat may be {bias:.0%} too large; "
            "halve it"
        )
    elif bias == 0 and acceptance < MIN_ACCEPTANCE:
        yield f"step size too large: acceptance {acceptance:.2f}, so the chains hardly move; halve it"


def _baseline(llc: "LLC", trace: np.ndarray) -> Iterator[str]:
    if (share := float(llc.baseline_noise)) > MAX_BASELINE_NOISE:
        yield (
            f"noisy baseline: {share:.0%} of the variance of the draws is that of L(w*) on their minibatches; write "
            'baseline="paired"'
        )


def _saturated(llc: "LLC", trace: np.ndarray) -> Iterator[str]:
    if (ratio := float(llc.saturation)) > MAX_SATURATION and llc.value > 0:
        yield (f"saturated: the chains are {ratio:.0%} of the way to the chance loss and forget w*; raise gamma")


def _rounded(llc: "LLC", trace: np.ndarray) -> Iterator[str]:
    """The least gap between two values of the trace is nbeta times the spacing of the loss's numbers, or more."""
    values = np.unique(trace)
    if len(values) > 1 and (gap := np.diff(values).min()) > llc.stderr:
        yield (
            f"rounded: the draws of lambda-hat come in steps of {gap:.2g}, and its standard error is {float(llc.stderr):.2g}, "
            "so L(w*) alone is off by more; let the loss return each example's loss minus the one at w*, or use float64"
        )


def _times(ratio: float) -> str:
    return f"{np.ceil(ratio):.0f} times" if np.isfinite(ratio) else "many times"


def _stderr(chains: np.ndarray) -> np.ndarray:
    """The standard error of each chain's mean."""
    time = np.array([_autocorrelation_time(chain[None]) for chain in chains])
    return chains.std(axis=1) * np.sqrt(time / chains.shape[1])


def _autocorrelation_time(trace: np.ndarray) -> float:
    """tau = 1 + 2 sum_k rho_k, chains about their own means, summed up to the first k >= 5 tau (Sokal 1997)."""
    n = trace.shape[1]
    spectrum = np.abs(np.fft.rfft(trace - trace.mean(axis=1, keepdims=True), 2 * n)) ** 2
    covariance = np.fft.irfft(spectrum.mean(axis=0))[:n]
    if covariance[0] <= 0:
        return float(n)
    tau = 2 * np.cumsum(covariance / covariance[0]) - 1
    window = np.flatnonzero(np.arange(n) >= 5 * tau)
    return float(max(1.0, tau[window[0] if len(window) else -1]))
