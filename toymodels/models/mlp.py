"""Feed-forward networks: multilayer perceptrons, and without a nonlinearity the deep linear network."""

from collections.abc import Callable, Sequence

import flax.linen as nn
from jaxtyping import Array, Float


class MLP(nn.Module):
    """y = W_L s(... s(W_1 x + b_1) ...) + b_L for one example; layer sizes `widths`, inputs first, outputs last.

    The parameters are W1: (widths[1], widths[0]), b1: (widths[1],), and so on. With `activation=None` and `bias=False`
    it is the deep linear network y = W_L ... W_1 x, whose learning coefficients are known (`slt.theory.deep_linear`).
    """

    widths: Sequence[int]
    activation: Callable[[Array], Array] | None = nn.relu
    bias: bool = True
    W_init: nn.initializers.Initializer = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    b_init: nn.initializers.Initializer = nn.initializers.zeros

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or min(self.widths) < 1:
            raise ValueError(f"got widths={list(self.widths)}: write at least two positive sizes, inputs first")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, " inputs"]) -> Float[Array, " outputs"]:
        if x.shape != (self.widths[0],):
            raise ValueError(
                f"this MLP reads one example of shape ({self.widths[0]},), got {x.shape}: vmap over a batch"
            )
        layers = range(1, len(self.widths))
        for l in layers:
            x = self.param(f"W{l}", self.W_init, (self.widths[l], self.widths[l - 1])) @ x
            if self.bias:
                x = x + self.param(f"b{l}", self.b_init, (self.widths[l],))
            if self.activation is not None and l < len(layers):
                x = self.activation(x)
        return x
