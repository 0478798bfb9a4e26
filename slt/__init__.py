"""What is estimated: local learning coefficients and their kin. Knows only losses and pytrees.

Every public name is here: `slt.estimate_llc`, `slt.verdict`, `slt.sgld`. What is not needed for an estimate is
imported when it is asked for; `slt.phases` and `slt.plots` are modules.
"""

import importlib
from typing import Any

from slt.calibration import Calibration, calibrate
from slt.chains import (
    Chains,
    Covariance,
    Fold,
    Sampling,
    covariance,
    jackknife,
    per_chain,
    pooled,
    run_chains,
)
from slt.curves import Regression, curve_verdict, regress
from slt.diagnostics import Finding, findings, verdict
from slt.estimate import LLC, Estimate, default_nbeta, estimate_llc
from slt.samplers.base import Potential, Sampler, localised, mean_loss
from slt.samplers.hamiltonian import hmc, nuts
from slt.samplers.langevin import mala, sgld
from slt.samplers.momentum import sghmc, sgnht
from slt.samplers.preconditioned import adam_sgld, rmsprop_sgld
from slt.statistics import autocorrelation_time, ess, rhat, step_bias

_BY_MODULE = {
    "bayes": "Criteria Expected FreeEnergy Pointwise asymptotic_free_energy bayes_loss criteria expected free_energy "
    "functional_variance gibbs_loss ladder merged pointwise thermodynamic_weights wbic",
    "curvature": "Ritz gaussian_llc gaussian_llc_quadrature hessian hessian_trace hessian_vector_product "
    "top_eigenvalues",
    "grid": "Plateau llc_grid plateau",
    "influence": "Dependence bayesian_influence damped_influence example_losses loss_kernel",
    "refined": "blocks per_block",
    "strata": "codimension deep_linear_curvatures deep_linear_local generic_ranks partial_products rank_array",
    "susceptibility": "Susceptibility susceptibilities",
    "temperatures": "Comparison Disagreement by_slope by_variance combination compare disagreements "
    "llc_at_temperatures slope_weights",
    "theory": "deep_linear norm_product normal_crossing normal_crossing_finite power_sum quadratic_network "
    "reduced_rank reduced_rank_finite reduced_rank_local regular regular_finite tanh_finite tanh_network",
    "phases": "Alignment ChangePoint Circles Essential Form Milestone Process SlopeChange Stage Vertex align "
    "align_shifted change_points circles essential forms gaussian_process inflated milestones slope_changes smooth "
    "stages vertices",
    "plots": "",
}
_MODULE_OF = {name: module for module, names in _BY_MODULE.items() for name in names.split()}

__all__ = [
    "LLC",
    "Calibration",
    "Chains",
    "Covariance",
    "Estimate",
    "Finding",
    "Fold",
    "Potential",
    "Regression",
    "Sampler",
    "Sampling",
    "adam_sgld",
    "autocorrelation_time",
    "calibrate",
    "covariance",
    "curve_verdict",
    "default_nbeta",
    "ess",
    "estimate_llc",
    "findings",
    "hmc",
    "jackknife",
    "localised",
    "mala",
    "mean_loss",
    "nuts",
    "per_chain",
    "pooled",
    "regress",
    "rhat",
    "rmsprop_sgld",
    "run_chains",
    "sghmc",
    "sgld",
    "sgnht",
    "step_bias",
    "verdict",
]


def __getattr__(name: str) -> Any:
    if name in _BY_MODULE:
        return importlib.import_module(f"slt.{name}")
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"slt.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'slt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_BY_MODULE, *_MODULE_OF})
