"""Figures of sweeps: what is drawn is what the data set holds, and the front door loads none of it."""

import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

import sweeps

SCALE, DENSITY, SEED = np.geomspace(0.01, 1, 5), np.linspace(0, 1, 4), np.arange(3)


@pytest.fixture
def data() -> xr.Dataset:
    value = np.log10(SCALE)[:, None, None] + DENSITY[None, :, None] + np.array([0.0, 1, 1e6])
    named = {"long_name": "learning coefficient", "units": "nats"}
    return xr.Dataset(
        {"value": (("scale", "density", "seed"), value, named)},
        {"scale": ("scale", SCALE, {"long_name": "initial scale"}), "density": DENSITY, "seed": SEED},
    )


@pytest.mark.parametrize(("x", "y"), [("scale", "density"), ("density", "scale")])
def test_a_phase_diagram_is_the_median_over_the_other_axes(data, x, y):
    axes, bar = sweeps.plots.phase_diagram(data, x=x, y=y, value="value").axes
    drawn = np.asarray(axes.collections[0].get_array())
    assert np.allclose(drawn, data["value"].isel(seed=1).transpose(y, x))
    scales = {"scale": "log", "density": "linear"}
    assert (axes.get_xscale(), axes.get_yscale()) == (scales[x], scales[y])
    labels = {"scale": "initial scale", "density": "density"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == (labels[x], labels[y])
    assert bar.get_ylabel() == "learning coefficient (nats)"


def test_every_value_lies_in_its_own_cell(data):
    axes = sweeps.plots.phase_diagram(data, x="scale", y="density", value="value").axes[0]
    corners = axes.collections[0].get_coordinates()
    edges = corners[0, :, 0], corners[:, 0, 1]
    for found, values in zip(edges, (SCALE, DENSITY), strict=True):
        assert len(found) == len(values) + 1
        assert np.all((found[:-1] < values) & (values < found[1:]))


def test_boundaries_are_a_contour_or_a_line_and_given_axes_are_drawn_into(data):
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert sweeps.plots.phase_diagram(data, x="scale", y="density", value="value", axes=left, boundary=0.5) is figure
    assert len(left.collections) == 2
    line = sweeps.plots.phase_diagram(data, x="scale", y="density", value="value", axes=right, boundary=lambda x: x / 2)
    assert line is figure
    x, y = right.lines[0].get_data()
    assert np.allclose(y, x / 2)


def test_an_axis_of_one_value_is_drawn(data):
    figure = sweeps.plots.phase_diagram(data.isel(scale=[2]), x="scale", y="density", value="value", boundary=0.0)
    assert figure.axes[0].collections[0].get_array().shape == (4, 1)


def test_an_axis_that_is_not_there_is_refused(data):
    with pytest.raises(ValueError, match="got 'step' for an axis: value has the axes scale, density, seed"):
        sweeps.plots.phase_diagram(data, x="scale", y="step", value="value")


def test_the_front_door_is_light():
    heavy = "{'xarray', 'matplotlib', 'rich', 'pandas', 'orbax', 'submitit', 'flax'}"
    code = f"import sys, sweeps; sys.exit(repr({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
