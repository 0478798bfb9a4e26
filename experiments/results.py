"""A page of what finished runs claimed and measured: `python -m experiments results DIR ...` prints it as Markdown."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.experiment import find, question

HOLDS = {True: "yes", False: "**no**", None: "open"}


def page(directories: Sequence[Path]) -> str:
    """One section for each run directory: its question, the command that repeats it, its figure, and its claims.

    Figures are linked as NAME.png beside the page. Raises ValueError for a directory that holds no finished run.
    """
    head = "# Results\n\nEach section is what one run printed, claims that do not hold included."
    return "\n\n".join([head, *map(_section, directories)]) + "\n"


def _section(directory: Path) -> str:
    try:
        run = json.loads((directory / "run.json").read_text())
        claims = json.loads((directory / "claims.json").read_text())
    except FileNotFoundError as error:
        raise ValueError(
            f"{directory} holds no finished run ({error.filename} is missing): repeat its command"
        ) from None
    name, where = run["identity"]["experiment"], run["circumstances"]
    versions = where["versions"]
    rows = [("claim", "source", "expected", "measured", "holds"), ("---",) * 5]
    rows += [(c["text"], c["source"], c["expected"], c["measured"], HOLDS[c["holds"]]) for c in claims]
    return "\n\n".join(
        [
            f"## {name}\n\n{question(name)}",
            f"`{_command(name, run['identity']['arguments'])}` (commit {where['commit']}, {where['devices']}, JAX {versions['jax']})",
            f"![{name}]({name}.png)",
            "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows),
        ]
    )


def _command(name: str, arguments: dict[str, Any]) -> str:
    """The command that repeats a run: what differs from the defaults."""
    defaults = {p.name: p.default for p in inspect.signature(find(name).run).parameters.values()}
    flags = [f"--{key.replace('_', '-')} {value}" for key, value in arguments.items() if value != defaults.get(key)]
    return " ".join(["python -m experiments", name, *flags])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
