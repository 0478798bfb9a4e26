"""How near are WBIC, WAIC and the asymptotic formula to the exact evidence and the true generalisation error?

Watanabe 2009 (chapter 6), 2010 and 2013. Two models with exact evidence: linear regression with three weights (regular,
lambda = nu = 3/2) and y = a b x whose truth is 0 (singular, lambda = 1/2, m = 2). WBIC and WAIC are from chains, all
else is exact; beside them BIC, AIC, the training loss and held-out examples.
"""

import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import xarray as xr
from jaxtyping import Array
from typing_extensions import Doc

import slt
import sweeps
from experiments.shared.ranges import at_least, between, checked
from experiments.wbic.models import GAMMA, MODELS, TRUTH, exact, loss, sample, truth
from experiments.wbic.report import claims

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "1 min on two cores"
LEAST = 16  # the smallest n
STEP, LEAPFROG = 0.15, 3  # of the Hamiltonian chains: h^2 (nbeta + gamma); more steps turn back where curvatures are 3
BLOCK = 50  # data sets at a time on a device

PRESETS = {
    "smoke": dict(sizes=2, data_sets=4, sampling=slt.Sampling(chains=2, warmup=10, draws=20)),
    "default": {},
    "paper": dict(sizes=5, data_sets=2000, sampling=slt.Sampling(chains=8, warmup=500, draws=4000)),
}


@checked
def run(
    *,
    sizes: Annotated[int, between(2, 8), Doc("data set sizes n: 16, and each four times the one before")] = 3,
    data_sets: Annotated[int, between(2, 10**6), Doc("data sets of each size and model")] = 200,
    sampling: slt.Sampling = slt.Sampling(chains=4, warmup=100, draws=400),
) -> xr.Dataset:
    """Estimate by chains, and exactly, for many data sets of each size from each of the two models."""
    at_least(2, chains=sampling.chains)
    ns = [LEAST * 4**i for i in range(sizes)]
    grid = sweeps.product(model=range(len(MODELS)), n=ns, data_set=range(data_sets))
    point = functools.partial(_point, most=ns[-1], sampling=sampling)
    results = sweeps.map(point, grid, name="data_sets", block=BLOCK).assign_coords(model=list(MODELS))
    results.n.attrs["units"] = "examples"
    about = dict(zip(("parameters", "lambda", "multiplicity"), zip(*MODELS.values(), strict=True), strict=True))
    return results.assign({name: ("model", list(values)) for name, values in about.items()})


def plot(results: xr.Dataset) -> Any:
    """The evidence and what is said of it, over n; generalisation losses and what foretells them."""
    from experiments.wbic.figure import draw

    return draw(results)


def _point(p: dict[str, Any], *, most: int, sampling: slt.Sampling) -> dict[str, Array]:
    """One data set: everything in excess of the truth's loss (n S_n over the data set, S over new examples)."""
    model, n, start = p["model"], p["n"], jnp.zeros(len(TRUTH))
    key = functools.reduce(jax.random.fold_in, (model, n, p["data_set"]), jax.random.key(0))
    key_data, key_test, key_chains = jax.random.split(key, 3)
    data, test = sample(key_data, model, n, most), sample(key_test, model, n, most)
    each = functools.partial(loss, model)
    entropy, test_entropy = (jnp.sum(each(truth(model), rows)) / n for rows in (data, test))
    fold = slt.together(slt.pointwise(each, data), slt.pointwise(each, test))

    def chain(key: Array, beta: Array) -> slt.Chains:
        potential = slt.localised(each, data, start, nbeta=most * beta, gamma=GAMMA)  # `most` rows, of which n count
        sampler = slt.hmc(STEP / (n * beta + GAMMA), leapfrog=LEAPFROG)
        return slt.run_chains(key, sampler, potential, start, sampling, fold=fold)

    run = jax.vmap(chain)(jax.random.split(key_chains), jnp.stack([1 / jnp.log(n), jnp.ones(())]))
    seen, new = (slt.merged(jax.tree.map(lambda leaf: leaf[1], part)) for part in run.folded)
    nL, V, share = most * run.loss[0], slt.functional_variance(seen), most / n
    values = {
        "wbic": jnp.mean(nL) - n * entropy,
        "wbic_stderr": jnp.std(nL, ddof=1) / jnp.sqrt(slt.ess(nL)),
        "acceptance": jnp.min(run.acceptance),
        "fluctuation": V / 2,
        "waic": share * slt.bayes_loss(seen) + V / n - entropy,
        "bayes_training": share * slt.bayes_loss(seen) - entropy,
        "gibbs_training": share * slt.gibbs_loss(seen) - entropy,
        "held_out": share * slt.bayes_loss(new) - test_entropy,
    }
    return values | {f"exact_{name}": value for name, value in exact(model, data, n)._asdict().items()}
