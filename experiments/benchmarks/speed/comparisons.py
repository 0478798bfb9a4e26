"""What is compared: our works, and beside each what a peer is asked to do, or another work of ours."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.benchmarks.speed import transformers, work
from experiments.benchmarks.speed.work import Work, chains, curve, training

AXES = ("runs", "checkpoints", "chains", "draws")
LINEAR = 8.0**0.05  # eight times the work may take 8^(1 +- .05) times as long


class Comparison(NamedTuple):
    """Our work beside `asked` of a peer's worker, or beside the work of ours named `label` where there is none.

    The ratio of steps a second should be from `least` to `most`; `agree`: see `measure.disagreement`.
    """

    work: str
    label: str
    least: float
    most: float = np.inf
    worker: str = ""
    asked: dict[str, Any] = {}
    agree: str = ""
    headline: bool = False


def _notebook(name: str, least: float, *, headline: bool = False) -> list[Comparison]:
    peer: Any = dict(worker="training", agree="paired")
    compiled = dict(compile=True, fused=True)
    return [
        Comparison(name, "PyTorch notebook", least, headline=headline, **peer),
        Comparison(name, "notebook, compiled, fused AdamW", 1.0, asked=compiled, **peer),
    ]


def _sampler(name: str, label: str, least: float, worker: str, number: int, *, headline: bool = False) -> Comparison:
    asked = dict(chains=number)
    return Comparison(name, label, least, worker=worker, asked=asked, agree="independent", headline=headline)


def _transformer(label: str, *, headline: bool = False, **asked: bool) -> Comparison:
    peer: Any = dict(worker="training", agree="equal", asked=dict(fused=True, **asked))
    return Comparison("transformer 128, training", label, 1.3, headline=headline, **peer)


COMPARISONS = [
    *_notebook("train 6/2/64", 40.0, headline=True),
    *_notebook("train 80/20/16", 10.0),
    *_notebook("train 200/20/20", 12.0),
    Comparison("train 6/2/64", "train 6/2/64, threefry", 1.0),
    _sampler("chains", "devinterp 2.0.1", 1000.0, "devinterp2", 8, headline=True),
    _sampler("chains", "devinterp 1.3.2, batches made before", 180.0, "devinterp1", 16, headline=True),
    _sampler("chains", "canonical-interp 0.1.5", 20.0, "canonical", 64),
    Comparison("chains", "chains, threefry", 1.0),
    _transformer("PyTorch, compiled", compile=True, headline=True),
    _transformer("PyTorch"),
    Comparison("transformer 128, training", "peak of a matrix product", 0.45),
    _sampler("transformer 128, 8 chains", "devinterp 1.3.2, batches made before", 3.0, "devinterp1", 8),
    _sampler("transformer 16, 8 chains", "devinterp 1.3.2, batches made before", 3.0, "devinterp1", 8),
    Comparison("curve from a cold start", "devinterp 1.3.2", 30.0, worker="devinterp1", headline=True),
    Comparison("curve, compiled before", "curve from a cold start", 1.0),
    *(Comparison(f"growth in {axis}, 8 times", f"growth in {axis}, 8 calls", 1 / LINEAR, LINEAR) for axis in AXES),
]


def our_works(scale: float, folder: Path) -> dict[str, Callable[[], Work]]:
    """Every work of ours at this scale, made when called; `folder` is for what goes through files."""
    n = lambda number: max(4, int(number * scale))
    draws, large, small = max(20, n(500)), transformers.LARGE, transformers.SMALL
    found = {f"growth in {axis}, 8 times": functools.partial(_growth, axis, 8, n) for axis in AXES}
    found |= {f"growth in {axis}, 8 calls": functools.partial(_growth, axis, 1, n) for axis in AXES}
    return found | {
        "train 6/2/64": lambda: training((6, 2, 64), steps=n(3000), compared=n(150)),
        "train 6/2/64, threefry": lambda: training((6, 2, 64), steps=n(1000), prng="threefry2x32"),
        "train 80/20/16": lambda: training((80, 20, 16), steps=n(400), compared=n(50)),
        "train 200/20/20": lambda: training((200, 20, 20), steps=n(150), compared=n(20)),
        "chains": lambda: chains(512, each=4, draws=draws),
        "chains, threefry": lambda: chains(512, each=4, draws=draws, prng="threefry2x32"),
        "transformer 128, training": lambda: transformers.training(large, steps=n(40), compared=n(30)),
        "transformer 128, 8 chains": lambda: transformers.chains(large, 8, draws=n(6)),
        "transformer 16, 8 chains": lambda: transformers.chains(small, 8, draws=n(200)),
        "peak of a matrix product": lambda: work.peak(large.products(), size=2048 if scale >= 1 else 256),
        "curve from a cold start": lambda: curve(draws, folder, cold=True),
        "curve, compiled before": lambda: curve(draws, folder, cold=False),
    }


def _growth(axis: str, multiple: int, n: Callable[[int], int]) -> Work:
    """One of two equal amounts of work: eight times as long on one axis, or eight calls."""
    block, draws = 8 * jax.local_device_count(), n(800)
    many: Any = dict(repeats=8 // multiple)
    if axis == "runs":
        return training((6, 2, block * multiple), steps=n(4000), batch=256, block=8, **many)
    if axis == "checkpoints":
        return chains(4 * block * multiple, each=4, draws=draws, block=8, **many)
    if axis == "chains":
        return chains(8 * block * multiple, each=4 * multiple, draws=draws, block=16 // multiple, **many)
    return chains(4 * block, each=4, draws=draws * multiple, block=8, **many)
