"""The training loop of the public notebook of "Toy Models of Superposition", in PyTorch.

As published: one tensor W (instances, features, hidden) with `xavier_normal_` on all three axes, b = 0, a fresh batch
each step from two uniforms, the loss summed over instances, AdamW at 1e-3 with the learning rate set at every step.
In its favour: no progress bar or printing, constants built once, evaluation outside the clock, gradients set to None.
The notebook does neither of two things that make it faster: `"fused": true` takes torch's fused AdamW, and
`"compile": true` compiles the loss and its gradient (the first, compiling call, whose result is discarded, is outside
the clock; compiling the draw of the batch as well was slower).

`{"do": "train", "features", "hidden", "instances", "batch", "steps", "density": [per instance], "seed",
"W": .npy (optional), "importance": [per feature] (optional), "curve": [steps] (optional), "save": .npz (optional)}`
gives `seconds`, `instance_steps`, `loss` per instance at the end and, if asked, `curve`: losses after so many steps.
"""
# pyright: reportMissingImports=false

import time
from typing import NamedTuple

import numpy as np
import torch
from serve import Answer, Request, serve

EVALUATION_BATCHES = 16
EVALUATION_BATCH = 1024
LEARNING_RATE = 1e-3
ZERO = torch.zeros(())


class Toy(NamedTuple):
    """Parameters and constants of the instances that are trained together."""

    weights: torch.Tensor
    bias: torch.Tensor
    density: torch.Tensor
    importance: torch.Tensor


def initialise(request: Request) -> Toy:
    """The notebook's initial values, or the weights in the file that the request names."""
    shape = (request["instances"], request["features"], request["hidden"])
    weights = torch.nn.init.xavier_normal_(torch.empty(shape))
    if request.get("W"):
        weights = torch.tensor(np.load(request["W"]), dtype=torch.float32)
    if weights.shape != shape:
        raise ValueError(f"W has shape {tuple(weights.shape)}, not {shape}")
    importance = torch.tensor(request.get("importance") or [1.0] * shape[1])
    density = torch.tensor(request["density"])[:, None].expand(shape[0], 1)
    return Toy(weights.requires_grad_(), torch.zeros(shape[:2], requires_grad=True), density, importance)


def generate(toy: Toy, batch: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """A batch (batch, instances, features): each feature is 0, or uniform with the instance's probability."""
    shape = (batch, *toy.bias.shape)
    uniform = torch.rand(shape, generator=generator)
    return torch.where(torch.rand(shape, generator=generator) <= toy.density, uniform, ZERO)


def reconstruct(toy: Toy, x: torch.Tensor) -> torch.Tensor:
    """ReLU(W W^T x + b) for every instance."""
    hidden = torch.einsum("...if,ifh->...ih", x, toy.weights)
    return torch.relu(torch.einsum("...ih,ifh->...if", hidden, toy.weights) + toy.bias)


def losses(toy: Toy, x: torch.Tensor) -> torch.Tensor:
    """Weighted squared error per instance, mean over batch and feature."""
    return (toy.importance * (x.abs() - reconstruct(toy, x)) ** 2).mean((0, 2))


@torch.no_grad()
def evaluate(toy: Toy, seed: int) -> list[float]:
    """Losses per instance on a large fresh batch, drawn piecewise from a generator of its own."""
    generator = torch.Generator().manual_seed(seed + 1)
    parts = [losses(toy, generate(toy, EVALUATION_BATCH, generator)) for _ in range(EVALUATION_BATCHES)]
    return torch.stack(parts).mean(0).tolist()


def train(request: Request) -> Answer:
    """Train all instances from the start and time the loop."""
    torch.manual_seed(request["seed"])
    toy = initialise(request)
    optimizer = torch.optim.AdamW([toy.weights, toy.bias], lr=LEARNING_RATE, fused=request.get("fused") or None)
    objective = losses
    if request.get("compile"):
        objective = torch.compile(losses, dynamic=False)
        objective(toy, generate(toy, request["batch"])).sum().backward()

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE
            optimizer.zero_grad(set_to_none=True)
            objective(toy, generate(toy, request["batch"])).sum().backward()
            optimizer.step()
        return time.perf_counter() - start

    seconds, done, curve = 0.0, 0, []
    for step in request.get("curve") or []:
        seconds, done = seconds + run(step - done), step
        curve.append(evaluate(toy, request["seed"]))
    seconds += run(request["steps"] - done)
    if request.get("save"):
        np.savez(request["save"], W=toy.weights.detach().numpy(), b=toy.bias.detach().numpy())
    return {
        "seconds": seconds,
        "instance_steps": request["instances"] * request["steps"],
        "loss": evaluate(toy, request["seed"]),
        "curve": curve,
    }


if __name__ == "__main__":
    serve(f"torch {torch.__version__}", {"train": train})
