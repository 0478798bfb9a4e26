"""Susceptibilities: how the loss of a component answers to a shift of the data (Baker et al. 2025, arXiv 2504.18274).

Tilting the data to q_h = (1 - h) q + h q' changes an expectation by chi = (1/nbeta) d<phi>/dh = -Cov[phi, dL] at h = 0,
dL = L_q' - L_q. For the component C, parameters v of w = (u, v), the paper takes phi_C = delta(u - u*)(L - L(w*)); for
q' one example, dL_i = l_i - L. Positive: the component loses when there is more of the example.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree, Scalar

from slt.chains import Chains, Covariance, Sampling, covariance, jackknife, pooled, run_chains
from slt.influence import example_losses
from slt.refined import per_block
from slt.samplers.base import Data, Loss, Number, Params, Sampler, localised, mean_loss


class Susceptibility(NamedTuple):
    """Of one component to n examples. Standard errors are from leaving out each chain in turn, NaN for one chain.

    value: -(E_C[phi dL_i] - E_C[phi] E[dL_i]), phi = L - L(w*), E_C with u held at u*, E without. It is the paper's
    chi times Z/Z_C, as its estimator and devinterp 2.0.1's.
    restricted: -Cov_C[phi, dL_i], both means with u held: (1/nbeta) d<phi>_C/dh with nothing left out.
    rise: E_C[phi]; times nbeta it is the weight-refined learning coefficient.
    acceptance, trace: as in `influence.Dependence`, of the chains of the component.
    """

    value: Float[Array, " n"]
    stderr: Float[Array, " n"]
    restricted: Float[Array, " n"]
    restricted_stderr: Float[Array, " n"]
    rise: Scalar
    acceptance: Scalar
    trace: Float[Array, "chains draws"]


def susceptibilities(
    key: Key[Array, ""],
    loss: Loss,
    params: Params,
    data: Data,
    sampler: Sampler,
    *,
    masks: Mapping[str, PyTree],
    nbeta: Number,
    gamma: Number,
    sampling: Sampling,
    examples: Data | None = None,
) -> dict[str, Susceptibility]:
    """chi of every component in `masks` to every one of `examples` (those of `data` if not given), in one program.

    Baker et al. 2025 (arXiv 2504.18274). One more set of chains runs free, for E[dL_i]; all share their random numbers.
    Susceptibility to a data set q' is the mean over its examples. `refined.blocks` makes masks.
    """
    losses = example_losses(loss, data if examples is None else examples, params)
    L_star = mean_loss(loss, params, data)

    def phi(w: Params) -> Float[Array, "1"]:
        return jnp.mean(example_losses(loss, data, params)(w), keepdims=True) - L_star

    fold = covariance(phi, lambda w: losses(w) - L_star - phi(w))

    def run(mask: PyTree) -> Chains:
        potential = localised(loss, data, params, nbeta=nbeta, gamma=gamma, batch_size=sampling.batch_size, mask=mask)
        return run_chains(key, sampler, potential, params, sampling, fold=fold)

    free, *held = per_block(run, params, {"": True} | {f"/{name}": mask for name, mask in masks.items()}).values()
    return {name: _susceptibility(of, free) for name, of in zip(masks, held, strict=True)}


def _susceptibility(held: Chains, free: Chains) -> Susceptibility:
    """From the chains of the component and the free ones; chain c of both has the same key, and they leave together."""

    def statistic(each: tuple[Covariance, Covariance]) -> tuple[Array, Array, Array]:
        C, all = pooled(each[0]), pooled(each[1])
        restricted = -C.covariance[0]
        return restricted + C.mean_f * (all.mean_g - C.mean_g), restricted, C.mean_f[0]

    (value, restricted, rise), (stderr, error, _) = jackknife(statistic, (held.folded, free.folded))
    return Susceptibility(value, stderr, restricted, error, rise, jnp.mean(held.acceptance), held.loss)
