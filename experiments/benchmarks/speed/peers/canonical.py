"""Learning coefficients with canonical-interp 0.1.5, which samples all chains at once under `torch.func.vmap`.

In its favour: batches made beforehand and handed over as they are, all chains in one call, no progress bar, the loss at
the start on the whole data as one batch, and a short run of as many chains before the clock starts, because the library
compiles its update step even with `compile=False`. `"compile": true` compiles the gradient too. `warmup_seconds` is the
time of the short run, compilation included. All chains see the same batches in the same order.
The library needs `itertools.batched`, absent before Python 3.12; it is supplied here.

`{"do": "chains", "problem": .npz, "batch", "chains", "draws", "burn_in" (optional), "nbeta", "gamma", "step_size",
"seed"}` samples around one point.
"""
# pyright: reportMissingImports=false

import itertools
import logging
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version

import torch
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

    def __init__(self, x: torch.Tensor, batches: list[torch.Tensor]) -> None:
        super().__init__(x, batches)
        self.all, self.passes = [x], 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        self.passes += 1
        return iter(self.batches if self.passes == 1 else self.all)

    def __len__(self) -> int:
        return 1


def sample(request: Request, draws: int, burn_in: int, model: TiedAutoencoder, loader: Feed) -> torch.Tensor:
    """The losses (chains, draws)."""
    estimator = LLCEstimator(
        draws=draws,
        chains=request["chains"],
        burnin_steps=burn_in,
        steps_bw_draws=1,
        learning_rate=request["step_size"],
        localization=float(request["gamma"]),
        nbeta=request["nbeta"],
    )
    estimator.estimate_llc(
        model,
        loader,
        criterion_fn=mean_loss,
        chain_batch="all",
        seed=request["seed"],
        compile=request.get("compile", False),
        unpack_fn=lambda batch: (batch, batch),
        show_progress=False,
    )
    return estimator.get_metrics()["losses"]


def chains(request: Request) -> Answer:
    """Sample around one point."""
    problem = load(request["problem"])
    model = TiedAutoencoder(problem.weights, problem.bias)
    batches = shuffled_batches(problem.x, request["batch"], steps_of(request), request["seed"])
    begin = time.perf_counter()
    sample(request, 3, 0, model, Feed(problem.x, batches))
    loader = Feed(problem.x, batches)
    start = time.perf_counter()
    losses = sample(request, request["draws"], request.get("burn_in", 0), model, loader)
    seconds = time.perf_counter() - start
    answer = chains_answer(request, seconds, losses.mean(1), full_loss(model, problem.x))
    return {**answer, "warmup_seconds": start - begin}


if __name__ == "__main__":
    logging.getLogger("canonical_interp").setLevel(logging.ERROR)
    serve(f"canonical-interp {version('canonical-interp')}, torch {torch.__version__}", {"chains": chains})
