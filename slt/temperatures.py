"""One learning coefficient from several inverse temperatures: by the mean, by the variance, by the slope.

With T = 1/nbeta and E, Var under the localised posterior at that nbeta:

    mean        lambda-hat = nbeta (E[L] - L(w*))              needs the baseline L(w*)
    variance    v = nbeta^2 Var[L]                             needs none, but an exact sampler and all the data
    slope       (E_1[L] - E_2[L])/(T_1 - T_2)                  needs none: the mean of v over T_1..T_2

(Watanabe 2013, section 4, for the slope; Watanabe 2009 and arXiv 2606.22389 for the variance.) All are lambda in the
limit T -> 0. At finite T, v = lambda-hat - d lambda-hat/d log nbeta.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Scalar

from slt.estimate import LLC, Estimate
from slt.samplers.base import require
from slt.statistics import ess


class Comparison(NamedTuple):
    """lambda three ways over the same temperatures (mean and variance averaged), and their differences.

    The estimates are correlated: the errors of the differences are not theirs added up.
    """

    mean: Estimate
    variance: Estimate
    slope: Estimate
    mean_less_slope: Estimate
    variance_less_slope: Estimate
    mean_less_variance: Estimate


def llc_at_temperatures(
    key: Key[Array, ""],
    estimate: Callable[[Key[Array, ""], Scalar], LLC],
    nbetas: Float[Array | np.ndarray, " temperatures"],
) -> LLC:
    """`estimate(key, nbeta)` at every nbeta, as one program: all fields have a leading axis of temperatures.

    Temperatures do not share random numbers, so their errors are independent.
    """
    require(">= 1", temperatures=len(nbetas))
    return jax.vmap(estimate)(jax.random.split(key, len(nbetas)), jnp.asarray(nbetas))


def slope_weights(nbetas: Float[Array, " temperatures"]) -> Float[Array, " temperatures"]:
    """The a_i of slope = sum_i a_i lambda-hat(nbeta_i): least squares of E[L] in 1/nbeta with weights nbeta^2.

    a_i = nbeta_i (T_i - T)/sum_j nbeta_j^2 (T_j - T)^2 with T_i = 1/nbeta_i, T their mean with weights nbeta_i^2.
    """
    require(">= 2", temperatures=len(nbetas))
    relative = nbetas / jnp.max(nbetas)
    T, weight = 1 / relative, relative**2
    apart = T - jnp.sum(weight * T) / jnp.sum(weight)
    return relative * apart / jnp.sum(weight * apart**2)


def compare(llc: LLC, nbetas: Float[Array, " temperatures"]) -> Comparison:
    """lambda by mean, variance and slope from one `llc_at_temperatures`, and how far apart they are. Pure."""
    slope = slope_weights(nbetas)
    mean, none = jnp.full_like(slope, 1 / len(slope)), jnp.zeros_like(slope)
    of = lambda a, b: combination(llc.trace, a, b)
    return Comparison(
        mean=of(mean, none),
        variance=of(none, mean),
        slope=of(slope, none),
        mean_less_slope=of(mean - slope, none),
        variance_less_slope=of(-slope, mean),
        mean_less_variance=of(mean, -mean),
    )


def combination(
    trace: Float[Array, "temperatures chains draws"], a: Float[Array, " temperatures"], b: Float[Array, " temperatures"]
) -> Estimate:
    """sum_i a_i E_i[x] + b_i Var_i[x] over temperatures i, x the trace; errors of E and Var together, from the draws.

    The variance is about the mean of the draws themselves, which takes 1/ess of it away and is put back.
    """

    def at(x: Float[Array, "chains draws"], a: Scalar, b: Scalar) -> tuple[Scalar, Scalar]:
        effective = ess(x)
        square = (x - jnp.mean(x)) ** 2 * effective / (effective - 1)
        each = a * x + b * square
        spread = jnp.std(each, ddof=1)  # 0 where a = b = 0, which has no effective draws
        return jnp.mean(each), jnp.where(spread == 0, 0.0, spread**2 / ess(each))

    values, errors = jax.vmap(at)(trace, a, b)
    return Estimate(jnp.sum(values), jnp.sqrt(jnp.sum(errors)))
