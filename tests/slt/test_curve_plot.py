"""What the figure of a curve shows: the data of its artists, and that nothing is drawn of what is not there."""

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from slt import plots

STEPS = np.array([0, 1, 10, 100, 1000])


def data(runs: int = 3) -> xr.Dataset:
    rng, dims = np.random.default_rng(0), ("seed", "step")
    value = rng.normal(5, 1, (runs, 5))
    fields = {"value": value, "stderr": 0.1 * np.ones_like(value), "loss_at_centre": rng.uniform(1, 2, (runs, 5))}
    return xr.Dataset({name: (dims, leaf) for name, leaf in fields.items()}, {"step": STEPS})


def test_runs_are_thin_their_median_is_thick_and_each_has_its_band():
    table = data()
    loss, llc = plots.curve(table.transpose()).axes
    for axes, name in ((loss, "loss_at_centre"), (llc, "value")):
        *thin, thick = axes.lines
        np.testing.assert_array_equal([line.get_ydata() for line in thin], table[name])
        np.testing.assert_array_equal(thick.get_ydata(), table[name].median("seed"))
        assert thick.get_linewidth() > 2 * thin[0].get_linewidth()
    assert len(llc.collections) == 3
    heights = llc.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx(float((table["value"] + table["stderr"])[0].max()))
    assert llc.get_xscale() == "symlog"


def test_one_run_is_one_line_and_checkpoints_with_a_finding_are_marked_with_their_kinds():
    one = data(1).isel(seed=0).assign(findings=("step", ["", "saturated", "", "", "saturated,not stationary"]))
    _, llc = plots.curve(one).axes
    assert len(llc.lines) == 1
    ring = llc.collections[-1].get_offsets()
    np.testing.assert_allclose(ring, np.stack([STEPS, one["value"]], axis=1)[[1, 4]])
    assert llc.get_legend().get_texts()[0].get_text() == "saturated: 2 of 5\nnot stationary: 1 of 5"
    assert plots.curve(data()).axes[1].get_legend() is None


def test_an_outlier_and_nan_leave_the_range_to_the_others():
    table = data()
    table["value"][1, 2], table["value"][2, 3] = 1e6, np.nan
    low, high = plots.curve(table).axes[1].get_ylim()
    assert 0 < low < 5 < high < 20


def test_phases_are_shaded_and_named_and_boundaries_are_phases():
    _, llc = plots.curve(data(), phases=[(0, 10, "early"), (10, 1000, "late")]).axes
    top = llc.figure.axes[0]
    assert [text.get_text() for text in top.texts] == ["early", "late"]
    assert len(llc.patches) == 1
    assert len(plots.curve(data().assign(boundary=("b", [10.0, 100.0]))).axes[1].patches) == 2


def test_axes_of_ones_own_are_drawn_on():
    figure = Figure()
    axes = figure.subplots()
    assert plots.curve(data(), axes) is axes
    assert len(axes.lines) == len(figure.axes[1].lines) == 4
    two = Figure().subplots(2)
    assert [len(each.lines) for each in plots.curve(data(), two)] == [4, 4]


def test_a_data_set_without_estimates_along_x_is_refused():
    with pytest.raises(ValueError, match=r"without \['stderr'\]: give the estimates of checkpoints along 'step'"):
        plots.curve(data().drop_vars("stderr"))
    with pytest.raises(ValueError, match="without epoch"):
        plots.curve(data(), x="epoch")
