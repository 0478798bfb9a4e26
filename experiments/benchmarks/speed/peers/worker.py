"""What the workers of all peers share: the protocol, the clock, and batches made beforehand.

A worker is a process of its own, because each peer needs packages that the others exclude. It reads one JSON request a
line and answers each with one JSON line; what the peer itself prints goes to standard error. Nothing here is imported
from the rest of the project: the peers' environments hold torch, numpy and the peer only.

A request names a `problem` (an .npz file), a `seed`, `batch`, and `steps` of training or `chains` and `draws` with
`nbeta`, `gamma` and `step_size`. The answer has `steps` (all instances or chains counted), `seconds`, `cpu` (processor
time) and `values` to compare with ours.
"""
# pyright: reportMissingImports=false

import argparse
import json
import math
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, TensorDataset

Request = dict[str, Any]
Answer = dict[str, Any]


class Clock:
    """Seconds of a `with` block, and the processor time of this process in it."""

    def __enter__(self) -> "Clock":
        self.begin = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.cpu = time.perf_counter() - self.begin[0], time.process_time() - self.begin[1]

    def answer(self, steps: int, values: list[float]) -> Answer:
        """The answer to a request of so many steps."""
        return {"steps": steps, "seconds": self.seconds, "cpu": self.cpu, "values": values}


def serve(version: str, handle: Callable[[Request], Answer]) -> None:
    """Announce the worker, then answer requests until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    warnings.simplefilter("ignore")
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        print(json.dumps({"version": version, "cpu": time.process_time()}), file=answers, flush=True)
        for line in sys.stdin:
            try:
                answer = handle(json.loads(line))
            except Exception as error:
                traceback.print_exc()
                answer = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
            print(json.dumps(answer), file=answers, flush=True)


def count_of_batches(n: int, request: Request) -> int:
    """How many batches hold each of n examples equally often; no more than the steps that will use them."""
    return min(math.lcm(n, request["batch"]) // request["batch"], request.get("steps") or request["draws"])


def shuffled_batches(data: torch.Tensor, request: Request) -> list[torch.Tensor]:
    """Batches of one size cut from shuffled copies of the data, so that no example is dropped or counted twice."""
    size = request["batch"]
    rows = count_of_batches(len(data), request) * size
    generator = torch.Generator().manual_seed(request["seed"])
    order = torch.cat([torch.randperm(len(data), generator=generator) for _ in range(math.ceil(rows / len(data)))])
    return [data[batch] for batch in order[:rows].split(size)]


class Prebatched(DataLoader):
    """A DataLoader, as the peers ask for one, that hands out batches made beforehand and does nothing else."""

    def __init__(self, data: torch.Tensor, batches: list[torch.Tensor]) -> None:
        super().__init__(TensorDataset(data), batch_size=len(batches[0]))
        self.batches = batches

    def __iter__(self) -> Iterator[torch.Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def coefficients(clock: Clock, request: Request, losses: torch.Tensor, initial_loss: float) -> Answer:
    """Answer of a sampler: lambda-hat of each chain, nbeta (mean loss - loss at the start); losses (chains, draws)."""
    values = request["nbeta"] * (losses.double().mean(1) - initial_loss)
    return clock.answer(request["chains"] * request["draws"], values.tolist())
