"""Learning coefficients with canonical-interp 0.1.5, which samples all chains at once under `torch.func.vmap`.

In its favour: batches made beforehand and handed over as they are, all chains in one call, no progress bar, the loss at
the start on the whole data as one batch, and a short run of as many chains before the clock starts, because the library
compiles its update step even with `compile=False`. All chains see the same batches in the same order.
The library needs `itertools.batched`, absent before Python 3.12; it is supplied here.
"""
# pyright: reportMissingImports=false

import itertools
import logging
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import models
import torch
from worker import Answer, Clock, Prebatched, Request, coefficients, serve, shuffled_batches


def batched(items: Iterable, size: int) -> Iterator[tuple]:
    """Python 3.12's `itertools.batched`."""
    iterator = iter(items)
    while group := tuple(itertools.islice(iterator, size)):
        yield group


if not hasattr(itertools, "batched"):
    itertools.batched = batched  # pyright: ignore[reportAttributeAccessIssue]
from canonical_interp import LLCEstimator  # noqa: E402


class Feed(Prebatched):
    """Batches for the first pass, which the library keeps for sampling; then all data at once, for its initial loss."""

    passes = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        self.passes += 1
        return iter(self.batches if self.passes == 1 else self.dataset.tensors)

    def __len__(self) -> int:
        return 1


def sample(request: Request, draws: int, model: models.TiedAutoencoder, loader: Feed) -> torch.Tensor:
    """The losses (chains, draws)."""
    estimator = LLCEstimator(
        draws=draws,
        chains=request["chains"],
        burnin_steps=0,
        steps_bw_draws=1,
        learning_rate=request["step_size"],
        localization=float(request["gamma"]),
        nbeta=request["nbeta"],
    )
    estimator.estimate_llc(
        model,
        loader,
        criterion_fn=models.squared_error,
        chain_batch="all",
        seed=request["seed"],
        compile=False,
        unpack_fn=lambda batch: (batch, batch),
        show_progress=False,
    )
    return estimator.get_metrics()["losses"]


def chains(request: Request) -> Answer:
    """Sample around one point."""
    model, x, initial_loss = models.load(request)
    batches = shuffled_batches(x, request)
    sample(request, 3, model, Feed(x, batches))
    loader = Feed(x, batches)
    with Clock() as clock:
        losses = sample(request, request["draws"], model, loader)
    return coefficients(clock, request, losses, initial_loss)


if __name__ == "__main__":
    logging.getLogger("canonical_interp").setLevel(logging.ERROR)
    serve(f"canonical-interp {version('canonical-interp')}, torch {torch.__version__}", chains)
