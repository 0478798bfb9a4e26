"""`import slt` is light, and every name that it promises is there."""

import subprocess
import sys

import pytest

import slt

HEAVY = {"tyro", "matplotlib", "xarray", "pandas", "sklearn"}


def test_importing_it_loads_nothing_heavy():
    code = f"import sys, slt.plots, toymodels; slt.sgld(1e-3); print(sorted({HEAVY} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.parametrize("name", slt._MODULE_OF)
def test_every_name_is_there(name):
    assert getattr(slt, name) is not None
