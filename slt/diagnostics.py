"""Whether an estimate can be believed: effective draws, agreement of the chains, and a verdict in words."""

from typing import TYPE_CHECKING

import blackjax.diagnostics
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

if TYPE_CHECKING:
    from slt.llc import LLC

MIN_EFFECTIVE_PER_CHAIN = 10.0
MAX_RHAT = 1.2
MAX_DRIFT = 4.0  # standard errors
MAX_SATURATION = 0.3


def ess(trace: Float[Array, "chains draws"]) -> Scalar:
    """Effective number of independent draws among chains * draws, by Geyer's initial monotone sequence (BlackJAX)."""
    return blackjax.diagnostics.effective_sample_size(trace, chain_axis=0, sample_axis=1)


def rhat(trace: Float[Array, "chains draws"]) -> Scalar:
    """Split R-hat: chains are halved, so one chain is enough and a drift shows (Gelman et al. 2013, section 11.4)."""
    chains, draws = trace.shape
    halves = trace[:, : draws - draws % 2].reshape(2 * chains, draws // 2)
    return jnp.squeeze(blackjax.diagnostics.potential_scale_reduction(halves, chain_axis=0, sample_axis=1))


def verdict(llc: "LLC", *, min_acceptance: float = 0.9) -> list[str]:
    """What is wrong with one estimate and what to change, in words; empty if nothing was found. Runs on the host.

    Saturation is seen if the estimate was given the chance loss. Below `min_acceptance` the step is too large: 0.9 is for a sampler that never rejects, whose estimate is then off by a third on one coordinate of
    a quadratic (eps A = 1); one that rejects is exact at any step and only inefficient, give it 0.4.
    """
    trace = np.asarray(llc.trace)
    if not np.all(np.isfinite(trace)):
        chain, draw = np.argwhere(~np.isfinite(trace))[0]
        return [f"diverged: chain {chain} is not finite from draw {draw} on; take a step size ten times smaller"]
    value, stderr = float(llc.value), float(llc.stderr)
    findings = []
    if value < -2 * stderr:
        findings.append(
            f"negative: lambda-hat = {value:.3g} +- {stderr:.2g}, the chains found a lower loss, so w* is no minimum at this scale; "
            "train longer, or raise gamma"
        )
    first, second = np.array_split(trace, 2, axis=1)
    drift = (
        (second.mean() - first.mean()) / (2 * stderr) if stderr > 0 else 0.0
    )  # each half has sqrt(2) times the standard error
    if abs(drift) > MAX_DRIFT:
        findings.append(
            f"not stationary: the trace moves by {drift:+.1f} standard errors between its halves; take a longer warmup"
        )
    if llc.ess < MIN_EFFECTIVE_PER_CHAIN * len(trace):
        findings.append(
            f"too few effective draws: {float(llc.ess):.0f} of {trace.size}; take more draws, or a larger step size if acceptance allows"
        )
    if llc.rhat > MAX_RHAT:
        findings.append(
            f"chains disagree: R-hat = {float(llc.rhat):.2f}; take longer chains, or a larger gamma if they left the basin"
        )
    if llc.acceptance < min_acceptance:
        findings.append(f"step size too large: acceptance {float(llc.acceptance):.2f}; halve it")
    if (ratio := float(llc.saturation)) > MAX_SATURATION:
        findings.append(
            f"saturated: the chains are {ratio:.0%} of the way to the chance loss and forget w*; raise gamma or lower the step size"
        )
    return findings
