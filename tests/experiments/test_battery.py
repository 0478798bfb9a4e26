"""Every flag of every experiment with what a user may write into it: refused in one form, or reaching a sweep."""

import inspect
import math
import re
from collections.abc import Iterator
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import sweeps
from experiments.experiment import find, presets, sources
from experiments.shared.ranges import check

FOUND = [str(Path(__file__).parent / "example.py")]
FOUND += list(sources())
ALL = pytest.mark.parametrize("name", FOUND, ids=lambda name: Path(name).stem)
NUMBERS = (-1, 0, math.inf, math.nan, 10**12, 0.5, 2**32, 10**400, True, None, "three", (1, 2))
OTHERS = ("", "three", "../x", 3, None, True, (), (-1,), (0,), (math.nan,), ("three",))
FORM = re.compile(r"got [^\n]+: write [^\n]+|the results of \w+ would take .* write .*", re.DOTALL)
RUNS = 1  # of each experiment, in the default tests


class Try(NamedTuple):
    """One setting with a value that a user may give it."""

    flag: str
    value: Any
    arguments: dict[str, Any]


class Reached(Exception):
    """The first sweep was about to be computed."""


def reached(job: sweeps.Job) -> None:
    """In place of computing a sweep."""
    raise Reached(job.name)


def tries(module: Any) -> Iterator[Try]:
    """Every setting of the smoke preset with every value, the fields of nested settings too."""
    smoke = presets(module)["smoke"]
    for name, parameter in inspect.signature(module.run).parameters.items():
        default = smoke.get(name, parameter.default)
        if hasattr(default, "_fields"):
            yield Try(name, 3, {name: 3})
            for field, inner in default._asdict().items():
                for value in values(inner):
                    yield Try(f"{name}.{field}", value, {name: default._replace(**{field: value})})
        else:
            for value in values(default):
                yield Try(name, value, {name: value})


def values(default: Any) -> tuple[Any, ...]:
    if isinstance(default, float):
        return tuple(float(value) if type(value) is int and value < 10**300 else value for value in NUMBERS)
    return NUMBERS if isinstance(default, int | None) and not isinstance(default, bool) else OTHERS


def refusal(module: Any, arguments: dict[str, Any]) -> str | None:
    """What the check of the ranges says of the arguments; None if it lets them pass."""
    try:
        check(module.run, arguments)
    except ValueError as error:
        return str(error)
    return None


@ALL
def test_a_value_out_of_its_range_is_refused_by_name_with_what_to_write(name):
    module, wrong = find(name), []
    for flag, value, arguments in tries(module):
        said = refusal(module, arguments)
        if said is None:
            unbounded = isinstance(value, int | float) and not math.isfinite(value) if value != 10**400 else True
            wrong += [f"{flag}={value} is accepted"] if unbounded else []
        elif not FORM.fullmatch(said) or not said.startswith(f"got {flag}="):
            wrong.append(said)
    assert not wrong


def reach(module: Any, trial: Try) -> str:
    """Run up to the first sweep: what goes wrong; "" if it is reached, or if what is before it refuses in the form."""
    try:
        with sweeps.run(None, execute=reached):
            module.run(**presets(module)["smoke"] | trial.arguments)
    except Reached:
        return ""
    except ValueError as error:
        return "" if FORM.fullmatch(str(error)) else f"{trial.flag}={trial.value!r}: {error}"
    except Exception as error:
        return f"{trial.flag}={trial.value!r} ends in {type(error).__name__}: {error}"
    return ""  # an experiment without a sweep ran to its end


def accepted(module: Any) -> list[Try]:
    return [trial for trial in tries(module) if refusal(module, trial.arguments) is None]


@ALL
def test_a_value_in_its_range_reaches_the_first_sweep_or_is_refused_in_the_same_form(name):
    module = find(name)
    found = accepted(module)
    assert not [wrong for trial in found[:: max(1, ceil(len(found) / RUNS))] if (wrong := reach(module, trial))]


@pytest.mark.slow
@ALL
def test_all_values_in_their_ranges_reach_the_first_sweep_or_are_refused_in_the_same_form(name):
    module = find(name)
    assert not [wrong for trial in accepted(module) if (wrong := reach(module, trial))]
