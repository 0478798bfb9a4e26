"""What a series of results is of: its program, its inputs, its schedule and how it was cut; and how two differ.

The program is the StableHLO of one block, without locations and with its constants: whatever the code closes over
(data, learning rates) is in it, and the number of devices is not.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SHORT = 16  # values of an axis that are kept, to say which of them differ
CONSTANT = re.compile(r"dense(_resource)?<[^>]*>")
MODULE = re.compile(r"^module @\S+")  # carries the name of the Python function


def describe(lowered: Any, *, inputs: Mapping[str, Any], layout: Mapping[str, Any]) -> dict[str, Any]:
    """The description of a series, as JSON. `lowered`: `jax.jit(f).lower(...)`; `inputs`: name -> pytree of arrays."""
    text = MODULE.sub("module", lowered.as_text(debug_info=False))
    return {
        "jax": jax.__version__,
        "platform": jax.default_backend(),
        "program": _sha(text.encode()),
        "structure": _sha(CONSTANT.sub("dense<>", text).encode()),
        "inputs": {name: _arrays(tree) for name, tree in inputs.items()},
        "layout": dict(layout),
    }


def digest(description: Any) -> str:
    """The fingerprint: the SHA-256 of a description."""
    return _sha(json.dumps(description, sort_keys=True).encode())


def differences(found: Any, wanted: Mapping[str, Any]) -> list[str]:
    """What differs between two descriptions, a phrase each: the inputs first, what follows from them not."""
    try:
        return _differences(found, wanted)
    except (AttributeError, KeyError, TypeError):
        return ["its description is damaged"]


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{key} is {found.get(key)} there and {wanted[key]} here"
        for key in ("jax", "platform")
        if found.get(key) != wanted[key]
    ]
    for name, arrays in wanted["inputs"].items():
        if changed := _changed(found["inputs"].get(name, {}), arrays, name):
            return lines + changed
    there, here = found.get("layout", {}), wanted["layout"]
    lines += [f"{key} is {there.get(key)} there and {here[key]} here" for key in here if there.get(key) != here[key]]
    if found.get("structure") != wanted["structure"]:
        lines.append("the code of the program has changed, or the shapes in it")
    elif found.get("program") != wanted["program"]:
        lines.append("a constant of the program has changed (a number in the code, or data that it closes over)")
    return lines or ["its description is damaged"]


def _changed(there: Mapping[str, Any], here: Mapping[str, Any], name: str) -> list[str]:
    """The leaves of one input that differ, a phrase each."""
    lines = []
    for leaf in sorted(there.keys() | here.keys()):
        one, other = there.get(leaf), here.get(leaf)
        if one != other:
            lines.append(f"{f'{name} {leaf}'.strip()} is {_shown(one, other)} there and {_shown(other, one)} here")
    return lines


def _shown(leaf: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str:
    """A leaf as it differs from the other: by its distinct values, or by type, shape and SHA-256."""
    if leaf is None:
        return "missing"
    if other is not None and "values" in leaf and leaf["type"] == other["type"]:
        return str(leaf["values"])
    return f"{leaf['type']}{leaf['shape']} ({leaf['sha'][:8]})"


def _arrays(tree: Any) -> dict[str, Any]:
    found = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.ascontiguousarray(leaf)
        sha = _sha(f"{array.dtype} {array.shape}".encode(), array)
        found[name] = {"sha": sha, "type": str(array.dtype), "shape": list(array.shape)}
        distinct = list(dict.fromkeys(array.tolist())) if array.ndim == 1 and array.size < 10**6 else []
        if 0 < len(distinct) <= SHORT:
            found[name]["values"] = distinct
    return found


def _sha(*parts: bytes | np.ndarray) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.view(np.uint8).data if isinstance(part, np.ndarray) and part.size else bytes(part))
    return digest.hexdigest()
