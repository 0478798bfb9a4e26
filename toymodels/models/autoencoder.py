"""The toy model of superposition: a tied autoencoder with fewer hidden dimensions than features."""

import flax.linen as nn
from jaxtyping import Array, Float


class Autoencoder(nn.Module):
    """x' = ReLU(W^T W x + b), for one example x of shape (features,).

    Elhage et al. 2022 (Toy Models of Superposition), "ReLU output model"; the columns W_i of `W: (hidden, features)`
    are the directions of the features. The hidden vector h = W x is sown as the intermediate `hidden`.
    """

    features: int
    hidden: int
    W_init: nn.initializers.Initializer = nn.initializers.glorot_normal()
    b_init: nn.initializers.Initializer = nn.initializers.zeros

    def __post_init__(self) -> None:
        if self.features < 1 or self.hidden < 1:
            raise ValueError(f"got features={self.features}, hidden={self.hidden}: both sizes must be at least 1")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, " features"]) -> Float[Array, " features"]:
        if x.shape != (self.features,):
            raise ValueError(
                f"this model reads one example of shape ({self.features},), got {x.shape}: vmap over a batch"
            )
        W = self.param("W", self.W_init, (self.hidden, self.features))
        b = self.param("b", self.b_init, (self.features,))
        h = W @ x
        self.sow("intermediates", "hidden", h)
        return nn.relu(W.T @ h + b)
