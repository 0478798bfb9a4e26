"""What the peer workers share: the line protocol, the model that is sampled and the batches it is fed.

A worker is a process of its own, because each peer needs packages that the others exclude. It reads one JSON request a
line from standard input and answers each with one JSON line on standard output; whatever the peer itself prints goes to
standard error. A request that fails is answered with `{"error": ...}` and the worker lives on.

Nothing here is imported from the rest of the project: the peers' environments hold torch, numpy and the peer only.
"""
# pyright: reportMissingImports=false

import argparse
import gc
import json
import math
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

Request = dict[str, Any]
Answer = dict[str, Any]


def serve(version: str, handlers: dict[str, Callable[[Request], Answer]]) -> None:
    """Announce the worker, then answer requests until standard input ends; `do` names the handler.

    With `--freeze` what the imports left behind is taken out of the garbage collector's sight, which is no ordinary use but
    faster: devinterp 2 collects twice a chain.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--freeze", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    if options.freeze:
        gc.collect()
        gc.freeze()
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        print(json.dumps({"ready": True, "version": version}), file=answers, flush=True)
        for line in sys.stdin:
            print(json.dumps(_answer(line, handlers)), file=answers, flush=True)


def _answer(line: str, handlers: dict[str, Callable[[Request], Answer]]) -> Answer:
    try:
        request = json.loads(line)
        return handlers[request["do"]](request)
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {str(error)[:300]}"}


class TiedAutoencoder(torch.nn.Module):
    """x' = ReLU(W^T W x + b), W of shape (hidden, features)."""

    def __init__(self, weights: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(weights.clone())
        self.bias = torch.nn.Parameter(bias.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(F.linear(F.linear(x, self.weights), self.weights.T, self.bias))


def mean_loss(output: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The squared error of an example, summed over features; mean over the batch."""
    return F.mse_loss(output, x) * x.shape[1]


@torch.no_grad()
def full_loss(model: TiedAutoencoder, x: torch.Tensor) -> float:
    """The loss on the whole data set."""
    return mean_loss(model(x), x).item()


class Problem(NamedTuple):
    """The data and the points to sample around: weights (hidden, features), or (points, hidden, features)."""

    x: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor


def load(path: str) -> Problem:
    """The arrays `x`, `W` and `b` of an .npz file, in single precision."""
    with np.load(path) as arrays:
        return Problem(*(torch.tensor(arrays[name], dtype=torch.float32) for name in ("x", "W", "b")))


def epoch_of_batches(n: int, batch: int, steps: int) -> int:
    """How many batches hold every example equally often; no more than the steps that will use them."""
    return min(math.lcm(n, batch) // batch, steps)


def shuffled_batches(x: torch.Tensor, batch: int, steps: int, seed: int) -> list[torch.Tensor]:
    """Batches of one size cut from shuffled copies of the data, so that no example is dropped or counted twice."""
    count = epoch_of_batches(len(x), batch, steps)
    generator = torch.Generator().manual_seed(seed)
    copies = -(-count * batch // len(x))
    order = torch.cat([torch.randperm(len(x), generator=generator) for _ in range(copies)])
    return [x[rows] for rows in order[: count * batch].split(batch)]


class Prebatched(DataLoader):
    """A DataLoader, as the peers ask for one, that hands out batches made beforehand and does nothing else."""

    def __init__(self, x: torch.Tensor, batches: list[torch.Tensor]) -> None:
        super().__init__(TensorDataset(x), batch_size=len(batches[0]))
        self.batches = batches

    def __iter__(self) -> Iterator[torch.Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def steps_of(request: Request) -> int:
    """Steps of one chain: `burn_in` (0 unless given) and one for each draw."""
    return request.get("burn_in", 0) + request["draws"]


def chains_answer(request: Request, seconds: float, chain_losses: torch.Tensor, initial_loss: float) -> Answer:
    """The answer to `chains`, from each chain's mean loss after burn-in."""
    llc = request["nbeta"] * (chain_losses.double() - initial_loss)
    return {
        "seconds": seconds,
        "chain_steps": request["chains"] * steps_of(request),
        "llc": llc.mean().item(),
        "llc_per_chain": llc.tolist(),
        "stderr": llc.std().item() / math.sqrt(len(llc)) if len(llc) > 1 else None,
        "initial_loss": initial_loss,
    }
