"""What is compared: our works, and beside each what a peer is asked to do, or another work of ours."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks.speed import work
from experiments.benchmarks.speed.work import LARGE, SMALL, Work

AXES = ("runs", "checkpoints", "chains", "draws")
LINEAR = 8.0**0.05  # eight times the work may take 8^(1 +- .05) times as long
FUSED, COMPILED = dict(fused=True), dict(fused=True, compile=True)


class Comparison(NamedTuple):
    """Our work beside what `worker`, a peer's, does when `asked`; or beside our work named `label`, without a worker.

    The ratio of steps a second should be from `least` to `most`.
    """

    work: str
    label: str
    least: float
    worker: str = ""
    asked: dict[str, Any] | None = None
    most: float = np.inf
    headline: bool = False


COMPARISONS = [
    Comparison("train 6/2/64", "PyTorch notebook", 40.0, "training", headline=True),
    Comparison("train 6/2/64", "notebook, compiled, fused AdamW", 1.0, "training", COMPILED),
    Comparison("train 80/20/16", "PyTorch notebook", 10.0, "training"),
    Comparison("train 80/20/16", "notebook, compiled, fused AdamW", 1.0, "training", COMPILED),
    Comparison("train 200/20/20", "PyTorch notebook", 12.0, "training"),
    Comparison("train 200/20/20", "notebook, compiled, fused AdamW", 1.0, "training", COMPILED),
    Comparison("train 6/2/64", "train 6/2/64, threefry", 1.0),
    Comparison("chains", "devinterp 2.0.1", 1000.0, "devinterp2", dict(chains=8), headline=True),
    Comparison("chains", "devinterp 1.3.2, batches made before", 180.0, "devinterp1", dict(chains=16), headline=True),
    Comparison("chains", "canonical-interp 0.1.5", 20.0, "canonical", dict(chains=64)),
    Comparison("chains", "chains, threefry", 1.0),
    Comparison("transformer 128, training", "PyTorch, compiled", 1.3, "training", COMPILED, headline=True),
    Comparison("transformer 128, training", "PyTorch", 1.3, "training", FUSED),
    Comparison("transformer 128, training", "peak of a matrix product", 0.45),
    Comparison("transformer 128, 8 chains", "devinterp 1.3.2, batches made before", 3.0, "devinterp1"),
    Comparison("transformer 16, 8 chains", "devinterp 1.3.2, batches made before", 3.0, "devinterp1"),
    Comparison("curve from a cold start", "devinterp 1.3.2", 30.0, "devinterp1", headline=True),
    Comparison("curve, compiled before", "curve from a cold start", 1.0),
    *(Comparison(f"growth in {axis}, 8 times", f"growth in {axis}, 8 calls", 1 / LINEAR, most=LINEAR) for axis in AXES),
]


def our_works(scale: float, folder: Path) -> dict[str, Callable[[], Work]]:
    """Every work of ours at this scale, made when called; `folder` is for what goes through files."""
    n = lambda number: max(4, int(number * scale))
    draws = max(20, n(500))
    sample = lambda **more: work.chains(work.pentagon(), 512, each=4, draws=draws, block=8, **more)
    found = {f"growth in {axis}, 8 times": functools.partial(growth, axis, 8, n) for axis in AXES}
    found |= {f"growth in {axis}, 8 calls": functools.partial(growth, axis, 1, n) for axis in AXES}
    return found | {
        "train 6/2/64": lambda: work.instances((6, 2, 64), steps=n(3000), compared=n(150)),
        "train 6/2/64, threefry": lambda: work.instances((6, 2, 64), steps=n(1000), prng="threefry2x32"),
        "train 80/20/16": lambda: work.instances((80, 20, 16), steps=n(400), compared=n(50)),
        "train 200/20/20": lambda: work.instances((200, 20, 20), steps=n(150), compared=n(20)),
        "chains": sample,
        "chains, threefry": lambda: sample(prng="threefry2x32"),
        "transformer 128, training": lambda: work.transformer_training(LARGE, steps=n(40), compared=n(30)),
        "transformer 128, 8 chains": lambda: work.chains(work.transformer(LARGE), 8, draws=n(6), block=1),
        "transformer 16, 8 chains": lambda: work.chains(work.transformer(SMALL), 8, draws=n(200), block=1),
        "peak of a matrix product": lambda: work.peak(LARGE.products(), size=2048 if scale >= 1 else 256),
        "curve from a cold start": lambda: work.curve(draws, folder, cold=True),
        "curve, compiled before": lambda: work.curve(draws, folder, cold=False),
    }


def growth(axis: str, multiple: int, n: Callable[[int], int]) -> Work:
    """One of two equal amounts of work: eight times as long on one axis, or eight calls."""
    block, draws = 8 * jax.local_device_count(), n(800)
    many: Any = dict(repeats=8 // multiple)
    if axis == "runs":
        return work.instances((6, 2, block * multiple), steps=n(4000), batch=256, block=8, **many)
    sample = functools.partial(work.chains, work.pentagon(), **many)
    made = {
        "checkpoints": lambda: sample(4 * block * multiple, each=4, draws=draws, block=8),
        "chains": lambda: sample(8 * block * multiple, each=4 * multiple, draws=draws, block=16 // multiple),
        "draws": lambda: sample(4 * block, each=4, draws=draws * multiple, block=8),
    }[axis]()
    return made._replace(agree="")
