"""The network of modular arithmetic: shared embeddings of a few tokens, one hidden layer, and an answer."""

import flax.linen as nn
from jaxtyping import Array, Float, Int


class EmbeddingMLP(nn.Module):
    """y = W_out' ReLU(sum_s W_in[s]' W_E[x_s] + b_in), one example: (slots,) tokens to (outputs,).

    W_E W_in[s] is computed once for all tokens, and examples look up its rows. The hidden layer is sown as the
    intermediate `hidden`.
    """

    vocabulary: int
    outputs: int
    width: int
    hidden: int
    slots: int = 2
    E_init: nn.initializers.Initializer = nn.initializers.lecun_normal(in_axis=-1, out_axis=-2)
    W_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Int[Array, " slots"]) -> Float[Array, " outputs"]:
        if x.shape != (self.slots,):
            raise ValueError(f"this model reads one example of {self.slots} tokens, got {x.shape}: vmap over a batch")
        W_E = self.param("W_E", self.E_init, (self.vocabulary, self.width))
        W_in = self.param("W_in", self.W_init, (self.slots, self.width, self.hidden))
        b_in = self.param("b_in", nn.initializers.zeros, (self.hidden,))
        W_out = self.param("W_out", self.W_init, (self.hidden, self.outputs))
        h = nn.relu(b_in + sum((W_E @ W_in[s])[x[s]] for s in range(self.slots)))
        self.sow("intermediates", "hidden", h)
        return h @ W_out
