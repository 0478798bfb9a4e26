"""Measurements of two sides in turn: how long they will take, what each took, and what the machine's load did to it."""

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float
from scipy import stats

CROWDED = 1.25  # load average for each core from which other work is waiting
DISTURBED = 0.9  # of a side's greatest share of processor time
STANDARD_ERRORS, RELATIVE = 4.0, 1e-5  # allowed between two samples of one law, and between two equal numbers


class Measured(NamedTuple):
    """One measurement: steps (all instances or chains counted), their seconds and processor time, and the result."""

    steps: float
    seconds: float
    cpu: float
    values: np.ndarray


class Side(NamedTuple):
    """One side of a comparison. `measure(seed)` does its work once; `expected`: seconds that this takes, by a trial."""

    measure: Callable[[int], Measured]
    expected: float


def order(comparisons: int, rounds: int) -> Iterator[tuple[int, int, int]]:
    """(round, comparison, side): in every round each comparison is ours and theirs, one after the other."""
    for r in range(rounds):
        for i in range(comparisons):
            yield r, i, 0
            yield r, i, 1


def in_turn(pairs: Sequence[tuple[Side, Side]], agree: Sequence[str], rounds: int) -> xr.Dataset:
    """Measure all pairs in every round; `agree` says how the results of each are compared (`disagreement`)."""
    expected = rounds * sum(side.expected for pair in pairs for side in pair)
    say(f"{rounds} rounds of {2 * len(pairs)} measurements will take about {duration(expected)} ({load()})")
    begin, shape = time.perf_counter(), (len(pairs), 2, rounds)
    found = {name: np.full(shape, np.nan) for name in ("steps", "seconds", "cpu", "load_average")}
    values: list[list[Any]] = [[None, None] for _ in pairs]
    for r, i, s in order(len(pairs), rounds):
        found["load_average"][i, s, r] = os.getloadavg()[0]
        measured = pairs[i][s].measure(r)
        for name in ("steps", "seconds", "cpu"):
            found[name][i, s, r] = getattr(measured, name)
        if r == 0:
            values[i][s] = measured.values
        if r == 0 and (i, s) == (len(pairs) - 1, 1):
            first = time.perf_counter() - begin
            say(f"the first round took {duration(first)}: about {duration(first * (rounds - 1))} more ({load()})")
    took, axes = time.perf_counter() - begin, ("comparison", "side", "round")
    units = {"steps": "1", "seconds": "s", "cpu": "s", "load_average": "1"}
    variables: dict[str, Any] = {name: (axes, array, {"units": units[name]}) for name, array in found.items()}
    apart = [disagreement(how, *pair) for how, pair in zip(agree, values, strict=True)]
    variables["disagreement"] = ("comparison", apart, {"units": "of what is allowed"})
    attributes = dict(expected_seconds=expected, took_seconds=took, cores=cores())
    results = xr.Dataset(variables, {"side": ["ours", "theirs"]}, attributes)
    share = float(busy(results).mean())
    say(f"it took {duration(took)}, for {duration(expected)} expected; busy with other work: {share:.0%} ({load()})")
    return results


def ratios(results: xr.Dataset) -> Float[np.ndarray, "comparisons 3"]:
    """Our steps a second to theirs within a round: least, median, greatest."""
    rate = results.steps / results.seconds
    within = (rate.sel(side="ours") / rate.sel(side="theirs")).transpose("comparison", "round").values
    return np.stack([within.min(1), np.median(within, axis=1), within.max(1)], axis=1)


def busy(results: xr.Dataset) -> Bool[xr.DataArray, "comparisons 2 rounds"]:
    """Whether other work disturbed a measurement.

    The load average before it exceeded the cores, or it had a smaller share of processor time than in another round.
    """
    share = results.cpu / results.seconds
    return (results.load_average > CROWDED * results.attrs["cores"]) | (share < DISTURBED * share.max("round"))


def disagreement(how: str, ours: np.ndarray, theirs: np.ndarray) -> float:
    """How far two results are apart, of what is allowed; 1 or less is agreement.

    equal: relative difference of numbers that should be equal. paired: t of the log ratio of losses from the same
    initial weights. independent: Welch's t of two samples of chains. NaN where there is nothing to compare.
    """
    if not ours.size or not theirs.size:
        return np.nan
    if how == "equal":
        return float(np.abs(theirs / ours - 1).max() / RELATIVE)
    welch = functools.partial(stats.ttest_ind, equal_var=False)
    test: Any = stats.ttest_rel(np.log(theirs), np.log(ours)) if how == "paired" else welch(theirs, ours)
    return float(abs(test.statistic) / STANDARD_ERRORS)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def load() -> str:
    """The machine's load in words."""
    return f"load average {os.getloadavg()[0]:.1f} on {cores()} cores"


def duration(seconds: float | int) -> str:
    """Seconds or minutes in words."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def say(text: str) -> None:
    """Tell whoever waits, on the error stream: standard output is for results."""
    print(f"speed: {text}", file=sys.stderr, flush=True)
