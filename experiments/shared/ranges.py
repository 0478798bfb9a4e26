"""The ranges of settings, in their annotations, and the one check of them.

@checked
def run(*, seeds: Annotated[Count, Doc("runs")] = 8, rate: Annotated[Positive, Doc("of SGD")] = 0.1) -> ...
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
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


def between(low: float, high: float) -> Any:
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
    if hasattr(hint, "_fields") and isinstance(value, hint):
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
    if hint in (int, float) and not _allowed(value, hint, metadata):
        raise ValueError(f"got {name}={value!r}: write {flag(name)} with {_wanted(hint, metadata)}")


def _allowed(value: Any, kind: type, metadata: tuple[Any, ...]) -> bool:
    whole = isinstance(value, int | np.integer)
    is_kind = not isinstance(value, bool) and (whole or (kind is float and isinstance(value, float | np.floating)))
    return (
        is_kind
        and bool(np.isfinite(value))
        and all(low <= value <= high and value != out for low, high, out in _limits(metadata))
    )


def _wanted(kind: type, metadata: tuple[Any, ...]) -> str:
    what = "a whole number" if kind is int else "a number"
    for low, high, out in _limits(metadata):
        above = f"above {low:g}" if out == low else f"from {low:g}"
        what += f" {above} to {high:,}" if np.isfinite(high) else f" {above} on"
    return what


def _limits(metadata: tuple[Any, ...]) -> Iterator[tuple[float, float, float]]:
    """(least, most, the excluded end or NaN) of each range in an annotation."""
    for each in metadata:
        if isinstance(each, at.Interval):
            low = each.gt if each.ge is None else each.ge
            high = each.lt if each.le is None else each.le
            yield (
                -np.inf if low is None else float(low),  # type: ignore[arg-type]
                np.inf if high is None else float(high),  # type: ignore[arg-type]
                np.nan if each.gt is None else float(each.gt),  # type: ignore[arg-type]
            )
