"""The ranges of settings, in their annotations, and the one check of them.

@checked
def run(*, seeds: Annotated[Count, Doc("runs")] = 8, rate: Annotated[Positive, Doc("of SGD")] = 0.1) -> ...
"""

import functools
import inspect
import operator
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import annotated_types as at
import numpy as np

F = TypeVar("F", bound=Callable[..., Any])

Count = Annotated[int, at.Interval(ge=1, le=10**7)]
Natural = Annotated[int, at.Interval(ge=0, le=10**7)]
Seed = Annotated[int, at.Interval(ge=0, le=2**31 - 1)]
Positive = Annotated[float, at.Interval(gt=0, le=1e12)]
NonNegative = Annotated[float, at.Interval(ge=0, le=1e12)]
Share = Annotated[float, at.Interval(ge=0, le=1)]

BOUNDS: Any = (
    (at.Ge, "from", operator.ge),
    (at.Gt, "above", operator.gt),
    (at.Le, "to", operator.le),
    (at.Lt, "to below", operator.lt),
)


def between(low: int | float, high: int | float) -> Any:
    """Metadata of a number from `low` to `high`, both included: `Annotated[int, between(2, 8), Doc(...)]`."""
    return at.Interval(ge=low, le=high)


def checked(run: F) -> F:
    """The function, which first refuses arguments outside the ranges of its annotations: ValueError."""

    @functools.wraps(run)
    def within(*args: Any, **arguments: Any) -> Any:
        check(run, arguments)
        return run(*args, **arguments)

    return within  # type: ignore[return-value]


def check(run: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    """Raise ValueError for the first argument of `run` that its annotation does not allow."""
    hints = get_type_hints(inspect.unwrap(run), include_extras=True)
    for name, value in arguments.items():
        if name in hints:
            _check(name, value, hints[name])


def at_least(least: int, **numbers: int) -> None:
    """Raise ValueError for the first of the named settings that is smaller than `least`."""
    for name, number in numbers.items():
        if number < least:
            raise ValueError(f"got {name}={number}: write {flag(name)} with {least} or more")


def multiple(of: int, **numbers: int) -> None:
    """Raise ValueError for the first of the named settings that is not a multiple of `of`."""
    for name, number in numbers.items():
        if number % of:
            raise ValueError(
                f"got {name}={number}: write {flag(name)} with a multiple of {of}, such as {number - number % of or of}"
            )


def flag(name: str) -> str:
    """The command-line flag of a setting."""
    return "--" + name.replace("_", "-")


def _check(name: str, value: Any, hint: Any) -> None:
    hint, metadata = (hint.__origin__, hint.__metadata__) if get_origin(hint) is Annotated else (hint, ())
    if hasattr(hint, "_fields"):
        if not isinstance(value, hint):
            raise ValueError(f"got {name}={value!r}: write {hint.__name__}({', '.join(hint._fields)})")
        fields = get_type_hints(hint, include_extras=True)
        for field in hint._fields:
            _check(f"{name}.{field}", getattr(value, field), fields[field])
        return
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not NoneType]
        if value is None or len(kinds) != 1:
            return
        return _check(name, value, Annotated[kinds[0], *metadata] if metadata else kinds[0])
    if get_origin(hint) is tuple:
        if not isinstance(value, tuple | list) or not value:
            raise ValueError(f"got {name}={value!r}: write {flag(name)} with one value or more")
        for each in value:
            _check(name, each, get_args(hint)[0])
        return
    if get_origin(hint) is Literal and value not in get_args(hint):
        raise ValueError(f"got {name}={value!r}: write {flag(name)} with one of {', '.join(map(str, get_args(hint)))}")
    if hint in (int, float, bool, str) and not _allowed(value, hint, metadata):
        raise ValueError(f"got {name}={value!r}: write {flag(name)} with {_wanted(hint, metadata)}")


def _allowed(value: Any, kind: type, metadata: tuple[Any, ...]) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if kind in (bool, str):
        return isinstance(value, kind)
    if not whole and not (kind is float and isinstance(value, float | np.floating) and np.isfinite(value)):
        return False
    return all(holds(value, end) for _, end, holds in _bounds(metadata))


def _wanted(kind: type, metadata: tuple[Any, ...]) -> str:
    what = {int: "a whole number", float: "a number", bool: "True or False", str: "a text"}[kind]
    return " ".join([what, *(f"{words} {end:,.15g}" for words, end, _ in _bounds(metadata))])


def _bounds(metadata: tuple[Any, ...]) -> list[tuple[str, Any, Callable[[Any, Any], bool]]]:
    """The ends of the ranges in an annotation, lower ones first: its word, the end, how a value compares with it."""
    each = [one for group in metadata for one in (group if isinstance(group, at.GroupedMetadata) else [group])]
    found = []
    for kind, word, holds in BOUNDS:
        ends = [getattr(one, kind.__name__.lower()) for one in each if isinstance(one, kind)]
        found += [(word, end, holds) for end in ends]
    return found
