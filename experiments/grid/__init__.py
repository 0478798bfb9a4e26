"""Which step size, temperature and localisation give a learning coefficient to believe, and does the verdict know?

SGLD over a grid of step sizes, n*beta and gamma, on models whose estimate is known exactly at every finite n*beta and
gamma: regular, on all data and on minibatches, a monomial, reduced-rank regression; and a deep linear network, whose
lambda is known and whose estimate long chains of MALA give. What `verdict` says of each cell is held against its error.
"""

import functools
from typing import Annotated, Any

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key
from typing_extensions import Doc

from experiments import sweep
from experiments.experiment import at_least
from experiments.grid.cases import BATCH, CASES, DEFAULTS, SIZE, Case
from experiments.grid.report import claims
from slt.curvature import gaussian_llc
from slt.curves import rows
from slt.diagnostics import verdict
from slt.estimate import LLC, estimate_llc
from slt.grid import plateau
from slt.samplers.langevin import mala, sgld

__all__ = ["PRESETS", "claims", "plot", "run"]

NBETAS = BATCH / np.log(BATCH), SIZE / np.log(SIZE), 2000.0
BLOCK = 24  # cells at a time on a device
REFERENCE_STEPS = 0.1, 0.7  # eps A of the reference chains, A = nbeta h + gamma
MAX_REFERENCE_ERROR = 0.03  # of a reference estimate, in units of itself

PRESETS = {
    "smoke": dict(models="monomial", steps=3, gammas=2, chains=2, warmup=10, draws=20, reference=10),
    "default": {},
    "paper": dict(steps=21, gammas=13, chains=10, warmup=10000, draws=10000, reference=20000),
}


def run(
    *,
    models: Annotated[str, Doc("which, with commas between: " + ", ".join(CASES))] = ",".join(CASES),
    steps: Annotated[int, Doc("step sizes, from 1e-6 to 1e-1")] = 11,
    gammas: Annotated[int, Doc("localisations: 0, and from .1 to 1e4")] = 7,
    chains: Annotated[int, Doc("chains for an estimate")] = 4,
    warmup: Annotated[int, Doc("steps thrown away at the start of each chain")] = 2000,
    draws: Annotated[int, Doc("draws of each chain, one in three steps")] = 2000,
    reference: Annotated[
        int, Doc("draws, one in four steps, of each of 16 MALA chains where no exact value is known")
    ] = 5000,
) -> xr.Dataset:
    """Estimate every cell of the grid on every model, beside its exact value, the verdict, and the plateau."""
    at_least(1, chains=chains)
    at_least(2, steps=steps, gammas=gammas)
    at_least(0, warmup=warmup)
    at_least(8, draws=draws, reference=reference)
    names = [name.strip() for name in models.split(",")]
    if unknown := [name for name in names if name not in CASES]:
        raise ValueError(f"got the model {unknown[0]!r}: write some of {', '.join(CASES)}, with commas between")
    axes = dict(
        step_size=np.geomspace(1e-6, 1e-1, steps), nbeta=np.array(NBETAS),
        gamma=np.append(0.0, np.geomspace(0.1, 1e4, gammas - 1)),
    )  # fmt: skip
    each = [_model(name, CASES[name](), axes, chains, warmup, draws, reference) for name in names]
    return xr.concat(each, xr.DataArray(names, dims="model", name="model"))


def plot(results: xr.Dataset) -> Any:
    """The grid of each model at each n*beta, with what the verdict says; how often it is right; the plateaus."""
    from experiments.grid.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _model(
    name: str, case: Case, axes: dict[str, np.ndarray], chains: int, warmup: int, draws: int, reference: int
) -> xr.Dataset:
    """One model: its grid, its truth, its plateaus, and what the settings of devinterp give."""
    length = dict(chains=chains, warmup=warmup, draws=draws, thin=3)
    grid = sweep.product(**{axis: values.tolist() for axis, values in axes.items()})
    cells = sweep.run(_point(case, sgld, **length), grid, name=name, block=BLOCK)
    llc = _llc(cells, tuple(len(values) for values in axes.values()))
    published = {key: np.array([setting[key] for setting in DEFAULTS.values()]) for key in axes}
    default = _llc(
        sweep.run(_point(case, sgld, chains=4, warmup=0, draws=200), published, name=f"{name} published"),
        (len(DEFAULTS),),
    )
    exact, error = _exact(name, case, axes["nbeta"], axes["gamma"], reference)
    level = [plateau(jax.tree.map(lambda leaf: leaf[:, i : i + 1], llc)) for i in range(len(NBETAS))]
    on_grid, level_dims = ("step_size", "nbeta", "gamma"), ("nbeta",)
    variables = {
        "value": (on_grid, llc.value, {"long_name": "lambda-hat", "units": "1"}),
        "stderr": (on_grid, llc.stderr, {"units": "1"}),
        "findings": (on_grid, _findings(llc), {"long_name": "what verdict says"}),
        "drift": (on_grid, _drift(llc), {"long_name": "second half of the trace less the first, in units of its mean"}),
        "exact": (("nbeta", "gamma"), exact, {"long_name": "what an exact sampler returns", "units": "1"}),
        "exact_stderr": (("nbeta", "gamma"), error, {"units": "1"}),
        "gaussian": (("nbeta", "gamma"), _gaussian(case, axes), {"long_name": "what the Hessian at w* gives"}),
        "member": (on_grid, np.concatenate([p.member for p in level], axis=1), {"long_name": "on the plateau"}),
        "plateau": (level_dims, [p.value for p in level], {"units": "1"}),
        "plateau_low": (level_dims, [p.low for p in level], {"units": "1"}),
        "plateau_high": (level_dims, [p.high for p in level], {"units": "1"}),
        "across": ((), plateau(llc).value, {"long_name": "plateau over all n*beta", "units": "1"}),
        "truth": ((), case.value, {"long_name": "lambda", "units": "1"}),
        "parameters": ((), sum(leaf.size for leaf in jax.tree.leaves(case.params))),
        "published": (("setting",), default.value, {"long_name": "lambda-hat without warm-up, 4 chains of 200 draws"}),
        "published_findings": (("setting",), _findings(default)),
    }
    return xr.Dataset(variables, axes | {"setting": list(DEFAULTS)})


def _point(case: Case, sampler: Any, *, chains: int, warmup: int, draws: int, thin: int = 1) -> Any:
    """One cell: lambda-hat at its setting. The key is a function of the setting, so that cells err independently."""

    def point(at: dict[str, Array]) -> LLC:
        return estimate_llc(
            _key(at), case.loss, case.params, case.data, sampler(at["step_size"]), nbeta=at["nbeta"], gamma=at["gamma"],
            chains=chains, warmup=warmup, draws=draws, thin=thin, batch_size=case.batch_size, baseline=case.baseline,
        )  # fmt: skip

    return point


def _key(at: dict[str, Array]) -> Key[Array, ""]:
    bits = [
        jax.lax.bitcast_convert_type(at[name].astype("float32"), "uint32") for name in ("step_size", "nbeta", "gamma")
    ]
    return functools.reduce(jax.random.fold_in, bits, jax.random.key(0))


def _exact(
    name: str, case: Case, nbetas: np.ndarray, gammas: np.ndarray, draws: int
) -> tuple[Float[np.ndarray, "b g"], Float[np.ndarray, "b g"]]:
    """What an exact sampler returns at each (nbeta, gamma), and its standard error: zero where it is a formula."""
    if case.finite is not None:
        exact = np.array([[case.finite(nbeta, gamma) for gamma in gammas.tolist()] for nbeta in nbetas.tolist()])
        return exact, np.zeros_like(exact)
    grid = sweep.product(share=REFERENCE_STEPS, nbeta=nbetas.tolist(), gamma=gammas.tolist())
    grid["step_size"] = grid.pop("share") / (grid["nbeta"] * case.curvature + grid["gamma"])
    chains = _point(case, mala, chains=16, warmup=draws, draws=draws, thin=4)
    llc = _llc(sweep.run(chains, grid, name=f"{name} reference", block=BLOCK), (len(REFERENCE_STEPS), -1))
    trusted = (_findings(llc) == "") & (llc.stderr < MAX_REFERENCE_ERROR * llc.value)
    error = np.where(trusted, llc.stderr, np.inf)
    best = (error.argmin(axis=0), np.arange(error.shape[1]))
    shape = len(nbetas), len(gammas)
    known = np.isfinite(error[best])
    return np.where(known, llc.value[best], np.nan).reshape(shape), np.where(known, error[best], np.nan).reshape(shape)


def _gaussian(case: Case, axes: dict[str, np.ndarray]) -> Float[np.ndarray, "b g"]:
    """The simplest geometry: lambda-hat if the loss were its Hessian at w*; NaN where there is no such Gaussian."""
    value = lambda nbeta, gamma: gaussian_llc(case.loss, case.params, case.data, nbeta=nbeta, gamma=gamma)
    each = jax.vmap(jax.vmap(value, (None, 0)), (0, None))
    return np.asarray(jax.jit(each)(axes["nbeta"], axes["gamma"]))


def _llc(estimates: xr.Dataset, shape: tuple[int, ...]) -> LLC:
    return LLC._make(
        leaf.reshape(*shape, *leaf.shape[leaf.ndim - inner :])
        for leaf, inner in ((estimates[name].values, 2 if name == "trace" else 0) for name in LLC._fields)
    )


def _findings(llc: LLC) -> np.ndarray:
    """The kinds of trouble `verdict` finds with each estimate."""
    kinds = [", ".join(line.split(":")[0] for line in verdict(row)) for row in rows(llc)]
    return np.array(kinds, dtype=str).reshape(np.shape(llc.value))


def _drift(llc: LLC) -> np.ndarray:
    """How far the recorded loss moves between the halves of its trace, in units of lambda-hat: all a trace plot shows."""
    half = llc.trace.shape[-1] // 2
    with np.errstate(all="ignore"):
        first, second = (np.mean(part, axis=(-1, -2)) for part in (llc.trace[..., :half], llc.trace[..., half:]))
        return np.asarray((second - first) / np.abs(llc.value))
