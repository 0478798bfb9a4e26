"""What Elhage et al. 2022 report of uniform superposition, beside what was measured."""

from fractions import Fraction
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

import toymodels as tm
from experiments.shared import tell
from experiments.shared.claims import Claim, every, mean, median, share

ELHAGE, AUTHORS = "Elhage et al. 2022", "published notebook of Elhage et al. 2022"
CODIMENSION, EXPANSION = "codimension", "second-order expansion of the loss"
LINES = {name: Fraction(m, n) for (n, m), name in tm.POLYTOPES.items() if name not in ("hexagon", "4-simplex")}
"""D of each vertex of the regular polytopes that the paper draws as lines: dimensions/features."""
STICKY = 0.03  # how near D* is to what it sticks at
WIDTH, FLANK, LEAST = 0.005, 0.0125, 10  # of a line: half its width, distance to its flanks, features on it
NEAR = 0.15  # how near lambda-hat is to what the Hessian or the codimension gives


def claims(results: xr.Dataset) -> list[Claim]:
    """Where D* sticks; the lines; lambda-hat beside its theory, and beside the loss and D*."""
    made = [*plateaus(results), *lines(results), *coefficients(results)]
    return [*made, *expansion(results), *beside(results)]


def final(results: xr.Dataset) -> np.ndarray:
    """D* at the end of training, for each density."""
    return results.dimensions_per_feature.values[:, -1]


def sticks(results: xr.Dataset, at: float) -> Bool[np.ndarray, " densities"]:
    """The densities whose D* is within `STICKY` of a number."""
    return np.abs(final(results) - at) <= STICKY


def line(D: Float[np.ndarray, " features"], at: float) -> tuple[int, int]:
    """Features on the line D = at; how many make it a line: ten, and twice as many as on either of its flanks."""
    on, below, above = (int(np.sum(np.abs(D - centre) <= WIDTH)) for centre in (at, at - FLANK, at + FLANK))
    return on, max(LEAST, 2 * below, 2 * above)


def regular(results: xr.Dataset) -> tuple[float, float]:
    """lambda of a model whose kept subspace is free, and of one of which only the rotation is: half the codimension.

    W'W a projector of rank m, any one: m(m + 1)/2 equations, and n biases. Only rotations free: all of n m + n but
    m(m - 1)/2.
    """
    n, m = results.attrs["features"], results.attrs["hidden"]
    return (m * (m + 1) / 2 + n) / 2, (n * m + n - m * (m - 1) / 2) / 2


def plateaus(results: xr.Dataset) -> list[Claim]:
    """Where D* sticks, and of what the models are made where it is at 1/2."""
    one, half = sticks(results, 1.0), sticks(results, 0.5)
    names = results.polytope.values.astype(str)[half]
    digon, text = (names == "digon")[names != ""], f"densities whose D* is within {STICKY:g} of"
    most, three = bool(digon.mean() > 0.5) if len(digon) else None, bool(half.sum() >= 3)
    return [
        share(f"{text} 1", one, ELHAGE, "the dense end", holds=bool(one[0])),
        share(f"{text} 1/2", half, ELHAGE, "3 or more", holds=three, headline=True),
        share("where D* is at 1/2, live features in a digon", digon, ELHAGE, "most", holds=most),
    ]


def lines(results: xr.Dataset) -> list[Claim]:
    """Features on the two lines that the notebook's figure shows: of models with D* < .95, those with D_i >= .1."""
    D, made = results.dimensionality.values[final(results) < 0.95], []
    D = D[D >= 0.1]
    for name in ("digon", "pentagon"):
        on, needed = line(D, float(LINES[name]))
        text, expected = f"features on the line D_i = {LINES[name]} ({name})", f">= {needed} (10, 2 x flanks)"
        made.append(Claim(text, AUTHORS, expected, on, count=len(D), holds=on >= needed, headline=True))
    return made


def coefficients(results: xr.Dataset) -> list[Claim]:
    """lambda-hat where D* sticks at 1 and at 1/2, of models where it is not negative; and where it is."""
    negative, (low, high) = tell.has(results, "negative"), regular(results)
    one, half = (results.value.values[sticks(results, at) & ~negative] for at in (1.0, 0.5))
    rise = float(half.min() - one.max()) if len(one) and len(half) else np.nan
    few = bool(abs(one.mean() / low - 1) <= NEAR) if len(one) else None
    rises, text = bool(rise > 0) if np.isfinite(rise) else None, "models whose lambda-hat is negative: no minima"
    return [
        mean("lambda-hat where D* is at 1", one, CODIMENSION, f"{low:g} within {NEAR:.0%}")._replace(holds=few),
        mean("lambda-hat where D* is at 1/2", half, CODIMENSION, f"<= {high:g}")._replace(holds=every(half <= high)),
        Claim("least lambda-hat at D* = 1/2 less largest at 1", CODIMENSION, "> 0", rise, holds=rises, headline=True),
        share(text, negative, tell.ASKED, "none", holds=every(~negative), headline=True),
    ]


def expansion(results: xr.Dataset) -> list[Claim]:
    """Whether lambda-hat is what Hessian and gradient give on the same examples."""
    value, gaussian = results.value.values, (results.gaussian + results.slope).values
    seen = np.isfinite(value + gaussian)
    error = np.hypot(results.stderr.values, results.gaussian_stderr.values)
    same = (np.abs(value - gaussian) <= np.maximum(NEAR * gaussian, 2 * error))[seen]
    most, text = bool(np.sum(same) > len(same) / 2), f"lambda-hat within {NEAR:.0%} of what Hessian and gradient give"
    return [
        share(text, same, EXPANSION, "most", holds=most, headline=True),
        median("lambda-hat over what they give", (value / gaussian)[seen], EXPANSION, "1"),
        share("estimates that verdict has nothing against", results.findings.values == "", tell.ASKED),
    ]


def beside(results: xr.Dataset) -> list[Claim]:
    """Whether lambda-hat orders the densities otherwise than the loss and D* do, where it is positive."""
    end, of_chance = results.dimensions_per_feature.isel(step=-1, drop=True), results.loss_at_centre / results.chance
    table: Any = xr.Dataset({"D*": end, "loss/chance": of_chance, "lambda-hat": results.value}).to_dataframe()
    positive, text = table[table["lambda-hat"] > 0], "rank correlation of lambda-hat with "
    rho = positive.rank().corr(min_periods=4)["lambda-hat"]
    return [Claim(text + name, tell.ASKED, "-", rho[name], count=len(positive)) for name in ("D*", "loss/chance")]
