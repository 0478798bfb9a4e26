"""Learning coefficients with devinterp 1.3.2, `estimate_learning_coeff_with_summary` and SGLD.

In its favour: batches made beforehand and handed over as they are (`"loader": "DataLoader"` takes torch's own shuffling
loader instead, the ordinary and much slower use), the loss at the start given rather than estimated, `verbose=False`,
`online=False`, no further callbacks. The batches come in a DataLoader by name, since the library asks for its batch
size. Chains run one after another and all see the same batches in the same order. `"cores": 2` runs them in a pool of
processes of one thread each, which takes seconds to start. `"method": "SGMCMC"` takes the library's newer `SGMCMC.sgld`,
which draws the same numbers.

`{"do": "chains", "problem": .npz, "batch", "chains", "draws", "burn_in" (optional), "nbeta", "gamma", "step_size",
"seed"}` samples around one point. `{"do": "curve", ...}` takes W (points, hidden, features) and b (points, features)
and repeats that for every point, as a user would, within the clock.
"""
# pyright: reportMissingImports=false

import os
import time
from importlib.metadata import version
from typing import Any

import torch
from devinterp.optim.sgld import SGLD
from devinterp.optim.sgmcmc import SGMCMC
from devinterp.slt.sampler import estimate_learning_coeff_with_summary
from serve import (
    Answer,
    Prebatched,
    Request,
    TiedAutoencoder,
    chains_answer,
    full_loss,
    load,
    mean_loss,
    serve,
    shuffled_batches,
    steps_of,
)
from torch.utils.data import DataLoader, TensorDataset

METHODS = {"SGLD": SGLD, "SGMCMC": SGMCMC.sgld}


def evaluate(model: TiedAutoencoder, batch: Any) -> torch.Tensor:
    """The loss that the library differentiates; its own loaders wrap the batch in a list."""
    x = batch if isinstance(batch, torch.Tensor) else batch[0]
    return mean_loss(model(x), x)


def make_loader(request: Request, x: torch.Tensor) -> DataLoader:
    """Batches made beforehand, or torch's shuffling loader."""
    if request.get("loader", "batches") == "DataLoader":
        return DataLoader(TensorDataset(x), batch_size=request["batch"], shuffle=True)
    return Prebatched(x, shuffled_batches(x, request["batch"], steps_of(request), request["seed"]))


def sample(request: Request, loader: DataLoader, model: TiedAutoencoder, initial_loss: float) -> torch.Tensor:
    """Each chain's mean loss."""
    result = estimate_learning_coeff_with_summary(
        model,
        loader,
        evaluate=evaluate,
        sampling_method=METHODS[request.get("method", "SGLD")],
        optimizer_kwargs={"lr": request["step_size"], "nbeta": request["nbeta"], "localization": request["gamma"]},
        num_draws=request["draws"],
        num_chains=request["chains"],
        num_burnin_steps=request.get("burn_in", 0),
        init_loss=initial_loss,
        cores=request.get("cores", 1),
        seed=request["seed"],
        verbose=False,
        online=False,
    )
    return torch.from_numpy(result["loss/trace"]).double().mean(1)


def chains(request: Request) -> Answer:
    """Sample around one point."""
    os.environ["OMP_NUM_THREADS"] = "1"  # for the pool's processes; this one has its threads already
    problem = load(request["problem"])
    model = TiedAutoencoder(problem.weights, problem.bias)
    loader = make_loader(request, problem.x)
    initial_loss = full_loss(model, problem.x)
    start = time.perf_counter()
    means = sample(request, loader, model, initial_loss)
    return chains_answer(request, time.perf_counter() - start, means, initial_loss)


def curve(request: Request) -> Answer:
    """Sample around every point of a path, one after another."""
    problem = load(request["problem"])
    loader = make_loader(request, problem.x)
    answers = []
    start = time.perf_counter()
    for weights, bias in zip(problem.weights, problem.bias, strict=True):
        model = TiedAutoencoder(weights, bias)
        initial_loss = full_loss(model, problem.x)
        means = sample(request, loader, model, initial_loss)
        answers.append(chains_answer(request, 0.0, means, initial_loss))
    return {
        "seconds": time.perf_counter() - start,
        "chain_steps": sum(answer["chain_steps"] for answer in answers),
        **{name: [answer[name] for answer in answers] for name in ("llc", "stderr", "initial_loss")},
    }


if __name__ == "__main__":
    serve(f"devinterp {version('devinterp')}, torch {torch.__version__}", {"chains": chains, "curve": curve})
