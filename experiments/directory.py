"""What a run leaves in its directory beside its series: run.json, results.nc, claims.json and the figure."""

import io
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from experiments.shared.claims import Claim
from sweeps.store import write_atomically

PACKAGES = ("jax", "jaxlib", "flax", "optax", "blackjax", "numpy")
NUMBER = float | int | None
CLAIM = dict(text=str, source=str, expected=str, value=NUMBER, low=NUMBER, high=NUMBER, count=int | None, unit=str)
CLAIM |= dict(holds=bool | None, headline=bool)
RUN = dict(experiment=str, file=str | None, command=str, arguments=dict, versions=dict, commit=str, devices=str)
AGAIN = "remove it and repeat the command of its run (results are kept)"


@contextmanager
def begun(directory: Path, description: dict[str, Any]) -> Iterator[None]:
    """Say in run.json what is run inside the block. A run that is refused before it kept anything leaves none.

    Raises ValueError if another experiment is in the directory; whether its settings differ is for `sweeps` to say.
    """
    path = directory / "run.json"
    if path.exists():
        there = read_description(directory)["experiment"]
        if there != description["experiment"]:
            raise ValueError(f"{directory} holds a run of {there}: write another directory, --out DIR")
    elif jax.process_index() == 0:
        _describe(path, description)
    try:
        yield
    except ValueError:
        if jax.process_index() == 0 and {entry.name for entry in os.scandir(directory)} <= {"run.json", ".lock"}:
            path.unlink(missing_ok=True)
        raise


def read_description(directory: Path) -> dict[str, Any]:
    """run.json. Raises ValueError if it is damaged, FileNotFoundError if it is not there."""
    path = directory / "run.json"
    found = _json(path)
    if not _has(found, RUN):
        raise ValueError(f"{path} does not say what was run: {AGAIN}")
    return found


def circumstances() -> dict[str, Any]:
    """Versions, commit and devices: what a run's numbers may depend on besides its arguments."""
    return {
        "versions": {name: metadata.version(name) for name in PACKAGES} | {"python": sys.version.split()[0]},
        "commit": _commit(),
        "devices": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
    }


def write(directory: Path, description: dict[str, Any], results: Any, claims: list[Claim], figure: Any) -> None:
    """Write run.json, results.nc, claims.json and the figure, each whole or not at all."""
    import matplotlib

    from experiments.shared.plots import SAVED

    _describe(directory / "run.json", description)
    write_atomically(directory / "results.nc", bytes(results.to_netcdf(engine="h5netcdf")))
    write_atomically(directory / "claims.json", as_json(claims))
    for kind in ("png", "svg"):
        picture = io.BytesIO()
        with matplotlib.rc_context(SAVED):
            figure.savefig(picture, format=kind, metadata={"Date": None} if kind == "svg" else None)
        write_atomically(directory / f"figure.{kind}", picture.getvalue())


def as_json(claims: list[Claim]) -> str:
    """The claims as they are written; what is no finite number is null."""
    return json.dumps([_plain(claim) for claim in claims], indent=2, allow_nan=False) + "\n"


def read_claims(directory: Path) -> list[Claim]:
    """claims.json. Raises ValueError if it is damaged, FileNotFoundError if it is not there."""
    path = directory / "claims.json"
    found = _json(path)
    if not isinstance(found, list) or not all(_has(each, CLAIM) for each in found):
        raise ValueError(f"{path} holds no claims: {AGAIN}")
    numbers = [{name: math.nan for name in ("value", "low", "high") if each[name] is None} for each in found]
    return [Claim(**each | missing) for each, missing in zip(found, numbers, strict=True)]


def read_results(directory: Path) -> Any:
    """results.nc as an xarray.Dataset in memory. Raises ValueError if it is damaged or reads from other files."""
    import h5py
    import xarray as xr

    path = directory / "results.nc"
    try:
        with h5py.File(path) as file:
            size = _alone(file)
        if size > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
            raise ValueError(f"it would take {size / 1e9:.3g} GB of memory")
        with xr.open_dataset(path, engine="h5netcdf") as found:
            return found.load()
    except FileNotFoundError:
        raise
    except Exception as error:  # HDF5 has no error of its own for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} cannot be read ({reason}): {AGAIN}") from None


def _alone(group: Any) -> int:
    """The bytes of all arrays below. Raises ValueError if some lie in other files."""
    import h5py

    total = 0
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise ValueError(f"its {name} is a link to another file")
        if isinstance(group.get(name, getlink=True), h5py.SoftLink):
            continue  # what it names is visited under its own name
        member = group[name]
        if isinstance(member, h5py.Group):
            total += _alone(member)
        elif isinstance(member, h5py.Dataset):
            if member.external or member.is_virtual:
                raise ValueError(f"its {name} lies in another file")
            total += member.nbytes
    return total


def _describe(path: Path, description: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(_plain(description), indent=2) + "\n")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON ({error}): {AGAIN}") from None


def _has(found: Any, fields: dict[str, Any]) -> bool:
    """Whether a JSON object has these fields and no others, of these types."""
    same = isinstance(found, dict) and found.keys() == fields.keys()
    return same and all(isinstance(found[name], kind) for name, kind in fields.items())


def _plain(value: Any) -> Any:
    """As JSON has it: a NamedTuple is an object, an array a list, and what is no finite number null."""
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int | None) else str(value)


def _commit() -> str:
    """The commit of the repository that this file is tracked in; what merely surrounds it does not count."""
    here, git = Path(__file__), shutil.which("git")
    ask = lambda *words: subprocess.run([str(git), "-C", str(here.parent), *words], capture_output=True, text=True)
    if git is None or ask("ls-files", "--error-unmatch", here.name).returncode:
        return "unknown"
    return ask("describe", "--always", "--dirty").stdout.strip() or "unknown"
