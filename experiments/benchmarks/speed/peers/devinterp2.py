"""Learning coefficients with devinterp 2.0.1, which is written for language models.

`llc()` takes a data set of tokens and, for any other model, a `loss_fn` from tokens to a loss per token. Here an
example is the pair of tokens (its row in the data, 0) and `loss_fn` looks the row up: one loss per example. In the
library's favour: progress bars off, no observables, the loss at the start taken from one batch only (2.0.1 repeats it
for every chain; the whole data's loss is computed here), and the zarr store, which `llc()` cannot do without, in memory
where there is /dev/shm. The library replays the batches of its first pass for ever and drops an incomplete one: the
rows are repeated until they fill whole batches, so that every example counts. Each chain has its own order.
"""
# pyright: reportMissingImports=false

import math
import os
import tempfile
from importlib.metadata import version

os.environ["TQDM_DISABLE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import models
import torch
from datasets import Dataset
from devinterp.slt.llc import llc
from worker import Answer, Clock, Request, coefficients, count_of_batches, serve

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


def rows_as_tokens(request: Request, n: int) -> Dataset:
    """Pairs (row, 0), each row repeated until they fill whole batches."""
    copies = math.ceil(count_of_batches(n, request) * request["batch"] / n)
    rows = torch.arange(n).repeat(copies)
    tokens = torch.stack([rows, torch.zeros_like(rows)], 1)
    return Dataset.from_dict({"input_ids": tokens.numpy()}).with_format("torch")


def chains(request: Request) -> Answer:
    """Sample around one point."""
    model, x, initial_loss = models.load(request)

    def loss_fn(model: torch.nn.Module, input_ids: torch.Tensor) -> torch.Tensor:
        batch = x[input_ids[:, 0]]
        return (batch - model(batch)).square().sum(1, keepdim=True)

    with Clock() as clock, tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        result = llc(
            model,
            rows_as_tokens(request, len(x)),
            {},
            lr=request["step_size"],
            n_beta=request["nbeta"],
            localization=request["gamma"],
            num_chains=request["chains"],
            num_draws=request["draws"],
            batch_size=request["batch"],
            num_init_loss_batches=1,
            init_seed=request["seed"],
            match_sampling_input_ids_across_chains=False,
            device="cpu",
            output_path=f"{folder}/samples.zarr",
            loss_fn=loss_fn,
        )
        losses = torch.from_numpy(result.loss_trace.values)
    return coefficients(clock, request, losses, initial_loss)


if __name__ == "__main__":
    serve(f"devinterp {version('devinterp')}, torch {torch.__version__}", chains)
