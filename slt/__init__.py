"""What is estimated: local learning coefficients and their kin. Knows only losses and pytrees.

Every public name is here: `slt.estimate_llc`, `slt.verdict`, `slt.sgld`. What is not needed for an estimate is
imported when it is asked for; `slt.phases` and `slt.plots` are modules.
"""

# ruff: noqa: F401
import importlib
from typing import Any

from slt.adaptive import Result, llc
from slt.calibration import Calibration, calibrate
from slt.chains import Chains, Covariance, Fold, Sampling, covariance, jackknife, pooled, run_chains, together
from slt.curves import Regression, curve_verdict, regress
from slt.diagnostics import Finding, findings, from_fields, verdict
from slt.estimate import LLC, Estimate, default_nbeta, estimate_llc
from slt.samplers.base import Potential, Sampler, localised, mean_loss
from slt.samplers.hamiltonian import hmc, nuts
from slt.samplers.langevin import mala, sgld
from slt.samplers.momentum import sghmc, sgnht
from slt.samplers.preconditioned import adam_sgld, rmsprop_sgld
from slt.samplers.underdamped import ghmc, kinetic
from slt.statistics import autocorrelation_time, ess, rhat, step_bias

_BY_MODULE = {
    "bayes": "Criteria FreeEnergy Pointwise bayes_loss criteria free_energy functional_variance "
    "gibbs_loss ladder merged pointwise thermodynamic_weights wbic",
    "curvature": "Ritz gaussian_llc gaussian_llc_quadrature hessian hessian_trace hessian_vector_product "
    "top_eigenvalues",
    "grid": "Plateau llc_grid plateau",
    "influence": "Dependence bayesian_influence damped_influence example_losses loss_kernel",
    "refined": "additivity blocks per_block",
    "smc": "tempered_smc",
    "strata": "codimension deep_linear_curvatures deep_linear_local generic_ranks partial_products rank_array",
    "susceptibility": "Susceptibility susceptibilities",
    "temperatures": "Comparison combination compare llc_at_temperatures slope_weights",
    "theory": "deep_linear normal_crossing normal_crossing_finite quadratic_network reduced_rank reduced_rank_finite "
    "regular regular_finite tanh_finite tanh_network",
    "phases": "Alignment ChangePoint Circles Essential Fall Form Jump Level Milestone Process SlopeChange Stage Vertex "
    "align align_shifted change_points circles essential fall flats forms gaussian_process inflated jumps milestones "
    "slope_changes smooth stages vertices",
    "plots": "",
}
_MODULE_OF = {name: module for module, names in _BY_MODULE.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _BY_MODULE:
        return importlib.import_module(f"slt.{name}")
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"slt.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module 'slt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_BY_MODULE, *_MODULE_OF})
