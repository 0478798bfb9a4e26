"""The models that the peers train and sample, in PyTorch: the same functions as ours, with our weights."""
# pyright: reportMissingImports=false

import functools
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from worker import Request


class TiedAutoencoder(nn.Module):
    """x' = ReLU(W^T W x + b), W of shape (hidden, features)."""

    def __init__(self, arrays: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(arrays["W"]), nn.Parameter(arrays["b"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(F.linear(F.linear(x, self.weights), self.weights.T, self.bias))


class Attention(nn.Module):
    """Causal attention without biases. In PyTorch's favour: one product for queries, keys, values; the fused kernel."""

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
    """Tokens (batch, t) to logits (batch, t, vocabulary): `toymodels.Transformer`, whose weights come by head."""

    def __init__(self, arrays: dict[str, torch.Tensor], heads: int) -> None:
        super().__init__()
        layers = sum(name.startswith("W_Q") for name in arrays)
        vocabulary, width = arrays["W_E"].shape
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(arrays["W_pos"])
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers + 1))
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.unembedding = nn.Linear(width, vocabulary, bias=False)
        with torch.no_grad():
            self.embedding.weight.copy_(arrays["W_E"])
            self.unembedding.weight.copy_(arrays["W_U"].T)
            for l, attention in enumerate(self.attention):
                qkv = [arrays[f"W_{name}_{l}"].transpose(1, 2).reshape(width, width) for name in "QKV"]
                attention.qkv.weight.copy_(torch.cat(qkv))
                attention.out.weight.copy_(arrays[f"W_O_{l}"].reshape(width, width).T)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embedding(tokens) + self.position
        for norm, attention in zip(self.norms, self.attention, strict=False):
            x = x + attention(norm(x))
        return self.unembedding(self.norms[-1](x))


def squared_error(prediction: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Summed over features; mean over the batch."""
    return F.mse_loss(prediction, x) * x.shape[1]


def mean_loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    """Of examples (n, features), or of the next token in sequences (n, t + 1)."""
    if batch.is_floating_point():
        return squared_error(model(batch), batch)
    return F.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


def arrays(path: str) -> dict[str, torch.Tensor]:
    """What an .npz file holds."""
    with np.load(path) as file:
        return {name: torch.tensor(file[name]) for name in file}


@functools.cache
def built(path: str, heads: int | None) -> tuple[nn.Module, torch.Tensor, dict[str, Any]]:
    """A model, its data, and its weights; the same object each time, so that it is compiled but once."""
    found = arrays(path)
    data = found.pop("tokens").long() if heads else found.pop("x")
    model = Transformer(found, heads) if heads else TiedAutoencoder(found)
    return model, data, {name: W.clone() for name, W in model.state_dict().items()}


def load(request: Request) -> tuple[nn.Module, torch.Tensor, float]:
    """The model at the weights of the request's problem, the data, and the loss there on all of it."""
    model, data, weights = built(request["problem"], request.get("heads"))
    model.load_state_dict(weights)
    with torch.no_grad():
        return model, data, mean_loss(model, data).item()
