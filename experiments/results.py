"""What finished runs claimed and measured: lines for the terminal, and a page of several runs as Markdown."""

import html
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

import sweeps
from experiments import directory as kept
from experiments import flags
from experiments.experiment import find, question
from experiments.shared.claims import Claim, checked, measured, verdict


def lines(claims: Sequence[Claim], *, all_of_them: bool, width: int | None) -> list[str]:
    """The claims as text, two lines each or, in a terminal, as many as fit its width; the headlines unless all."""
    shown = [claim for claim in claims if claim.headline or all_of_them] or list(claims)
    told = ["holds  what was claimed, and what was measured"]
    for claim in shown:
        told += _filled(f"{verdict(claim):<7}{claim.text} ({claim.source})", width)
        told += _filled(f"{'':7}expected {claim.expected}, measured {measured(claim)}", width)
    if len(shown) < len(claims):
        told.append(f"{'':7}--all-claims prints the other {len(claims) - len(shown)} as well")
    return told


def page(directories: Sequence[Path], *, anyway: bool) -> str:
    """A section for each run; figures are linked as NAME.png beside the page.

    Raises ValueError for a directory without a finished run and, unless `anyway`, for runs that the code on disk would
    not make.
    """
    others = {directory: _difference(directory) for directory in directories}
    told = [f"{directory}: {difference}" for directory, difference in others.items() if difference]
    if told and not anyway:
        raise ValueError("\n".join([*told, "repeat the commands of these runs, or write --anyway"]))
    head = "# Results\n\nEach section is what one run found: its headlines, and folded all of its claims."
    return "\n\n".join([head, *(_section(directory, others[directory]) for directory in directories)]) + "\n"


def _difference(directory: Path) -> str:
    """What the code on disk would make otherwise than the run in the directory; "" if nothing. Computes no sweep."""
    try:
        claims, results, run = (
            kept.read_claims(directory),
            kept.read_results(directory),
            kept.read_description(directory),
        )
    except FileNotFoundError as error:
        raise ValueError(
            f"{directory} holds no finished run, {error.filename} is missing: repeat its command"
        ) from None
    try:
        _, name, *argv = shlex.split(run["command"])
        name = run["file"] or name
        if Path(name).resolve().is_relative_to(directory.resolve()):
            raise ValueError(f"{name} lies in the run directory, and is not run")  # what came with a run is not trusted
        how, argv = flags.how(name, argv)
        module = find(name)
        with sweeps.run(directory, readonly=True):
            again = module.run(**flags.settings(module, name, how.preset, argv))
        xr.testing.assert_allclose(again, results)
        return (
            ""
            if kept.as_json(checked(module.claims(again))) == kept.as_json(claims)
            else "its claims are of other code"
        )
    except AssertionError:
        return "results.nc is of other code"
    except (ValueError, sweeps.DamagedCheckpoint) as error:
        return str(error)
    except Exception as error:  # whatever edited code may raise
        return f"the code on disk fails with {type(error).__name__}: {error}"
    except SystemExit:  # of a parser that does not know a flag
        return f"{run['experiment']} has other flags now than in {run['command']}"


def _section(directory: Path, difference: str) -> str:
    run, claims = kept.read_description(directory), kept.read_claims(directory)
    name = run["experiment"]
    headlines = [claim for claim in claims if claim.headline] or claims
    made = (
        f"**Made by other code than is here:** {_cell(difference)}."
        if difference
        else "The code here still makes this."
    )
    return "\n\n".join(
        [
            f"## {name}\n\n{question(run['file'] or name)}",
            _table(headlines),
            f"![{name}]({Path(name).stem}.png)",
            f"`{run['command']}` (commit {run['commit']}, {run['devices']}, JAX {run['versions']['jax']}). {made}",
            f"<details><summary>all {len(claims)} claims</summary>\n\n{_table(claims, 'source')}\n\n</details>",
        ]
    )


def _table(claims: Sequence[Claim], *more: str) -> str:
    rows = [("claim", "expected", "measured", "holds", *more), ("---",) * (4 + len(more))]
    for claim in claims:
        rest = [getattr(claim, name) for name in more]
        rows.append((claim.text, claim.expected, measured(claim), verdict(claim), *rest))
    return "\n".join("| " + " | ".join(map(_cell, row)) + " |" for row in rows)


def _cell(text: str) -> str:
    return html.escape(text, quote=False).replace("|", "\\|").replace("\n", " ")


def _filled(text: str, width: int | None) -> list[str]:
    return [text] if width is None else textwrap.wrap(text, max(width, 40), subsequent_indent=" " * 7)
