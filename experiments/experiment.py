"""The experiment contract: `run(*, ...) -> Dataset`, `claims(results) -> list[Claim]`, `plot(results) -> Figure`."""

import ast
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

EXPERIMENTS = {
    "tms": "1-2 min on two cores",
    "speed": "6 min on two cores, with peers",
    "grid": "2 min on two cores",
    "saturation": "3 min on two cores",
    "stages": "3 min on two cores",
    "tms_bayes": "3-5 min on two cores",
    "wbic": "1 min on two cores",
    "llc_calibration": "4-7 min on two cores",
    "phase_diagram": "1-2 min on two cores",
    "learning_dynamics": "2-3 min on two cores",
    "grokking": "6-7 min on two cores",
    "icl_regression": "5-6 min on two cores",
    "markov_induction": "5-6 min on two cores",
    "geometry": "2-3 min on two cores",
    "language": "5-6 min on two cores",
}
"""Every experiment with what its default preset costs. The name is the module's, in `experiments`."""


class Claim(NamedTuple):
    """What a source reports beside what was measured. `holds` is None where the source asks and does not answer."""

    text: str
    source: str
    expected: str
    measured: str
    holds: bool | None


def find(name: str) -> ModuleType:
    """The experiment's module. Raises ValueError with the list of names for an unknown one."""
    if name not in EXPERIMENTS:
        raise ValueError(f"unknown experiment {name!r}: write one of {', '.join(EXPERIMENTS)}")
    return importlib.import_module(f"experiments.{name}")


def question(name: str) -> str:
    """The first line of an experiment's docstring, read without importing what it needs."""
    found = importlib.util.find_spec(f"experiments.{name}")
    source = Path(str(found and found.origin)).read_text()
    return (ast.get_docstring(ast.parse(source)) or "").splitlines()[0]


def at_least(least: int, **numbers: int) -> None:
    """Raise ValueError for the first of the named settings that is smaller than `least`."""
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f"got {name}={number}: write --{name.replace('_', '-')} {least} or more")


def positive(**numbers: float) -> None:
    """Raise ValueError for the first of the named settings that is not a positive finite number."""
    for name, number in numbers.items():
        if not 0 < number < float("inf"):
            raise ValueError(f"got {name}={number}: --{name.replace('_', '-')} needs a positive number")


def multiple(of: int, **numbers: int) -> None:
    """Raise ValueError for the first of the named settings that is not a multiple of `of`."""
    for name, number in numbers.items():
        if number % of:
            raise ValueError(
                f"got {name}={number}: write a multiple of {of}, such as --{name.replace('_', '-')} {number - number % of or of}"
            )
