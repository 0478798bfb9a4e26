"""Learning-coefficient curves of training runs under several settings of the chains, and the transitions in them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Key, PyTree

import slt
import sweeps

NUMBERS = ("value", "stderr", "ess", "rhat", "mean_loss", "loss_at_centre", "saturation")


class Setting(NamedTuple):
    """How the chains of a curve are held: exp(-nbeta L - gamma/2 |w - w*|^2) on the weights of `block`.

    step_size: of SGLD; None: `slt.ghmc`, whose steps follow the curvature of each checkpoint.
    block: the name of a mask that `curves` is given; "all" for every weight.
    """

    nbeta: float
    gamma: float
    step_size: float | None = None
    block: str = "all"


def curves(
    loss: Callable[[Any, Any], Array],
    runs: sweeps.Runs,
    data: Callable[[Any], Any],
    key: Callable[[Any], Key[Array, ""]],
    *,
    settings: Mapping[str, Setting],
    sampling: slt.Sampling,
    chance: float | None = None,
    masks: Mapping[str, PyTree] | None = None,
    name: str = "llc",
    block: int | None = None,
) -> xr.Dataset:
    """lambda-hat of every checkpoint of every run under every setting: axes (setting, those of the grid, step).

    The outputs of `runs` have a field `params`. `data(at)` and `key(at)` are of a point of the grid: all checkpoints of
    a run share them, so that their chains draw the same random numbers. `masks` names blocks of the weights
    (`slt.blocks`). `findings` are the kinds of what `slt.verdict` has against each estimate. `name` and `block` are
    those of `sweeps.map`.
    """
    tuned = all(setting.step_size is None for setting in settings.values())
    if not tuned and any(setting.step_size is None for setting in settings.values()):
        raise ValueError("got settings with a step_size and without: write one for each, or for none")
    names, moving = ["all", *(masks or {})], _moving(runs.outputs.params, masks or {}, settings)

    def estimate(at: Any, checkpoint: Any) -> slt.LLC:
        mask = jax.tree.map(lambda leaf: leaf[at["moving"]], moving) if masks else None
        held = dict(nbeta=at["nbeta"], gamma=at["gamma"], mask=mask, chance=chance)
        sampler = slt.ghmc() if tuned else slt.sgld(at["step_size"])
        return slt.estimate_llc(key(at), loss, checkpoint.params, data(at), sampler, **held, **sampling._asdict())

    number = lambda values, dtype="float32": np.array(list(values), dtype)
    own = {
        "nbeta": number(setting.nbeta for setting in settings.values()),
        "gamma": number(setting.gamma for setting in settings.values()),
        "step_size": number(setting.step_size or np.nan for setting in settings.values()),
    }
    at = own | {"moving": number((names.index(setting.block) for setting in settings.values()), "int32")}
    grid = sweeps.cross(sweeps.Points(at, None, {"setting": np.array(list(settings))}), runs)
    found = sweeps.map(estimate, grid, name=name, block=block)
    results = found[list(NUMBERS)].assign({name: ("setting", values) for name, values in own.items()})
    about = {"long_name": "what verdict has against the estimate"}
    results["findings"] = (found.value.dims, slt.findings(found), about)
    return results.assign(block=("setting", np.array([setting.block for setting in settings.values()])))


def _moving(params: PyTree, masks: Mapping[str, PyTree], settings: Mapping[str, Setting]) -> PyTree:
    """The masks as whole trees, stacked, everything first; `params` has the axes (point, time)."""
    moving = {"all": True} | dict(masks)
    for setting in settings.values():
        if setting.block not in moving:
            raise ValueError(f"got the block {setting.block!r}: write one of {', '.join(moving)}, or give its mask")
    fill = lambda mask, part: jax.tree.map(lambda leaf: jnp.full(leaf.shape[2:], mask), part)
    whole = [jax.tree.map(fill, mask, params) for mask in moving.values()]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *whole)


def transitions(
    curve: Float[np.ndarray, "run time"], stderr: Float[np.ndarray, "run time"] | float, *, penalty: float | None = None
) -> list[list[slt.ChangePoint]]:
    """The changes of level of every run's curve, with their intervals: `change_points` on the inflated noise."""
    curve = np.asarray(curve, float)
    noise = np.broadcast_to(np.asarray(stderr, float), curve.shape)
    return [
        slt.change_points(row, slt.inflated(row, error), penalty=penalty)
        for row, error in zip(curve, noise, strict=True)
    ]


def largest(found: Sequence[Sequence[slt.ChangePoint]]) -> list[list[slt.ChangePoint]]:
    """Of every run's changes the largest (none where a run has none)."""
    return [[max(run, key=lambda change: abs(change.jump))] if len(run) else [] for run in found]


def places(found: Sequence[Sequence[slt.ChangePoint | slt.SlopeChange]]) -> list[list[int]]:
    """The places of all changes of every run."""
    return [[change.index for change in run] for run in found]


def bends(
    x: Float[np.ndarray, " time"], curve: Float[np.ndarray, "run time"], stderr: Float[np.ndarray, "run time"]
) -> list[list[slt.SlopeChange]]:
    """The changes of slope of every run's curve over x, with their intervals; none of a curve that is not finite."""
    found = []
    for row, error in zip(curve, stderr, strict=True):
        found.append(slt.slope_changes(x, row, slt.inflated(row, error)) if np.isfinite(row).all() else [])
    return found


def meeting(one: Sequence[Sequence[Any]], other: Sequence[Sequence[Any]]) -> list[bool]:
    """Of every change of `one[run]` whether one of `other[run]` has an interval that meets its own."""
    found = []
    for own, others in zip(one, other, strict=True):
        found += [any(a.low <= b.high and b.low <= a.high for b in others) for a in own]
    return found
