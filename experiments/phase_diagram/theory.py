"""What the closed form says: losses of the prototypes, and which of them is least (Elhage et al. 2022, phase change).

Density s, importance r of the last feature, 1 of the others; every kept direction is a unit vector with bias 0 and an
ignored feature has the bias s/2. The analytic notebook beside the paper compares these and nothing else.
"""

import numpy as np
from jaxtyping import Float, Int

IGNORED, SUPERPOSED, DEDICATED, CONFUSED = 0, 1, 2, 3
"""What becomes of the last feature; `CONFUSED`: of some feature, neither kept nor ignored."""
NAMES = ("ignored", "in superposition", "dedicated", "confused")


def prototypes(features: int, s: Float[np.ndarray, "*k"], r: Float[np.ndarray, "*k"]) -> np.ndarray:
    """Losses, last axis: last ignored; last superposed; last dedicated, another ignored or two others superposed.

    One dimension fewer than features (2 or 3). An ignored feature costs I (s/3 - s^2/4), an antipodal pair
    (I_1 + I_2) s^2/6.
    """
    lost, pair = s / 3 - s**2 / 4, s**2 / 6
    others = np.full_like(s, np.inf) if features == 2 else 2 * pair
    return np.stack([r * lost, (1 + r) * pair, lost, others], axis=-1)


def predicted(features: int, s: Float[np.ndarray, "*k"], r: Float[np.ndarray, "*k"]) -> Int[np.ndarray, "*k"]:
    """The fate of the last feature in the least prototype."""
    return np.minimum(prototypes(features, s, r).argmin(axis=-1), DEDICATED)


def boundary(r: Float[np.ndarray, "*k"]) -> Float[np.ndarray, "*k"]:
    """The density below which the last of two features is superposed: 2r/(1 + 2.5 r), and its mirror for r > 1."""
    return np.where(r <= 1, 2 * r / (1 + 2.5 * r), 2 / (2.5 + r))


TRIPLE_POINT = 1.0, 4 / 7  # r, s: all three fates have one loss
