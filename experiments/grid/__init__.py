"""Which step size, temperature and localisation give a learning coefficient to believe, and does the verdict know?

SGLD over a grid of step sizes, n*beta and gamma, on models whose estimate is known exactly at every finite n*beta and
gamma: regular, on all data and on minibatches, a monomial, reduced-rank regression; and a deep linear network, whose
lambda is known and whose estimate long chains of MALA give. What `verdict` says of each cell is held against its error.
"""

import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from typing_extensions import Doc

import slt
import sweeps
from experiments.grid.cases import BATCH, CASES, SIZE, Case
from experiments.grid.report import claims
from experiments.shared.ranges import at_least, between, checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "4-5 min on two cores"
NBETAS = BATCH / np.log(BATCH), SIZE / np.log(SIZE), 2000.0
BLOCK = 24  # cells at a time on a device
REFERENCE_STEPS = 0.1, 0.7  # eps A of the reference chains, A = nbeta h + gamma
MAX_REFERENCE_ERROR = 0.03  # of a reference estimate, in units of itself
AXES = "step_size", "nbeta", "gamma"

PRESETS = {
    "smoke": dict(models=("monomial",), steps=3, gammas=2, sampling=slt.Sampling(2, 10, 20, 3), reference=10),
    "default": {},
    "paper": dict(steps=21, gammas=13, sampling=slt.Sampling(10, 10000, 10000, 3), reference=20000),
}


@checked
def run(
    *,
    models: Annotated[
        tuple[Literal["regular", "minibatches", "monomial", "reduced rank", "deep linear"], ...],
        Doc("models to estimate"),
    ] = tuple(CASES),  # type: ignore[assignment]
    steps: Annotated[int, between(2, 1000), Doc("step sizes, from 1e-6 to 1e-1")] = 11,
    gammas: Annotated[int, between(2, 1000), Doc("localisations: 0, and from .1 to 1e4")] = 7,
    sampling: slt.Sampling = slt.Sampling(chains=4, warmup=2000, draws=2000, thin=3),
    reference: Annotated[int, between(8, 10**7), Doc("draws of 16 MALA chains where no exact value is known")] = 5000,
) -> xr.Dataset:
    """Estimate every cell of the grid on every model, beside its exact value, the verdict, and the plateau."""
    at_least(8, draws=sampling.draws)
    axes = {
        "step_size": np.geomspace(1e-6, 1e-1, steps),
        "nbeta": np.array(NBETAS),
        "gamma": np.append(0.0, np.geomspace(0.1, 1e4, gammas - 1)),
    }
    each = [_model(name, CASES[name](), axes, sampling, reference) for name in models]
    return xr.concat(each, xr.DataArray(list(models), dims="model", name="model"))


def plot(results: xr.Dataset) -> Any:
    """The grid of each model at each n*beta, with what the verdict says, and the plateaus."""
    from experiments.grid.figure import draw

    return draw(results)


def _model(name: str, case: Case, axes: dict[str, np.ndarray], sampling: slt.Sampling, reference: int) -> xr.Dataset:
    """One model: its grid, its truth, and its plateaus."""
    series = name.replace(" ", "_")
    found = sweeps.map(_estimator(case, slt.sgld, sampling), sweeps.product(**axes), name=series, block=BLOCK)
    exact, error = _exact(series, case, axes["nbeta"], axes["gamma"], reference)
    plateaus = [slt.plateau(slt.from_fields(found.isel(nbeta=[i]))) for i in range(len(NBETAS))]
    member = np.concatenate([plateau.member for plateau in plateaus], axis=1)
    variables: dict[str, Any] = {
        "value": (AXES, found.value.values, {"long_name": "lambda-hat"}),
        "stderr": (AXES, found.stderr.values),
        "findings": (AXES, slt.findings(found), {"long_name": "what verdict says"}),
        "drift": (
            AXES,
            _drift(slt.from_fields(found)),
            {"long_name": "second half of the trace less the first, over its mean"},
        ),
        "exact": (AXES[1:], exact, {"long_name": "what an exact sampler returns"}),
        "exact_stderr": (AXES[1:], error),
        "gaussian": (AXES[1:], _gaussian(case, axes), {"long_name": "what the Hessian at w* gives"}),
        "member": (AXES, member, {"long_name": "on the plateau"}),
        "plateau": ("nbeta", [plateau.value for plateau in plateaus]),
        "plateau_low": ("nbeta", [plateau.low for plateau in plateaus]),
        "plateau_high": ("nbeta", [plateau.high for plateau in plateaus]),
        "truth": ((), case.value, {"long_name": "lambda"}),
    }
    return xr.Dataset(variables, axes)


def _estimator(case: Case, sampler: Any, sampling: slt.Sampling) -> Callable[[dict[str, Array]], slt.LLC]:
    """One cell: lambda-hat at its setting. The key is a function of the setting, so that cells err independently."""
    sampling = sampling._replace(batch_size=case.batch_size)

    def estimate(at: dict[str, Array]) -> slt.LLC:
        bits = [jax.lax.bitcast_convert_type(at[name].astype("float32"), "uint32") for name in AXES]
        key = functools.reduce(jax.random.fold_in, bits, jax.random.key(0))
        held, kernel = dict(nbeta=at["nbeta"], gamma=at["gamma"]), sampler(at["step_size"])
        return slt.estimate_llc(key, case.loss, case.params, case.data, kernel, **held, **sampling._asdict())

    return estimate


def _exact(
    series: str, case: Case, nbetas: np.ndarray, gammas: np.ndarray, draws: int
) -> tuple[Float[np.ndarray, "b g"], Float[np.ndarray, "b g"]]:
    """What an exact sampler returns at each (nbeta, gamma), and its standard error: zero where it is a formula."""
    if case.finite is not None:
        exact = np.array([[case.finite(nbeta, gamma) for gamma in gammas.tolist()] for nbeta in nbetas.tolist()])
        return exact, np.zeros_like(exact)
    grid = sweeps.product(share=REFERENCE_STEPS, nbeta=nbetas, gamma=gammas)
    grid["step_size"] = grid.pop("share") / (grid["nbeta"] * case.curvature + grid["gamma"])
    sampling = slt.Sampling(chains=16, warmup=draws, draws=draws, thin=4)
    found = sweeps.map(_estimator(case, slt.mala, sampling), grid, name=f"{series}_reference", block=BLOCK)
    trusted = (slt.findings(found) == "") & (found.stderr < MAX_REFERENCE_ERROR * found.value).values
    shape = len(REFERENCE_STEPS), len(nbetas), len(gammas)
    value, error = (np.where(trusted, found[name], np.nan).reshape(shape) for name in ("value", "stderr"))
    best = np.nan_to_num(error, nan=np.inf).argmin(axis=0)[None]
    return np.take_along_axis(value, best, axis=0)[0], np.take_along_axis(error, best, axis=0)[0]


def _gaussian(case: Case, axes: dict[str, np.ndarray]) -> Float[np.ndarray, "b g"]:
    """The simplest geometry: lambda-hat if the loss were its Hessian at w*; NaN where there is no such Gaussian."""
    value = lambda nbeta, gamma: slt.gaussian_llc(case.loss, case.params, case.data, nbeta=nbeta, gamma=gamma)
    each = jax.vmap(jax.vmap(value, (None, 0)), (0, None))
    return np.asarray(jax.jit(each)(axes["nbeta"], axes["gamma"]))


def _drift(llc: slt.LLC) -> np.ndarray:
    """How far the recorded loss moves between the halves of its trace, in units of lambda-hat."""
    half = llc.trace.shape[-1] // 2
    with np.errstate(all="ignore"):
        first, second = (np.mean(part, axis=(-1, -2)) for part in (llc.trace[..., :half], llc.trace[..., half:]))
        return np.asarray((second - first) / np.abs(llc.value))
