"""The shape of the code: imports point one way, and no function or file grows beyond what one reads at a sitting."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.experiment import sources

ROOT = Path(__file__).parent.parent
LEAVES = ("toymodels", "slt", "sweeps")


def python(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path.relative_to(ROOT) for path in found]


SOURCES, REST = python(*LEAVES, "experiments"), python("tests", "examples")
EACH = pytest.mark.parametrize("path", SOURCES + REST, ids=str)


def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse((ROOT / path).read_text())))


def dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """What a file imports anywhere in it, as dotted names; `from a import b` is a.b, be it a module or not."""
    found = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def packages(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def test_the_sources_and_their_imports_are_found():
    assert {path.parts[0] for path in SOURCES} == {*LEAVES, "experiments"}
    assert {*LEAVES, "jax"} <= set().union(*(packages(path) for path in SOURCES if path.parts[0] == "experiments"))


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_imports_no_other(leaf):
    others = {*LEAVES, "experiments"} - {leaf}
    wrong = {str(path): found for path in SOURCES if path.parts[0] == leaf and (found := packages(path) & others)}
    assert not wrong


def test_no_import_runs_in_a_circle():
    """Neither at the top of a module nor inside a function."""
    modules, graph = {dotted(path) for path in SOURCES}, {}
    for path in SOURCES:
        found = {name if name in modules else name.rpartition(".")[0] for name in imports(path)}
        graph[dotted(path)] = found & modules - {dotted(path)}
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the modules


def test_only_models_import_flax():
    assert {path.parts[:2] for path in SOURCES if "flax" in packages(path)} == {("toymodels", "models")}


def test_no_module_is_named_like_a_function_in_it():
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    for path in SOURCES:
        names = {node.name for node in ast.parse((ROOT / path).read_text()).body if isinstance(node, kinds)}
        assert dotted(path).rpartition(".")[2] not in names, path


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_front_door_is_light(leaf):
    heavy = {"tyro", "matplotlib", "xarray", "pandas", "sklearn"}
    code = f"import sys, {leaf}; print(*{heavy} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.split() == []


@EACH
def test_files_and_functions_are_short(path):
    functions = [node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not {node.name for node in functions if (node.end_lineno or 0) - node.lineno >= 60}
    assert len((ROOT / path).read_text().splitlines()) <= 400


def test_lines_are_short():
    wrong = []
    for path in SOURCES + REST:
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
            wrong += [f"{path}:{number}"] if len(line) > 120 or "fmt: " + "skip" in line else []
    assert not wrong


@EACH
def test_annotations_are_evaluated(path):
    """Run-time checks of shapes read them: `from __future__ import annotations` would make them strings."""
    assert not [name for name in imports(path) if name.startswith("__future__")]


@pytest.mark.parametrize(("name", "path"), sources().items())
def test_a_laboratory_is_short(name, path):
    files = [path] if path.stem != "__init__" else list(path.parent.rglob("*.py"))
    if "benchmarks" not in path.parts:
        assert sum(len(file.read_text().splitlines()) for file in files) <= 550
