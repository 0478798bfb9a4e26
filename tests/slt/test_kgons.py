"""The learning coefficients of the polygons of the toy model of superposition."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from slt.estimate import estimate_llc
from slt.samplers.langevin import mala
from toymodels.tasks.superposition import polygon, potential


@pytest.mark.slow
@pytest.mark.parametrize(
    ("k", "positive", "gamma", "expected"),
    [(5, 0, 100.0, 7.0), (5, 1, 10.0, 8.5), (6, 0, 10.0, 8.5)],
    ids=["5", "5+", "6"],
)
def test_a_polygon_of_six_features_has_half_the_rank_of_its_hessian(k, positive, gamma, expected):
    """14, 17 and 17 curved directions; the dead bias of the 5-gon, -1, must stay negative: gamma = 100 holds it there.

    nbeta L is known to nbeta 2^-28 = 0.004 in float32, far below the 7 or 8.5 it varies by: doubles give the same.
    """
    centre = polygon(k, 6, positive)
    data, sampler = jnp.zeros((1,)), mala(1e-6)
    options: dict[str, Any] = dict(chains=100, warmup=1000, draws=1500)
    loss = lambda params, data: potential(*params)
    run = jax.jit(lambda key: estimate_llc(key, loss, centre, data, sampler, nbeta=1e6, gamma=gamma, **options))
    llc = run(jax.random.key(0))
    assert llc.stderr < 0.08
    assert abs(llc.value - expected) < 0.25
    assert llc.trace.min() > 0
