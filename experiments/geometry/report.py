"""What Elhage et al. 2022 report of uniform superposition, beside what was measured."""

from collections import Counter
from fractions import Fraction

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy.stats import rankdata

from experiments.experiment import Claim

ELHAGE = "Elhage et al. 2022, the geometry of superposition"
AUTHORS = "figure in the published notebook of Elhage et al. 2022"
LINES = {
    "dedicated": Fraction(1),
    "tetrahedron": Fraction(3, 4),
    "triangle": Fraction(2, 3),
    "digon": Fraction(1, 2),
    "pentagon": Fraction(2, 5),
    "square antiprism": Fraction(3, 8),
}
"""D of each vertex of the regular polytopes that the paper draws as lines."""
STICKY = 0.03  # how near D* is to what it sticks at
WIDTH, FLANK, LEAST = 0.005, 0.0125, 10  # of a line: half its width, distance to its flanks, features on it
ROUNDING = 1e-3  # of sums over features in single precision
NEAR = 0.15  # how near lambda-hat is to what the Hessian gives


def final(results: xr.Dataset) -> np.ndarray:
    """D* at the end of training, for each density."""
    return results.dimensions_per_feature.values[:, -1]


def sticks(results: xr.Dataset, at: float) -> np.ndarray:
    """The densities whose D* is within `STICKY` of a number."""
    return np.abs(final(results) - at) <= STICKY


def pool(results: xr.Dataset) -> np.ndarray:
    """D_i of the features that share dimensions: of models with D* < 0.95, those that have a tenth of one or more."""
    D = results.dimensionality.values[final(results) < 0.95]
    return D[D >= 0.1]


def line(D: Float[np.ndarray, " features"], at: float) -> tuple[int, int, int]:
    """Features on the line D = at, and on the two flanks beside it."""
    count = lambda centre: int(np.sum(np.abs(D - centre) <= WIDTH))
    return count(at), count(at - FLANK), count(at + FLANK)


def is_line(on: int, below: int, above: int) -> bool:
    """Ten features or more, and twice as many as on either flank."""
    return on >= LEAST and on >= 2 * max(below, above)


def claims(results: xr.Dataset) -> list[Claim]:
    """What holds of all W; where D* sticks; the lines; the names of the blocks; lambda-hat beside loss and D*."""
    return [*_bounds(results), *_plateaus(results), *_lines(results), *_names(results), *_coefficients(results)]


def capacity(W: Float[np.ndarray, "hidden features"]) -> Float[np.ndarray, " features"]:
    """D_i once more, in double precision: |W_i|^4/(W_i' W W' W_i); Scherlis et al. 2022."""
    W = W.astype(float)
    own, all_ = np.sum(W**2, axis=0), np.sum(W * (W @ W.T @ W), axis=0)
    return np.divide(own**2, all_, out=np.zeros_like(own), where=all_ > 0)


def _bounds(results: xr.Dataset) -> list[Claim]:
    D, t, m = results.dimensionality.values, results.leverage.values, results.sizes["hidden"]
    W = results.W.values
    usable = np.isfinite(W).all(axis=(1, 2))
    rank = np.array([np.linalg.matrix_rank(one, rtol=1e-5) if ok else 0 for one, ok in zip(W, usable, strict=True)])
    over = np.max(D.sum(1) - rank)
    again = np.max([np.max(np.abs(capacity(one) - d)) for one, d in zip(W, D, strict=True)])
    return [
        Claim(
            "sum_i D_i <= rank W <= m at every density", "Cauchy-Schwarz, with the leverage of W_i", f"<= {m}",
            f"{D.sum(1).min():.3f} to {D.sum(1).max():.3f}, rank {rank.min()} to {rank.max()}",
            bool(over <= ROUNDING and rank.max() <= m and usable.all()),
        ),
        Claim(
            "leverage t_i: D_i <= t_i <= 1 and sum_i t_i = rank W", "linear algebra", "all",
            f"largest D_i - t_i {np.max(D - t):.1e}, t_i {np.max(t):.4f}, |sum - rank| {np.max(np.abs(t.sum(1) - rank)):.1e}; half of the features have t_i - D_i below {np.median(t - D):.1e}",
            bool(np.max(D - t) <= ROUNDING and np.max(t) <= 1 + ROUNDING and np.max(np.abs(t.sum(1) - rank)) <= ROUNDING),
        ),
        Claim("the capacity |W_i|^4/(W_i' W W' W_i) is the dimensionality D_i", "Scherlis et al. 2022", "equal", f"within {again:.1e}", bool(again <= ROUNDING)),
    ]  # fmt: skip


def _plateaus(results: xr.Dataset) -> list[Claim]:
    shown = ", ".join(f"{value:.3f}" for value in final(results))
    at = [int(sticks(results, value).sum()) for value in (1.0, 0.5)]
    dense = bool(np.abs(final(results)[0] - 1) <= STICKY)
    return [
        Claim(f"D* from the densest to the sparsest; it sticks at 1: densities within {STICKY}", ELHAGE, "the dense end", f"{at[0]} of {len(final(results))}: {shown}", dense),
        Claim(f"D* sticks at 1/2: densities within {STICKY} of it", ELHAGE, "3 or more", str(at[1]), at[1] >= 3),
    ]  # fmt: skip


def _lines(results: xr.Dataset) -> list[Claim]:
    D, found = pool(results), []
    for name, fraction in LINES.items():
        if name == "dedicated":
            continue
        on, below, above = line(D, float(fraction))
        holds = is_line(on, below, above) if name in ("digon", "pentagon") else None
        holds = holds if name == "digon" else None
        expected = {"digon": "a line", "pentagon": "a line"}.get(name, "none")
        text = f"features on the line D_i = {fraction} ({name}), and on its flanks: {'a line' if is_line(on, below, above) else 'no line'}"
        found.append(Claim(text, AUTHORS, expected, f"{on} ({below}, {above})", holds))
    near = np.abs(D[:, None] - np.array([float(f) for f in LINES.values()])).min(1, initial=1) <= 0.02
    share = f"{near.mean():.0%} of {len(D)}" if len(D) else "none"
    return [*found, Claim("features within 0.02 of any of the lines", AUTHORS, "26 % of 1,155", share, None)]


def _names(results: xr.Dataset) -> list[Claim]:
    """The figures of the blocks; where D* sticks at 1/2 they are digons."""
    names, half = results.polytope.values.astype(str), sticks(results, 0.5)
    live = names[half][names[half] != ""]
    weak = np.where(names == "", results.dimensionality.values, 0).sum(axis=1)[half]
    rest = f"{np.mean(weak):.2f} of {results.sizes['hidden']}" if len(weak) else "-"
    share = float(np.mean(live == "digon")) if len(live) else np.nan
    described = [f"{s:.2g}: {summary(row) or 'no block'}" for s, row in zip(results.density.values, names, strict=True)]
    return [
        Claim("where D* is at 1/2, live features that are in a digon", ELHAGE, "most", f"{share:.0%} of {len(live)}" if len(live) else "no such model", bool(share > 0.5) if len(live) else None),
        Claim("where D* is at 1/2, dimensions that features too weak to be vertices share", "this experiment", "?", rest, None),
        Claim("figures of the blocks of live features, by density", ELHAGE, "-", "; ".join(described), None),
    ]  # fmt: skip


def summary(names: np.ndarray) -> str:
    """The blocks of one model, such as `8 digon, 1 pentagon`: how many of each figure, from the features' names."""
    sizes = {"dedicated": 1, "digon": 2, "triangle": 3, "pentagon": 5, "hexagon": 6, "tetrahedron": 4, "square antiprism": 8, "4-simplex": 5}  # fmt: skip
    counts = Counter(name for name in names if name)
    size = lambda name: sizes[name] if name in sizes else int(name.split("/")[0])
    return ", ".join(f"{count // size(name)} {name}" for name, count in counts.most_common())


def regular(results: xr.Dataset) -> tuple[float, float]:
    """lambda of a model whose kept subspace is free, and of one of which only the rotation is: half the codimension.

    W'W a projector of rank m, any one: m(m + 1)/2 equations, and n biases. Only rotations free: all of n m + n but
    m(m - 1)/2.
    """
    n, m = results.sizes["feature"], results.sizes["hidden"]
    return (m * (m + 1) / 2 + n) / 2, (n * m + n - m * (m - 1) / 2) / 2


def speaking(results: xr.Dataset) -> np.ndarray:
    """The same count for each model, of its outputs that are not always 0: those that are have no gradient."""
    n, m = results.sizes["feature"] - results.silent.values, results.sizes["hidden"]
    return (n * (m + 1) - m * (m - 1) / 2) / 2


def _coefficients(results: xr.Dataset) -> list[Claim]:
    value, gaussian = results.value.values, (results.gaussian + results.slope).values
    error = np.hypot(results.stderr.values, results.gaussian_stderr.values)
    seen = np.isfinite(value + gaussian)
    off = np.abs(value - gaussian)[seen]
    same = off <= np.maximum(NEAR * gaussian[seen], 2 * error[seen])
    low, high = regular(results)
    one, half = sticks(results, 1.0), sticks(results, 0.5)
    sound = value > -2 * results.stderr.values
    mean = lambda where: f"{np.mean(value[where & sound]):.0f}" if (where & sound).any() else "no such model"
    apart = (
        bool(np.max(value[one & sound]) < np.min(value[half & sound])) if (one & sound).any() and half.any() else None
    )
    return [
        Claim(
            f"lambda-hat where D* sticks at 1 and at 1/2 (models with a negative one left out), gamma = {results.attrs['strength']:g} nbeta",
            "codimension: any subspace is as good as another; only rotations are free",
            f"{low:g} and at most {high:g}", f"{mean(one)} and {mean(half)}", apart,
        ),
        Claim(
            f"densities where lambda-hat is what Hessian and gradient give on the same examples, within {NEAR:.0%}",
            "second-order expansion of the loss", "most", f"{int(np.sum(same))} of {int(seen.sum())}; median ratio {np.median(value[seen] / gaussian[seen]) if seen.any() else np.nan:.2f}, the gradient's part {np.median(results.slope.values):.0f}; R-hat above 1.2 at {int(np.sum(results.rhat.values > 1.2))}", bool(seen.any() and np.mean(same) > 0.5),
        ),
        _minima(results),
        _beside(results),
        _within(results),
    ]  # fmt: skip


def _minima(results: xr.Dataset) -> Claim:
    """A negative lambda-hat: the chains went to lower losses. D* does not tell such a model from the others."""
    value, silent = results.value.values, results.silent.values
    negative = value < -2 * results.stderr.values
    at = ", ".join(f"{s:.2g} (D* {d:.2f}, lambda-hat {v:.0f}, {q} silent)" for s, d, v, q in zip(results.density.values[negative], final(results)[negative], value[negative], silent[negative], strict=True))  # fmt: skip
    return Claim(
        "densities whose lambda-hat is negative, so that the model is no minimum; outputs that are 0 on all examples, over the densities",
        "this experiment", "none", f"{at or 'none'}; silent outputs {' '.join(str(q) for q in silent)}", bool(not negative.any()) if np.isfinite(value).all() else None,
    )  # fmt: skip


def _beside(results: xr.Dataset) -> Claim:
    """Whether lambda-hat orders the densities otherwise than the loss and D* do."""
    value = results.value.values
    readings = {"loss": results.test_loss.values, "loss/chance": _share(results), "D*": final(results), "outputs that are not silent": speaking(results)}  # fmt: skip
    seen = np.isfinite(value) & (value > 0)
    if seen.sum() < 4:
        return Claim("rank correlation of lambda-hat with loss and D*", "this experiment", "?", "too few models", None)
    rho = {name: _rank_correlation(value[seen], other[seen]) for name, other in readings.items()}
    shown = ", ".join(f"{name} {number:+.2f}" for name, number in rho.items())
    return Claim(
        "rank correlation over the densities of lambda-hat with the loss, D*, and a count of the parameters with a gradient",
        "this experiment", "?", f"{shown}; lambda-hat largest at density {results.density.values[np.nanargmax(value)]:.2g}", None,
    )  # fmt: skip


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's; NaN where either is constant."""
    constant = np.ptp(x) == 0 or np.ptp(y) == 0
    return np.nan if constant else float(np.corrcoef(rankdata(x), rankdata(y))[0, 1])


def _within(results: xr.Dataset) -> Claim:
    """On the plateau at 1/2, where D* is one number: what loss and lambda-hat do."""
    half = sticks(results, 0.5)
    if half.sum() < 2:
        return Claim("over the plateau at D* = 1/2", "this experiment", "?", "no plateau", None)
    span = lambda values: f"{np.ptp(values[half]) / np.mean(values[half]):.0%}"
    shown = f"D* {span(final(results))}, loss {span(results.test_loss.values)}, loss/chance {span(_share(results))}, lambda-hat {span(results.value.values)}, standard error {np.mean(results.stderr.values[half] / results.value.values[half]):.1%}"
    return Claim("over the plateau at D* = 1/2, range as a share of the mean", "this experiment", "?", shown, None)


def _share(results: xr.Dataset) -> np.ndarray:
    return results.test_loss.values / results.chance.values
