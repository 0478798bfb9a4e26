"""Learning coefficients with devinterp 2.0.1, which is written for language models.

`llc()` takes a data set of tokens and, for any other model, a `loss_fn` from tokens to a loss per token. Here an
example is the pair of tokens (its row in the data, 0) and `loss_fn` looks the row up: one loss per example. In the
library's favour: progress bars off, no observables, the loss at the start taken from one batch only (2.0.1 repeats it
for every chain; the whole data's loss is computed here), the zarr store, which `llc()` cannot do without, in memory
where there is /dev/shm, and data in tensors instead of a Hugging Face `Dataset` (`"data": "hf"`, the documented use).
`"api": "sample_single_chain"` calls the inner sampler chain by chain: no store, and the data itself for tokens.

The library replays the batches of its first pass for ever and drops an incomplete one: the rows are repeated until they
fill whole batches, so that every example counts. Each chain has its own order. The library's estimate includes burn-in;
here `burn_in` steps are left out, as in the other peers.

`{"do": "chains", "problem": .npz, "batch", "chains", "draws", "burn_in" (optional), "nbeta", "gamma", "step_size",
"seed"}` samples around one point.
"""
# pyright: reportMissingImports=false

import os
import tempfile
import time
from importlib.metadata import version
from typing import Any

os.environ["TQDM_DISABLE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import datasets
import serve
import torch
from devinterp.optim import SGMCMC
from devinterp.slt.llc import llc
from devinterp.slt.sampler import sample_single_chain
from torch.utils.data import Dataset

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


class Tokens(Dataset):
    """Rows of tokens, taken a batch at a time."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[index]}

    def __getitems__(self, indices: list[int]) -> list[dict[str, torch.Tensor]]:
        return [{"input_ids": row} for row in self.rows[indices].unbind()]


class Batches(Tokens):
    """Rows of data, a batch as one item: the loader stacks it into (1, batch, features)."""

    def __getitems__(self, indices: list[int]) -> list[dict[str, torch.Tensor]]:
        return [{"input_ids": self.rows[indices]}]


def repeated_rows(request: serve.Request, n: int) -> torch.Tensor:
    """Indices of the examples, repeated until they fill whole batches."""
    copies = -(-serve.epoch_of_batches(n, request["batch"], serve.steps_of(request)) * request["batch"] // n)
    return torch.arange(n).repeat(copies)


def by_llc(request: serve.Request, model: serve.TiedAutoencoder, x: torch.Tensor) -> torch.Tensor:
    """The losses (chains, steps) of `llc()`."""
    rows = repeated_rows(request, len(x))
    tokens = torch.stack([rows, torch.zeros_like(rows)], 1)
    data: Any = Tokens(tokens)
    if request.get("data") == "hf":
        data = datasets.Dataset.from_dict({"input_ids": tokens.numpy()}).with_format("torch")

    def loss_fn(model: serve.TiedAutoencoder, input_ids: torch.Tensor) -> torch.Tensor:
        batch = x[input_ids[:, 0]]
        return (batch - model(batch)).square().sum(1, keepdim=True)

    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        result = llc(
            model,
            data,
            {},
            lr=request["step_size"],
            n_beta=request["nbeta"],
            localization=request["gamma"],
            num_chains=request["chains"],
            num_draws=serve.steps_of(request),
            batch_size=request["batch"],
            num_init_loss_batches=1,
            init_seed=request["seed"],
            match_sampling_input_ids_across_chains=False,
            device="cpu",
            output_path=f"{folder}/samples.zarr",
            loss_fn=loss_fn,
        )
        return torch.from_numpy(result.loss_trace.values)


def by_single_chain(request: serve.Request, model: serve.TiedAutoencoder, x: torch.Tensor) -> torch.Tensor:
    """The losses (chains, steps) of the inner sampler, kept by a callback."""
    losses = torch.zeros(request["chains"], serve.steps_of(request))
    data = Batches(x[repeated_rows(request, len(x))])

    def evaluate(model: serve.TiedAutoencoder, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict]:
        rows = batch["input_ids"][0]
        return serve.mean_loss(model(rows), rows), {}

    def keep(loss: torch.Tensor, chain: int, step: int, **_: Any) -> None:
        losses[chain, step] = loss

    settings = {"lr": request["step_size"], "nbeta": request["nbeta"], "localization": request["gamma"]}
    for chain in range(request["chains"]):
        sample_single_chain(
            model,
            data,
            evaluate,
            {name: None for name, _ in model.named_parameters()},
            num_draws=serve.steps_of(request),
            sampling_method=SGMCMC.sgld,
            sampling_method_kwargs=settings,
            chain=chain,
            seed=request["seed"] + chain,
            dataloader_seed=request["seed"] + chain,
            micro_callback=keep,
            batch_size=request["batch"],
        )
    return losses


def chains(request: serve.Request) -> serve.Answer:
    """Sample around one point."""
    problem = serve.load(request["problem"])
    model = serve.TiedAutoencoder(problem.weights, problem.bias)
    initial_loss = serve.full_loss(model, problem.x)
    sampler = by_single_chain if request.get("api") == "sample_single_chain" else by_llc
    start = time.perf_counter()
    losses = sampler(request, model, problem.x)
    seconds = time.perf_counter() - start
    return serve.chains_answer(request, seconds, losses[:, request.get("burn_in", 0) :].mean(1), initial_loss)


if __name__ == "__main__":
    serve.serve(f"devinterp {version('devinterp')}, torch {torch.__version__}", {"chains": chains})
