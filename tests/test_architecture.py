"""The shape of the code: imports point one way, and no function or file grows beyond what one reads at a sitting."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("toymodels", "slt", "experiments")
SOURCES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py"))


def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse((ROOT / path).read_text())))


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it; relative imports stay in its own."""
    plain = [alias.name for node in nodes(path) if isinstance(node, ast.Import) for alias in node.names]
    froms = [
        (path.parts[0] if node.level else str(node.module)) for node in nodes(path) if isinstance(node, ast.ImportFrom)
    ]
    return {name.split(".")[0] for name in plain + froms}


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function, its docstring included."""
    return (function.end_lineno or 0) - function.lineno + 1


def test_the_sources_and_their_imports_are_found():
    assert {path.parts[0] for path in SOURCES} == set(PACKAGES)
    assert {*PACKAGES, "jax"} <= set().union(*(imports(path) for path in SOURCES if path.parts[0] == "experiments"))


@pytest.mark.parametrize("package", ["toymodels", "slt"])
def test_imports_point_one_way(package):
    others = set(PACKAGES) - {package}
    wrong = {str(path): found for path in SOURCES if path.parts[0] == package and (found := imports(path) & others)}
    assert not wrong


def test_only_models_import_flax():
    users = {path.parts[:2] for path in SOURCES if "flax" in imports(path)}
    assert users == {("toymodels", "models")}


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=str)
def test_files_and_functions_are_short(path):
    functions = [node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    too_long = {f.name: size for f in functions if (size := length(f)) > 60}
    assert not too_long
    assert len((ROOT / path).read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=str)
def test_annotations_are_evaluated(path):
    """Run-time checks of shapes read them: `from __future__ import annotations` would make them strings."""
    assert not [node for node in nodes(path) if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
