"""How near are WBIC, WAIC and the asymptotic formula to the exact evidence and the true generalisation error?

Watanabe 2009 (chapter 6), 2010 and 2013. Two models with exact evidence: linear regression with three weights (regular,
lambda = nu = 3/2) and y = a b x whose truth is 0 (singular, lambda = 1/2, m = 2). Many data sets of several sizes n; WBIC,
WAIC and the functional variance from chains, all else in closed form or by quadrature; beside them BIC, AIC, the training
loss and as many held-out examples as there are examples.

The default preset finds: in the singular model WBIC is off F by 0.17 nats at n = 256 and BIC by 3.7; in the regular one
BIC is the nearer (0.64 against 0.78) and AIC no worse than WAIC. WAIC is unbiased in both, AIC too high by 1.07/n in the
singular one. The equations of state hold in the regular model; in the singular one n = 256 is too few for the training
errors, whose corrections are of order 1/log n, and F grows by 0.29 log n, as log log n has it, not by lambda.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import xarray as xr
from jaxtyping import Array
from typing_extensions import Doc

from experiments import sweep
from experiments.experiment import at_least
from experiments.wbic.models import GAMMA, MODELS, TRUTH, exact, loss, sample, truth
from experiments.wbic.report import claims
from slt.bayes import bayes_loss, functional_variance, gibbs_loss, merged, pointwise
from slt.chains import Chains, Fold, run_chains
from slt.diagnostics import ess
from slt.samplers.base import localised
from slt.samplers.hamiltonian import hmc

__all__ = ["PRESETS", "claims", "plot", "run"]

LEAST = 16  # the smallest n
STEP, LEAPFROG = 0.15, 3  # of the Hamiltonian chains: h^2 (nbeta + gamma); more steps turn back where curvatures are 3
BLOCK = 50  # data sets at a time on a device

PRESETS = {
    "smoke": dict(sizes=2, data_sets=4, chains=2, warmup=10, draws=20),
    "default": {},
    "paper": dict(sizes=5, data_sets=2000, chains=8, warmup=500, draws=4000),
}


def run(
    *,
    sizes: Annotated[int, Doc("data set sizes n: 16, and each four times the one before")] = 3,
    data_sets: Annotated[int, Doc("data sets of each size and model")] = 200,
    chains: Annotated[int, Doc("chains for an estimate")] = 4,
    warmup: Annotated[int, Doc("steps thrown away at the start of each chain")] = 100,
    draws: Annotated[int, Doc("draws of each chain, one a step")] = 400,
) -> xr.Dataset:
    """Estimate by chains, and exactly, for many data sets of each size from each of the two models."""
    at_least(2, sizes=sizes, data_sets=data_sets, chains=chains)
    at_least(0, warmup=warmup)
    at_least(8, draws=draws)
    ns = [LEAST * 4**i for i in range(sizes)]
    grid = sweep.product(model=range(len(MODELS)), n=ns, data_set=range(data_sets))
    point = functools.partial(_point, most=ns[-1], chains=chains, warmup=warmup, draws=draws)
    results = sweep.run(point, grid, name="data_sets", block=BLOCK).assign_coords(model=list(MODELS))
    results.n.attrs["units"] = "examples"
    about = dict(zip(("parameters", "lambda", "multiplicity"), zip(*MODELS.values(), strict=True), strict=True))
    return results.assign({name: ("model", list(values)) for name, values in about.items()})


def plot(results: xr.Dataset) -> Any:
    """The evidence and what is said of it, over n; generalisation losses and what foretells them."""
    from experiments.wbic.figure import draw  # here: Matplotlib takes half a second to import

    return draw(results)


def _point(p: dict[str, Any], *, most: int, chains: int, warmup: int, draws: int) -> dict[str, Array]:
    """One data set: everything in excess of the truth's loss (n S_n over the data set, S over new examples)."""
    model, n, start = p["model"], p["n"], jnp.zeros(len(TRUTH))
    key = functools.reduce(jax.random.fold_in, (model, n, p["data_set"]), jax.random.key(0))
    key_data, key_test, key_chains = jax.random.split(key, 3)
    data, test = sample(key_data, model, n, most), sample(key_test, model, n, most)
    each = functools.partial(loss, model)
    entropy, test_entropy = (jnp.sum(each(truth(model), rows)) / n for rows in (data, test))
    fold = together(pointwise(each, data), pointwise(each, test))

    def chain(key: Array, beta: Array) -> Chains:
        potential = localised(each, data, start, nbeta=most * beta, gamma=GAMMA)  # `most` rows, of which n count
        sampler, steps = hmc(STEP / (n * beta + GAMMA), leapfrog=LEAPFROG), (chains, warmup, draws)
        return run_chains(key, sampler, potential, start, fold=fold, chains=steps[0], warmup=steps[1], draws=steps[2])

    run = jax.vmap(chain)(jax.random.split(key_chains), jnp.stack([1 / jnp.log(n), jnp.ones(())]))
    seen, new = (merged(jax.tree.map(lambda leaf: leaf[1], part)) for part in run.folded)
    nL, V, share = most * run.loss[0], functional_variance(seen), most / n
    values = {
        "wbic": jnp.mean(nL) - n * entropy,
        "wbic_stderr": jnp.std(nL, ddof=1) / jnp.sqrt(ess(nL)),
        "acceptance": jnp.min(run.acceptance),
        "fluctuation": V / 2,
        "waic": share * bayes_loss(seen) + V / n - entropy,
        "bayes_training": share * bayes_loss(seen) - entropy,
        "gibbs_training": share * gibbs_loss(seen) - entropy,
        "held_out": share * bayes_loss(new) - test_entropy,
    }
    return values | {f"exact_{name}": value for name, value in exact(model, data, n)._asdict().items()}


def together(one: Fold, other: Fold) -> Fold:
    """Two statistics of the same draws."""
    update = lambda carry, params: (one.update(carry[0], params), other.update(carry[1], params))
    return Fold(lambda params: (one.init(params), other.init(params)), update)
