"""A transformer for toy tasks: attention alone or with MLPs, one sequence at a time, in one file.

Elhage et al. 2021, "A mathematical framework for transformer circuits": every layer reads the residual stream and adds
to it; a head is W_QK = W_Q W_K', which says where it looks, and W_OV = W_V W_O, which says what it moves. Vectors are
rows, and weights are kept head by head, so that circuits can be read off them. In the comments t, i, j are positions, d
is the width of the stream, h are heads and k their width.
"""

from typing import Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Positions = Literal["absolute", "shortformer", "relative", "none"]
MASKED = -1e30  # a score that softmax makes 0; minus infinity would make NaN of gradients


class Attention(nn.Module):
    """y_i = sum_h sum_j A^h_ij x_j W_V^h W_O^h with A^h = softmax_j(x_i W_Q^h (x_j W_K^h)'/sqrt(k)).

    `place` is added to what queries and keys read (Press et al. 2021, shortformer). With `reach`, the score is
    q_i (k_j + r_{i-j})'/sqrt(k), r a table of vectors at the distances below `reach` (Shaw et al. 2018). The pattern A,
    (h, t, t), is sown as `pattern`.
    """

    heads: int
    head_width: int
    causal: bool
    reach: int = 0
    W_init: nn.initializers.Initializer = nn.initializers.lecun_normal(batch_axis=0)
    O_init: nn.initializers.Initializer = nn.initializers.lecun_normal(batch_axis=0)

    @nn.compact
    def __call__(self, x: Float[Array, "t d"], place: Float[Array, "t d"] | None = None) -> Float[Array, "t d"]:
        t, d = x.shape
        shape = (self.heads, d, self.head_width)
        placed = x if place is None else x + place
        q = jnp.einsum("td,hdk->htk", placed, self.param("W_Q", self.W_init, shape))
        k = jnp.einsum("td,hdk->htk", placed, self.param("W_K", self.W_init, shape))
        v = jnp.einsum("td,hdk->htk", x, self.param("W_V", self.W_init, shape))
        scores = jnp.einsum("hik,hjk->hij", q, k)
        if self.reach:
            scores = scores + jnp.einsum("hik,ijk->hij", q, self._between(t))
        scores = scores / jnp.sqrt(self.head_width).astype(x.dtype)
        if self.causal:
            scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, MASKED)
        A = nn.softmax(scores)
        self.sow("intermediates", "pattern", A)
        W_O = self.param("W_O", self.O_init, (self.heads, self.head_width, d))
        return jnp.einsum("htk,hkd->td", jnp.einsum("hij,hjk->hik", A, v), W_O)

    def _between(self, t: int) -> Float[Array, "t t k"]:
        """r_{i-j}: one gather of (t, t, k) vectors for all heads and examples, five times faster than one of scores."""
        back = 0 if self.causal else self.reach - 1  # a position sees what comes after it only if it may
        r = self.param("r", nn.initializers.normal(0.02), (self.reach + back, self.head_width))
        distance = jnp.arange(t)[:, None] - jnp.arange(t)[None]
        return r[jnp.maximum(distance, -back) + back]


class Transformer(nn.Module):
    """(t,) tokens, or (t, `vocabulary`) vectors, to (t, `outputs`): x += attention(N x), x += MLP(N x), layer by layer.

    N is a LayerNorm before each part and before the unembedding (or none). `mlp` is the number of hidden units.
    `positions`: absolute is added to the stream, shortformer to queries and keys, relative to the keys by distance.
    `answer="last"` gives the outputs of the last position alone, (1, `outputs`).
    """

    vocabulary: int
    outputs: int
    width: int
    heads: int
    layers: int
    context: int
    mlp: int = 0
    head_width: int | None = None
    positions: Positions = "absolute"
    norm: bool = True
    causal: bool = True
    answer: Literal["every", "last"] = "every"
    W_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    E_init: nn.initializers.Initializer = nn.initializers.normal(0.02)

    def __post_init__(self) -> None:
        if self.head_width is None and self.width % self.heads:
            raise ValueError(f"got width={self.width}, heads={self.heads}: write a width that {self.heads} divides")
        if self.positions not in ("absolute", "shortformer", "relative", "none"):
            raise ValueError(f'got positions={self.positions!r}: write "absolute", "shortformer", "relative" or "none"')
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Int[Array, " t"] | Float[Array, "t inputs"]) -> Float[Array, "positions outputs"]:
        t = len(x)
        if t > self.context:
            raise ValueError(f"got {t} positions, and context={self.context}: write context={t} or more")
        norm = (lambda name: nn.LayerNorm(1e-5, name=name)) if self.norm else (lambda name: lambda x: x)
        W_E = self.param("W_E", self.E_init, (self.vocabulary, self.width))
        stream = W_E[x] if jnp.issubdtype(x.dtype, jnp.integer) else x @ W_E
        place = None
        if self.positions in ("absolute", "shortformer"):
            place = self.param("W_pos", self.E_init, (self.context, self.width))[:t]
            if self.positions == "absolute":
                stream, place = stream + place, None
        for l in range(self.layers):
            stream = stream + self._attention(l)(norm(f"norm_{l}")(stream), place)
            if self.answer == "last" and l == self.layers - 1:
                stream = stream[-1:]
            if self.mlp:
                stream = stream + self._mlp(l, norm(f"norm_mlp_{l}")(stream))
        W_U = self.param("W_U", self.W_init, (self.width, self.outputs))
        return norm("norm_U")(stream) @ W_U

    def _attention(self, l: int) -> Attention:
        reach = self.context if self.positions == "relative" else 0
        head_width = self.head_width or self.width // self.heads
        return Attention(self.heads, head_width, self.causal, reach, name=f"attention_{l}")

    def _mlp(self, l: int, x: Float[Array, "t d"]) -> Float[Array, "t d"]:
        W_in = self.param(f"W_in_{l}", self.W_init, (self.width, self.mlp))
        W_out = self.param(f"W_out_{l}", self.W_init, (self.mlp, self.width))
        b_in = self.param(f"b_in_{l}", nn.initializers.zeros, (self.mlp,))
        b_out = self.param(f"b_out_{l}", nn.initializers.zeros, (self.width,))
        return nn.relu(x @ W_in + b_in[None]) @ W_out + b_out[None]
