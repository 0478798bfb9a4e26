"""A training step of an attention-only transformer in PyTorch, and devinterp 1.3.2's chains around such a model.

The model is the one of `toymodels/models/transformer.py`: embedding and learned positions, pre-LayerNorm, no biases in
attention, weights kept head by head and handed over in our layout, so that both sides compute the same function. In
PyTorch's favour: one product makes queries, keys and values, attention is `scaled_dot_product_attention` (its fused
kernel), AdamW is the fused one, batches are made before, gradients are set to None, and the program of
`torch.compile` may be taken (its first, compiling calls are outside the clock).

`{"do": "train", "problem": .npz, "heads", "batch", "steps", "compile": bool, "seed"}` gives `seconds`,
`instance_steps` and `loss`, the mean over the batch before the first step. `{"do": "chains", "problem", "heads",
"batch", "chains", "draws", "nbeta", "gamma", "step_size", "seed"}` gives what `devinterp1` gives.
"""
# pyright: reportMissingImports=false

import time
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from devinterp.optim.sgld import SGLD
from devinterp.slt.sampler import estimate_learning_coeff_with_summary
from serve import Answer, Prebatched, Request, chains_answer, serve, shuffled_batches, steps_of
from torch import nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Causal attention without biases: one product for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, t, width = x.shape
        q, k, v = self.qkv(x).view(batch, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(y.transpose(1, 2).reshape(batch, t, width))


class Transformer(nn.Module):
    """Tokens (batch, t) to logits (batch, t, vocabulary)."""

    def __init__(self, weights: dict[str, torch.Tensor], heads: int) -> None:
        super().__init__()
        layers = sum(name.startswith("W_Q") for name in weights)
        vocabulary, width = weights["W_E"].shape
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(weights["W_pos"].clone())
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers + 1))
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.unembedding = nn.Linear(width, weights["W_U"].shape[1], bias=False)
        with torch.no_grad():
            self.embedding.weight.copy_(weights["W_E"])
            self.unembedding.weight.copy_(weights["W_U"].T)
            for l, attention in enumerate(self.attention):
                flat = lambda name, l=l: weights[f"{name}_{l}"].transpose(1, 2).reshape(width, width)
                attention.qkv.weight.copy_(torch.cat([flat("W_Q"), flat("W_K"), flat("W_V")]))
                attention.out.weight.copy_(weights[f"W_O_{l}"].reshape(width, width).T)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens) + self.position[: tokens.shape[1]]
        for norm, attention in zip(self.norms, self.attention, strict=False):
            x = x + attention(norm(x))
        return self.unembedding(self.norms[-1](x))


def mean_loss(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the next token, mean over batch and positions; `tokens` are (batch, t + 1)."""
    return F.cross_entropy(model(tokens[:, :-1]).flatten(0, 1), tokens[:, 1:].flatten())


compiled_loss = torch.compile(mean_loss, dynamic=False)
models: dict[Any, Transformer] = {}  # a model of the same shapes is filled anew, so that it is compiled but once


def load(request: Request) -> tuple[torch.Tensor, Transformer]:
    """The tokens (n, t + 1) and the model of an .npz file."""
    with np.load(request["problem"]) as arrays:
        tensors = {name: torch.tensor(arrays[name]) for name in arrays}
    tokens = tensors.pop("tokens").long()
    made = Transformer(tensors, request["heads"])
    model = models.setdefault(tuple(W.shape for W in made.parameters()), made)
    model.load_state_dict(made.state_dict())
    return tokens, model


def train(request: Request) -> Answer:
    """AdamW on batches made before."""
    torch.manual_seed(request["seed"])
    tokens, model = load(request)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    objective = compiled_loss if request.get("compile") else mean_loss
    batches = shuffled_batches(tokens, request["batch"], request["steps"], request["seed"])
    with torch.no_grad():
        first = mean_loss(model, tokens).item()

    def step(batch: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        objective(model, batch).backward()
        optimizer.step()

    step(batches[0])
    start = time.perf_counter()
    for i in range(request["steps"]):
        step(batches[i % len(batches)])
    return {
        "seconds": time.perf_counter() - start,
        "instance_steps": request["steps"],
        "loss": first,
    }


def evaluate(model: nn.Module, batch: Any) -> torch.Tensor:
    """The loss that devinterp differentiates."""
    return mean_loss(model, batch if isinstance(batch, torch.Tensor) else batch[0])


def chains(request: Request) -> Answer:
    """devinterp 1.3.2 around one point, batches made before, the loss at the start given."""
    tokens, model = load(request)
    loader = Prebatched(tokens, shuffled_batches(tokens, request["batch"], steps_of(request), request["seed"]))
    with torch.no_grad():
        initial_loss = mean_loss(model, tokens).item()
    start = time.perf_counter()
    result = estimate_learning_coeff_with_summary(
        model,
        loader,
        evaluate=evaluate,
        sampling_method=SGLD,
        optimizer_kwargs={"lr": request["step_size"], "nbeta": request["nbeta"], "localization": request["gamma"]},
        num_draws=request["draws"],
        num_chains=request["chains"],
        num_burnin_steps=request.get("burn_in", 0),
        init_loss=initial_loss,
        seed=request["seed"],
        verbose=False,
        online=False,
    )
    seconds = time.perf_counter() - start
    means = torch.from_numpy(result["loss/trace"]).double()[:, request.get("burn_in", 0) :].mean(1)
    return chains_answer(request, seconds, means, initial_loss)


if __name__ == "__main__":
    serve(f"torch {torch.__version__}, devinterp {version('devinterp')}", {"train": train, "chains": chains})
