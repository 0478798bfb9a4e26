"""Flags of the command line: how to run, which change no number, and the settings of an experiment, which do."""

import argparse
import dataclasses
import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, get_type_hints

from experiments.experiment import presets, question
from experiments.shared import ranges

LATENCY = 4e-6
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ValueErrors, like those of the settings."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; {self.usage} is what to write")


def how(name: str, argv: Sequence[str], *, plan: bool = False) -> tuple[argparse.Namespace, list[str]]:
    """How to run an experiment, and the flags that are left: its own."""
    parser = Parser(usage=f"toymodels {name} [--flags]", add_help=False, allow_abbrev=False)
    add = parser.add_argument_group("flags of every experiment, which change no number").add_argument
    add("--preset", default="default", help="smoke (seconds), default (minutes) or paper (the published size)")
    add("--out", type=Path, help="the run directory; by default one under checkpoints/ named by the settings")
    add("--fresh", action="store_true", help="put aside what is in the directory, and compute anew")
    add("--memory", type=_bytes, help="bound on what a device is given at a time, such as 500MB or 12GB")
    add("--all-claims", action="store_true", help="print all claims, not the headlines alone")
    add("--distributed", action="store_true", help="this is one of several processes (jax.distributed)")
    add("--coordinator", help="HOST:PORT of process 0, where the cluster is not detected")
    add("--processes", type=_count, help="number of processes, where it is not detected")
    add("--process", type=int, help="number of this process, from 0, where it is not detected")
    add("--slurm", help="submit as a SLURM job instead, with submitit's KEY=VALUE,...")
    if plan:
        add("--devices", type=_count, help="number of devices to plan for; as many as here by default")
        add("--tflops", type=_rate, help="peak of such a device, in TFLOP/s; as measured here by default")
        add(
            "--latency", type=_rate, default=LATENCY, help="seconds from one kernel's launch to the next, with --tflops"
        )
    if {"-h", "--help"} & set(argv):
        print(parser.format_help())
    return parser.parse_known_args(list(argv))


def settings(module: ModuleType, name: str, preset: str, argv: Sequence[str]) -> dict[str, Any]:
    """The arguments of `module.run`: its defaults, those of the preset, the flags. Raises ValueError out of range."""
    import tyro

    sets = presets(module)
    if preset not in sets:
        raise ValueError(f"got --preset {preset!r}: {name} has others, write one of {', '.join(sets)}")
    form = _form(module, name, sets[preset])
    parsed = tyro.cli(form, args=list(argv), prog=f"toymodels {name}", description=question(name))
    arguments = {field.name: getattr(parsed, field.name) for field in dataclasses.fields(form)}
    ranges.check(module.run, arguments)
    return arguments


def _form(module: ModuleType, name: str, preset: Mapping[str, Any]) -> type:
    """What the settings are parsed into: a field for each keyword of `run`."""
    hints, fields = get_type_hints(inspect.unwrap(module.run), include_extras=True), []
    for parameter in inspect.signature(module.run).parameters.values():
        default = preset.get(parameter.name, parameter.default)
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.name not in hints or default is parameter.empty:
            raise ValueError(
                f"got run({parameter}) in {name}: write keywords with a type and a default, run(*, n: int = 8)"
            )
        fields.append((parameter.name, hints[parameter.name], dataclasses.field(default=default)))
    if unknown := preset.keys() - hints.keys():
        raise ValueError(f"got the preset {dict(preset)} in {name}: write keywords of run, not {', '.join(unknown)}")
    form = dataclasses.make_dataclass("Settings", fields, kw_only=True)
    form.__doc__ = module.run.__doc__
    return form


def _positive(text: str, kind: Callable[[str], Any], wanted: str) -> Any:
    """A flag that is a positive number."""
    try:
        found = kind(text)
    except (ValueError, KeyError, OverflowError):
        found = 0
    if not 0 < found < math.inf:
        raise argparse.ArgumentTypeError(f"got {text!r}: write {wanted}")
    return found


def _size(text: str) -> int:
    """500MB -> 500000000."""
    number = text.upper().rstrip("KMGB")
    return int(float(number) * UNITS[text.upper()[len(number) :].strip()])


_bytes = functools.partial(_positive, kind=_size, wanted="a size such as 500MB or 12GB")
_count = functools.partial(_positive, kind=int, wanted="a whole number from 1 on")
_rate = functools.partial(_positive, kind=float, wanted="a positive number")
