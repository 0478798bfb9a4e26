"""Grids and the data sets over them: every point where its axes say, nothing renamed or dropped in silence."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import sweeps


def test_a_product_is_every_combination_with_the_first_axis_slowest():
    grid = sweeps.product(rate=[0.1, 0.2], seed=range(3))
    assert list(zip(grid["rate"], grid["seed"], strict=True)) == [(r, s) for r in (0.1, 0.2) for s in range(3)]


@pytest.mark.parametrize(
    ("axes", "say"),
    [
        (dict(rate=[0.1], seed=[]), "the axis 'seed' has no values: give it at least one"),
        (dict(a=range(10**5), b=range(10**5)), r"got a grid of 1e\+10 points"),
    ],
)
def test_axes_that_make_no_grid_are_refused(axes, say):
    with pytest.raises(ValueError, match=say):
        sweeps.product(**axes)


@pytest.mark.parametrize("sizes", [(4, 5), (0, 0)])
def test_a_grid_of_different_lengths_is_refused(sizes):
    grid = {"a": np.zeros(sizes[0]), "b": np.zeros(sizes[1])}
    with pytest.raises(ValueError, match=rf"leading axes of {re.escape(str(sorted(set(sizes))))}: all need the same"):
        sweeps.map(lambda at: at["a"], grid, name="f")


def test_values_that_a_device_would_change_are_refused():
    with pytest.raises(ValueError, match="got seed up to 4294967303: it is a int32 on a device"):
        sweeps.map(lambda at: at["seed"], sweeps.product(seed=[7, 7 + 2**32]), name="f")
    with pytest.raises(ValueError, match="a grid holds numbers; go over anything else by a Python loop"):
        sweeps.map(lambda at: at["word"], sweeps.product(word=["a", "b"]), name="f")


def test_a_product_labels_its_axes_and_any_other_grid_its_points():
    one = lambda at: {"sum": at["a"] + at["b"], "pair": {"both": jnp.stack([at["a"], at["b"]])}}
    grid = sweeps.product(a=[3.0, 1.0], b=[10.0, 20.0, 30.0])
    found = sweeps.map(one, grid, name="one", dims={"pair.both": ["which"]})
    assert found["sum"].dims == ("a", "b")
    assert found["sum"].sel(a=1.0, b=30.0) == 31
    assert found["pair.both"].dims == ("a", "b", "which")
    assert found["pair.both"].sel(a=3.0, b=20.0).values.tolist() == [3, 20]
    loose = sweeps.map(one, {"a": np.array([1.0, 1.0, 2.0]), "b": np.array([5.0, 6.0, 5.0])}, name="one")
    assert loose["sum"].dims == ("point",)
    assert loose["pair.both"].dims == ("point", "pair.both_0")
    assert loose.swap_dims(point="b").a.values.tolist() == [1, 1, 2]


def test_grids_of_keys_and_of_arrays_are_labelled_by_their_numbers():
    found = sweeps.map(
        lambda at: jax.random.uniform(at["key"]), {"key": jax.random.split(jax.random.key(0), 3)}, name="f"
    )
    assert found.result.dims == ("point",)
    assert len(np.unique(found.result)) == 3
    found = sweeps.map(lambda at: at["W"].sum() + at["seed"], {"W": np.ones((3, 2, 2)), "seed": np.arange(3)}, name="f")
    assert found.result.values.tolist() == [4, 5, 6]
    assert found.seed.values.tolist() == [0, 1, 2]


def test_keys_among_the_results_are_their_words():
    found = sweeps.map(lambda at: {"key": jax.random.key(at["seed"])}, sweeps.product(seed=range(3)), name="f")
    assert found.key.dims == ("seed", "key_0")


class Found(NamedTuple):
    step: jax.Array
    value: jax.Array


def runs(grid, times=(1, 4)):
    """State and outputs that say where they are: 100 a + 10 b + time."""
    place = lambda at, times: 100.0 * at["a"] + 10.0 * at["b"] + times
    f = lambda at, state, times: (state, Found(times, place(at, times)))
    return sweeps.scan(f, grid, lambda at: at["a"] * 1.0, times, name="runs")


def test_checkpoints_are_labelled_by_the_grid_and_the_step():
    found = runs(sweeps.product(a=[1, 2], b=[3, 4]))
    there = lambda at, checkpoint: {"value": checkpoint.value, "again": 100.0 * at["a"] + 10.0 * at["b"] + at["step"]}
    data = sweeps.map(there, found, name="there")
    assert data.value.dims == ("a", "b", "step")
    assert data.value.sel(a=2, b=3, step=4) == 234
    assert data.value.equals(data.again)
    assert found.dataset().value.equals(data.value)
    part = sweeps.map(there, found.at(points=slice(1, None), times=[1]), name="part")
    assert part.value.dims == ("point", "step")
    assert part.value.values.ravel().tolist() == [144, 234, 244]
    assert part.b.values.tolist() == [4, 3, 4]


def test_a_cross_is_every_point_with_every_checkpoint():
    loose = runs({"a": np.array([1, 1, 2]), "b": np.array([3, 4, 3])})
    f = lambda at, checkpoint: {"value": at["c"] * checkpoint.value}
    data = sweeps.map(f, sweeps.cross(sweeps.product(c=[1.0, 0.5]), loose), name="f")
    assert data.value.dims == ("c", "point", "step")
    assert data.value.sel(c=0.5, point=1, step=4) == 72
    assert data.a.values.tolist() == [1, 1, 2]
    assert data.b.values.tolist() == [3, 4, 3]
    with pytest.raises(ValueError, match="each name may occur once"):
        sweeps.cross(sweeps.product(a=[1]), runs(sweeps.product(a=[1], b=[1])))
    with pytest.raises(ValueError, match="more than one grid with checkpoints"):
        sweeps.cross(sweeps.Points({"u": np.ones(1)}, np.ones(1), {"u": np.ones(1)}), loose)


@pytest.mark.parametrize(
    "result",
    [
        lambda at: {"x": at["x"] + 1},
        lambda at: {"a.b": at["x"], "a": {"b": at["x"]}},
        lambda at: {"a/b": at["x"], "a.b": at["x"]},
    ],
)
def test_two_results_of_one_name_are_refused(result):
    with pytest.raises(ValueError, match=r"got the name .* twice"):
        sweeps.map(result, sweeps.product(x=[1, 2]), name="f")


def test_a_data_set_can_be_written_whatever_the_results_are_called(tmp_path):
    found = sweeps.map(lambda at: {"attention/W_Q": at["x"]}, sweeps.product(x=[1, 2]), name="f")
    found.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")


def test_dims_of_another_number_are_refused():
    with pytest.raises(ValueError, match=r"got dims \['i'\] for value, which has 2 axes at each point"):
        sweeps.map(
            lambda at: {"value": jnp.zeros((2, 2)) * at["x"]}, {"x": np.ones(2)}, name="f", dims={"value": ["i"]}
        )
