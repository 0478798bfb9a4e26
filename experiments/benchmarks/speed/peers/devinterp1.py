"""Learning coefficients with devinterp 1.3.2, `estimate_learning_coeff_with_summary` and SGLD.

In its favour: batches made beforehand and handed over as they are (torch's shuffling loader, the ordinary use, is much
slower), the loss at the start given rather than estimated, `verbose=False`, `online=False`, no further callbacks. The
batches come in a DataLoader by name, since the library asks for its batch size. Chains run one after another and all
see the same batches in the same order; a pool of processes takes seconds to start.
"""
# pyright: reportMissingImports=false

from importlib.metadata import version
from typing import Any

import models
import torch
from devinterp.optim.sgld import SGLD
from devinterp.slt.sampler import estimate_learning_coeff_with_summary
from worker import Answer, Clock, Prebatched, Request, coefficients, serve, shuffled_batches


def evaluate(model: torch.nn.Module, batch: Any) -> torch.Tensor:
    """The loss that the library differentiates; its own loaders wrap the batch in a list."""
    return models.mean_loss(model, batch if isinstance(batch, torch.Tensor) else batch[0])


def chains(request: Request) -> Answer:
    """Sample around one point."""
    model, data, initial_loss = models.load(request)
    loader = Prebatched(data, shuffled_batches(data, request))
    settings = {"lr": request["step_size"], "nbeta": request["nbeta"], "localization": request["gamma"]}
    with Clock() as clock:
        result = estimate_learning_coeff_with_summary(
            model,
            loader,
            evaluate=evaluate,
            sampling_method=SGLD,
            optimizer_kwargs=settings,
            num_draws=request["draws"],
            num_chains=request["chains"],
            num_burnin_steps=0,
            init_loss=initial_loss,
            seed=request["seed"],
            verbose=False,
            online=False,
        )
    return coefficients(clock, request, torch.from_numpy(result["loss/trace"]), initial_loss)


if __name__ == "__main__":
    serve(f"devinterp {version('devinterp')}, torch {torch.__version__}", chains)
