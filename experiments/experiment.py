"""The experiments that there are, found by their files.

An experiment is a module with `run(*, ...) -> Dataset`, `plot(results) -> Figure`, `claims(results) -> list[Claim]`,
and perhaps PRESETS (name -> other defaults of run) and COST (what the default takes, for the list). The first line of
its docstring is its question. It is a file or folder beside this one, one in benchmarks/, or a file of the user's own.
"""

import ast
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).parent


def sources() -> dict[str, Path]:
    """The shipped experiments: name -> file."""
    found = {}
    for folder in (HERE, HERE / "benchmarks"):
        for path in sorted([*folder.glob("*.py"), *folder.glob("*/__init__.py")]):
            if "\ndef run(" in path.read_text(encoding="utf-8"):
                found[path.parent.name if path.stem == "__init__" else path.stem] = path
    return found


def source(name: str) -> Path:
    """The file of an experiment, by its name or as a path that ends in .py. Raises ValueError if there is none."""
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise ValueError(f"got {name}: there is no such file; write the path of an experiment of your own")
        return Path(name).resolve()
    shipped = sources()
    if name not in shipped:
        raise ValueError(f"got the experiment {name!r}: write one of {', '.join(shipped)}, or a path such as mine.py")
    return shipped[name]


def find(name: str) -> ModuleType:
    """The module of an experiment. Raises ValueError for one that there is not, or that lacks a part."""
    path = source(name)
    module = _own(path) if name.endswith(".py") else importlib.import_module(_dotted(path))
    missing = [part for part in ("run", "plot", "claims") if not callable(getattr(module, part, None))]
    if missing:
        raise ValueError(f"got {name} without {' and '.join(missing)}: write a function of that name in it")
    return module


def presets(module: ModuleType) -> dict[str, dict[str, Any]]:
    """Sets of defaults by name; "default" is always one."""
    return {"default": {}} | getattr(module, "PRESETS", {})


def question(name: str) -> str:
    """The first line of an experiment's docstring, read without importing what it needs."""
    return (ast.get_docstring(_parsed(name)) or "").partition("\n")[0]


def cost(name: str) -> str:
    """The string that an experiment assigns to COST; "" if it has none."""
    for node in _parsed(name).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COST":
            return str(ast.literal_eval(node.value))
    return ""


def _parsed(name: str) -> ast.Module:
    try:
        return ast.parse(source(name).read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ValueError(f"got {name}, line {error.lineno}, which is no Python ({error.msg}): write it anew") from None


def _dotted(path: Path) -> str:
    parts = path.relative_to(HERE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def _own(path: Path) -> ModuleType:
    """A file of the user's own as a module. It finds what lies beside it, as a script does."""
    name = f"own_{path.stem}"  # a file called numpy.py is not NumPy
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module
