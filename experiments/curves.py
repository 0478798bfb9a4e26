"""Learning-coefficient curves of training runs under several settings, their transitions, and what the loss says already.

A curve is worth something beside the loss only: so each carries L(w*), E[L], the saturation and the findings of
`verdict`, and `disguise` is the claim that holds it against its loss.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key, PyTree

from experiments import sweep
from experiments.experiment import Claim
from slt.curves import Regression, regress
from slt.diagnostics import verdict
from slt.estimate import LLC, estimate_llc
from slt.phases import ChangePoint, align, change_points, inflated
from slt.samplers.langevin import sgld

NUMBERS = ("value", "stderr", "ess", "rhat", "mean_loss", "loss_at_centre", "saturation", "baseline_noise")


class Setting(NamedTuple):
    """How the chains of a curve are held: exp(-nbeta L - gamma/2 |w - w*|^2) on the weights of `block`, steps of SGLD.

    block: the name of a mask that `curves` is given; "all" for every weight.
    """

    nbeta: float
    gamma: float
    step_size: float
    block: str = "all"


def curves(
    key: Callable[[Any], Key[Array, ""]],
    loss: Callable[[Any, Any], Array],
    params: PyTree,
    data: Callable[[Any], Any],
    *,
    seeds: Sequence[int] | np.ndarray,
    settings: Mapping[str, Setting],
    chains: int,
    warmup: int,
    draws: int,
    thin: int = 1,
    batch_size: int | None = None,
    chance: float | None = None,
    masks: Mapping[str, PyTree] | None = None,
    name: str = "llc",
    block: int | None = None,
) -> xr.Dataset:
    """lambda-hat of every checkpoint of every run under every setting: axes (setting, run, time).

    `params` has the axes (run, time) on every leaf. All checkpoints of a run share `key(seed)` and `data(seed)`, so that
    their chains draw the same random numbers; on minibatches (`batch_size`) the baseline is paired. `masks` names
    blocks of the weights (`slt.refined.blocks`). `name` and `block` are those of `sweep.run`.
    """
    moving = _moving(params, masks or {}, settings)

    def point(p: dict[str, Any]) -> LLC:
        mask = jax.tree.map(lambda leaf: leaf[p["moving"]], moving) if masks else None
        return estimate_llc(
            key(p["seed"]), loss, p["params"], data(p["seed"]), sgld(p["step_size"]),
            nbeta=p["nbeta"], gamma=p["gamma"], mask=mask, chance=chance, chains=chains, warmup=warmup, draws=draws,
            thin=thin, batch_size=batch_size, baseline="full" if batch_size is None else "paired",
        )  # fmt: skip

    runs, time = jax.tree.leaves(params)[0].shape[:2]
    names = ["all", *(masks or {})]
    tile = lambda leaf: np.tile(leaf, (len(settings), *[1] * (np.ndim(leaf) - 1)))
    each = lambda values, dtype: np.repeat(np.array(list(values), dtype), runs * time)
    points = {
        "params": jax.tree.map(lambda leaf: tile(np.reshape(leaf, (-1, *np.shape(leaf)[2:]))), params),
        "seed": tile(np.repeat(np.asarray(seeds), time)),
        "nbeta": each((s.nbeta for s in settings.values()), np.float32),
        "gamma": each((s.gamma for s in settings.values()), np.float32),
        "step_size": each((s.step_size for s in settings.values()), np.float32),
        "moving": each((names.index(s.block) for s in settings.values()), np.int32),
    }
    found = sweep.run(point, points, name=name, block=block)
    return _labelled(LLC._make(found[field].values for field in LLC._fields), settings, runs, time)


def _moving(params: PyTree, masks: Mapping[str, PyTree], settings: Mapping[str, Setting]) -> PyTree:
    """The masks, whole and stacked, everything first."""
    moving = {"all": True} | dict(masks)
    for setting in settings.values():
        if setting.block not in moving:
            raise ValueError(f"got the block {setting.block!r}: write one of {', '.join(moving)}, or give its mask")
    whole = [
        jax.tree.map(lambda m, w: jax.tree.map(lambda leaf: jnp.full(leaf.shape[2:], m), w), mask, params)
        for mask in moving.values()
    ]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *whole)


def _labelled(llc: LLC, settings: Mapping[str, Setting], runs: int, time: int) -> xr.Dataset:
    dims, shape = ("setting", "run", "time"), (len(settings), runs, time)
    kinds = [", ".join(line.split(":")[0] for line in verdict(LLC(*one))) for one in zip(*llc, strict=True)]
    variables: dict[str, Any] = {field: (dims, np.reshape(getattr(llc, field), shape)) for field in NUMBERS}
    variables["findings"] = (dims, np.array(kinds, dtype=str).reshape(shape), {"long_name": "what verdict says"})
    for field in ("nbeta", "gamma", "step_size"):
        variables[field] = ("setting", np.array([getattr(s, field) for s in settings.values()]))
    variables["block"] = ("setting", np.array([s.block for s in settings.values()], dtype=str))
    return xr.Dataset(variables, {"setting": list(settings)})


def transitions(
    curve: Float[np.ndarray, "run time"], stderr: Float[np.ndarray, "run time"] | float, *, penalty: float | None = None
) -> list[list[ChangePoint]]:
    """The changes of level of every run's curve, with their intervals: `change_points` on the inflated noise."""
    noise = np.broadcast_to(stderr, np.shape(curve))
    return [
        change_points(
            np.asarray(row, float), inflated(np.asarray(row, float), np.asarray(error, float)), penalty=penalty
        )
        for row, error in zip(curve, noise, strict=True)
    ]


def largest(found: Sequence[Sequence[ChangePoint]]) -> list[list[int]]:
    """Of every run's changes the place of the largest (none where a run has none): what `aligned` takes."""
    return [[max(run, key=lambda c: abs(c.jump)).index] if len(run) else [] for run in found]


def places(found: Sequence[Sequence[ChangePoint]]) -> list[list[int]]:
    """The places of all changes of every run: what `aligned` takes."""
    return [[c.index for c in run] for run in found]


def aligned(
    what: str, one: Sequence[Sequence[int]], other: Sequence[Sequence[int]], *, tolerance: int, source: str
) -> Claim:
    """The claim that the transitions `one` coincide with `other` more than those of runs paired at random (p < .05)."""
    found = align(one, other, tolerance=tolerance)
    measured = f"{found.share:.0%} of {found.count}, median lag {found.lag:+g} checkpoints, null {found.null:.0%}, p = {found.p_value:.3f}"
    return Claim(
        f"{what}: share with the other within {tolerance} checkpoints, against runs paired at random",
        source,
        "p < .05",
        measured if found.count else "there is no transition",
        None if found.count == 0 else bool(found.p_value < 0.05),
    )


def disguise(results: xr.Dataset, setting: str, *, source: str, expected: bool | None = None) -> Claim:
    """How much of a curve is its loss: R^2 of lambda-hat on L(w*) in each run, slope over nbeta, saturation.

    `expected`: whether the source has the curve as the loss in disguise (R^2 > .99); None: it is asked.
    """
    here = results.sel(setting=setting)
    fits = [regress(_curve(here.isel(run=run))) for run in range(here.sizes["run"])]
    fits = [fit for fit in fits if np.isfinite(fit.r_squared)] or [Regression(np.nan, np.nan, np.nan)]
    r_squared = np.array([fit.r_squared for fit in fits])
    slope, middle = np.median([fit.slope for fit in fits]) / float(here.nbeta), float(np.median(r_squared))
    return Claim(
        f"{setting}: lambda-hat is affine in the loss (R^2 over the checkpoints; slope / nbeta; saturation)",
        source,
        {True: "R^2 > .99", False: "R^2 <= .99", None: "-"}[expected],
        f"R^2 {middle:.3f} [{r_squared.min():.3f}, {r_squared.max():.3f}] over runs; {slope:.2f}; "
        f"median {float(here.saturation.median()):.2f}",
        None if expected is None or np.isnan(middle) else bool((middle > 0.99) == expected),
    )


def believed(results: xr.Dataset, setting: str) -> Claim:
    """How many of the estimates `verdict` has nothing against, and what it has against the others."""
    kinds = results.findings.sel(setting=setting).values.ravel()
    names, counts = np.unique([kind for each in kinds for kind in str(each).split(", ") if kind], return_counts=True)
    order = np.argsort(-counts)
    listed = ", ".join(f"{names[i]} {counts[i]}" for i in order) or "nothing"
    return Claim(
        f"{setting}: estimates that verdict has nothing against",
        "this experiment",
        "-",
        f"{np.mean(kinds == ''):.0%} of {kinds.size} ({listed})",
        None,
    )


def _curve(here: xr.Dataset) -> LLC:
    nothing = LLC(*[np.float32(np.nan)] * len(LLC._fields))  # type: ignore[arg-type]
    return nothing._replace(value=here.value.values, loss_at_centre=here.loss_at_centre.values)
