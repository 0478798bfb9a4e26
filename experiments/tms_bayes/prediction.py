"""What the free-energy formula says, before any sampling: F_k(n) = n L_k + lambda_k log n + c_k."""

import numpy as np
import scipy.special
import xarray as xr
from jaxtyping import Float

import toymodels as tm

FEATURES = 6
PHASES = {"4": (4, 0), "4+": (4, 1), "4++": (4, 2), "5": (5, 0), "5+": (5, 1), "6": (6, 0)}
"""Name -> (vertices, dead features with positive bias): the k-gons of six features of Chen et al. 2023."""
LAMBDA = {"4": 7.5, "4+": 8.0, "4++": 8.5, "5": 7.0, "5+": 8.5, "6": 8.5}
"""Half the number of directions in which the loss grows; for the 4-gons, where it is C^1 only, by volume scaling."""
CONSTANT = {"4": -18.64, "4+": -19.17, "4++": -18.35, "5": -7.156, "5+": -12.772, "6": -11.912}
"""c_k with copies, orbit, prior and transverse volume, from the geometry alone: a slow test derives them, to 0.3."""
LOSS, A_PRIORI, WITH_CONSTANT = "loss", "loss + lambda", "loss + lambda + constant"

Energy = Float[np.ndarray, "phases 3"]  # for each phase: level, coefficient, constant


def free_energy() -> xr.DataArray:
    """n L_k alone (BIC says the same: its d/2 log n is that of all phases of one model), and with what lambda_k adds.

    As c_k, `loss + lambda` has the prior at the point, |w|^2/2 without dead negative biases (Chen et al. 2023).
    """
    level, found = tm.levels(FEATURES), {LOSS: [], A_PRIORI: [], WITH_CONSTANT: []}
    for name, (k, plus) in PHASES.items():
        W, b = (np.asarray(leaf, float) for leaf in tm.polygon(k, FEATURES, plus))
        prior = float(np.sum(W**2) + np.sum(b[: k + plus] ** 2)) / 2
        found[LOSS].append((level[name], 0.0, 0.0))
        found[A_PRIORI].append((level[name], LAMBDA[name], prior))
        found[WITH_CONSTANT].append((level[name], LAMBDA[name], CONSTANT[name]))
    axes = {"predictor": list(found), "kgon": list(PHASES), "term": ["level", "coefficient", "constant"]}
    return xr.DataArray(np.array(list(found.values())), axes, dims=list(axes))


def evidence(F: Energy, n: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n phases"]:
    """-F_k(n)."""
    return -(F @ np.stack([n, np.log(n), np.ones_like(n)])).T


def occupancy(F: Energy, n: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n phases"]:
    """p_k(n) = exp(-F_k)/sum_j exp(-F_j): the share of the posterior in each phase."""
    return scipy.special.softmax(evidence(F, n), axis=1)


def takeover(n: Float[np.ndarray, " n"], odds: Float[np.ndarray, " n"]) -> float:
    """The last n at which the log odds of one phase to another turn positive, linear in log n; NaN if there is none."""
    rises = np.flatnonzero((odds[:-1] < 0) & (odds[1:] >= 0))
    if rises.size == 0:
        return float("nan")
    around = slice(rises[-1], rises[-1] + 2)
    return float(np.exp(np.interp(0, odds[around], np.log(n[around]))))


def crossing(F: Energy, before: int, after: int) -> float:
    """The n below 10^6 from which on phase `after` has the lower free energy; NaN if that is all n, or none."""
    n = np.geomspace(1, 1e6, 2000)
    log_p = evidence(F, n)
    return takeover(n, log_p[:, after] - log_p[:, before])
