"""How much faster is this than what people use, and does it compute the same?

Training of toy models and of a transformer, chains and a whole learning-coefficient curve, side by side with PyTorch
(for the toy models, the published notebook), devinterp 1.3.2 and 2.0.1, and canonical-interp, each in an environment of
its own (`make peers`). In every round each comparison is ours and theirs, one after the other, so that a ratio compares
seconds of the same minute; a peer has the thread count it is fastest with. Peers that are not installed are named.
"""

import sys
import tempfile
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import xarray as xr
from annotated_types import Ge, Gt, Le
from typing_extensions import Doc

from experiments.benchmarks.speed import measure
from experiments.benchmarks.speed.comparisons import COMPARISONS, our_works
from experiments.benchmarks.speed.report import claims, plot
from experiments.benchmarks.speed.sides import Sides, python
from experiments.shared.ranges import checked

__all__ = ["COST", "PRESETS", "claims", "plot", "run"]

COST = "minutes: it says how many before it begins"

PRESETS = {
    "smoke": dict(compare="chains", rounds=2, scale=0.02, peers="none"),
    "default": {},
    "paper": dict(rounds=10),
}

Kind = Literal["everything", "train", "chains", "transformer", "curve", "growth"]


@checked
def run(
    *,
    compare: Annotated[Kind, Doc("what to compare")] = "everything",
    rounds: Annotated[int, Ge(1), Le(100), Doc("times that both sides of every comparison are timed, in turn")] = 3,
    scale: Annotated[
        float, Gt(0), Le(10), Doc("length of what is timed; 1 is about a second for us and some for a peer")
    ] = 1.0,
    peers: Annotated[Literal["installed", "none"], Doc("compare with the peers that are installed, or with none")] = (
        "installed"
    ),
) -> xr.Dataset:
    """Time both sides in turn, and compare what they compute."""
    of_kind = [c for c in COMPARISONS if compare == "everything" or c.work.startswith(compare)]
    workers = {c.worker for c in of_kind} - {""}
    missing = sorted(worker for worker in workers if peers == "none" or python(worker) is None)
    if missing and peers == "installed":
        warnings.warn(
            f"not installed in {sys.prefix}/peers: {', '.join(missing)}; `make peers` installs them, going on without",
            stacklevel=2,
        )
    wanted = [c for c in of_kind if c.worker not in missing]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        measure.say(f"trying the sides of {len(wanted)} comparisons first")
        sides = Sides(our_works(scale, Path(folder)), Path(folder), stack)
        pairs = [sides.pair(comparison) for comparison in wanted]
        results = measure.in_turn([pair[:2] for pair in pairs], [agree for _, _, agree, _ in pairs], rounds)
        versions = sorted({peer.version for peer in sides.peers.values()})
    variables = {
        "least": ("comparison", [c.least for c in wanted], {"long_name": "ratio that is expected at least"}),
        "most": ("comparison", [c.most for c in wanted], {"long_name": "and at most"}),
        "headline": ("comparison", [int(c.headline) for c in wanted]),
        "threads": ("comparison", [threads for *_, threads in pairs], {"long_name": "of the peer, the better number"}),
    }
    labels = {"comparison": [f"{c.work}: {c.label}" for c in wanted]}
    return (
        results.assign(variables)
        .assign_coords(labels)
        .assign_attrs(missing=", ".join(missing), versions=", ".join(versions))
    )
