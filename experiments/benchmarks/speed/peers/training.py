"""Training in PyTorch: the public notebook of "Toy Models of Superposition", and an attention-only transformer.

The notebook as published: one tensor W (instances, features, hidden), a fresh batch each step from two uniforms, the
loss summed over instances, AdamW at 1e-3 with the learning rate set at every step. In its favour: no progress bar,
constants built once, evaluation outside the clock, gradients set to None. Two things that it does not do make it
faster: `fused` takes torch's fused AdamW, `compile` compiles the loss with its gradient (the first call is outside the
clock; compiling the draw of the batch as well was slower). The transformer's batches are made before.
"""
# pyright: reportMissingImports=false

from collections.abc import Callable
from typing import Any, NamedTuple

import models
import torch
from worker import Answer, Clock, Request, serve, shuffled_batches

LEARNING_RATE = 1e-3
ZERO = torch.zeros(())


class Toy(NamedTuple):
    """The instances that are trained together: W (instances, features, hidden), b and density (instances, ...)."""

    W: torch.Tensor
    b: torch.Tensor
    density: torch.Tensor

    def draw(self, batch: int) -> torch.Tensor:
        """A batch (batch, instances, features): each feature is 0, or uniform with the instance's probability."""
        uniform = torch.rand(batch, *self.b.shape)
        return torch.where(torch.rand(batch, *self.b.shape) <= self.density, uniform, ZERO)


class Case(NamedTuple):
    """What is trained: `loss(model, batch)`, the batch of a step, and the values to compare, once it is trained."""

    model: Any
    parameters: list[torch.Tensor]
    loss: Callable[[Any, torch.Tensor], torch.Tensor]
    batch: Callable[[int], torch.Tensor]
    values: Callable[[], list[float]]


def losses(toy: Toy, x: torch.Tensor) -> torch.Tensor:
    """Squared error of each instance, mean over batch and features."""
    hidden = torch.einsum("...if,ifh->...ih", x, toy.W)
    prediction = torch.relu(torch.einsum("...ih,ifh->...if", hidden, toy.W) + toy.b)
    return ((x - prediction) ** 2).mean((0, 2))


def sum_of_losses(toy: Toy, x: torch.Tensor) -> torch.Tensor:
    """What is differentiated for all instances at once."""
    return losses(toy, x).sum()


def notebook(request: Request) -> Case:
    """The instances from our initial weights; compared are their losses on a large fresh batch."""
    arrays = models.arrays(request["problem"])
    W, density = arrays["W"], arrays["density"][:, None]
    toy = Toy(W.requires_grad_(), torch.zeros(W.shape[:2], requires_grad=True), density)

    @torch.no_grad()
    def values() -> list[float]:
        return torch.stack([losses(toy, toy.draw(1024)) for _ in range(16)]).mean(0).tolist()

    return Case(toy, [toy.W, toy.b], sum_of_losses, lambda _: toy.draw(request["batch"]), values)


def transformer(request: Request) -> Case:
    """The transformer at our weights; compared is its loss there."""
    model, tokens, initial_loss = models.load(request)
    batches = shuffled_batches(tokens, request)
    batch = lambda i: batches[i % len(batches)]
    return Case(model, list(model.parameters()), models.mean_loss, batch, lambda: [initial_loss])


def train(request: Request) -> Answer:
    """Train all instances from the start and time the loop."""
    torch.manual_seed(request["seed"])
    case = (transformer if request.get("heads") else notebook)(request)
    optimizer = torch.optim.AdamW(case.parameters, lr=LEARNING_RATE, fused=request.get("fused"))
    loss = torch.compile(case.loss, dynamic=False) if request.get("compile") else case.loss
    loss(case.model, case.batch(0)).backward()
    with Clock() as clock:
        for i in range(request["steps"]):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE
            optimizer.zero_grad(set_to_none=True)
            loss(case.model, case.batch(i)).backward()
            optimizer.step()
    return clock.answer(request["steps"] * request.get("instances", 1), case.values())


if __name__ == "__main__":
    serve(f"torch {torch.__version__}", train)
