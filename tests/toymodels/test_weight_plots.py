"""What figures of weights and patterns show: the data of their artists."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from toymodels import plots
from toymodels.tasks.superposition import polygon


def test_live_columns_are_arrows_in_their_polygon_with_their_names():
    W = np.asarray(polygon(5, 6)[0])
    axes = plots.columns(W, names=list("abcdef"))
    arrows = [text for text in axes.texts if text.get_text() == ""]
    np.testing.assert_allclose([arrow.xy for arrow in arrows], W.T[:5])
    np.testing.assert_allclose(axes.collections[0].get_offsets(), W.T[5:])  # the dead one is a point
    corners = axes.patches[0].get_xy()[:-1]
    assert {tuple(corner) for corner in np.round(corners, 5)} == {tuple(w) for w in np.round(W.T[:5].astype(float), 5)}
    named = [text.get_text() for text in axes.texts if text.get_text()]
    assert named == list("abcde")


def test_two_columns_on_a_line_have_no_polygon():
    axes = Figure().subplots()
    assert plots.columns(np.array([[1.0, -1.0], [0.0, 0.0]]), axes) is axes
    assert len(axes.patches) == 0


@pytest.mark.parametrize("heads", [1, 3])
def test_heads_are_images_side_by_side_on_one_scale(heads):
    pattern = np.random.default_rng(0).dirichlet(np.ones(4), (heads, 4))
    drawn = plots.attention(pattern, tokens=list("abcd"))
    places = (drawn if heads > 1 else drawn.figure).axes[:heads]
    for place, head in zip(places, pattern, strict=True):
        np.testing.assert_array_equal(place.images[0].get_array(), head)
        assert place.images[0].get_clim() == (0, 1)
    assert [label.get_text() for label in places[0].get_xticklabels()] == list("abcd")


def test_shapes_that_cannot_be_drawn_are_refused():
    with pytest.raises(ValueError, match=r"shape \(3, 5\): write \(2, features\)"):
        plots.columns(np.ones((3, 5)))
    with pytest.raises(ValueError, match=r"write \(t, t\) for one head"):
        plots.attention(np.ones((4, 5)))
    with pytest.raises(ValueError, match="got 2 names for 5 columns"):
        plots.columns(np.ones((2, 5)), names=["a", "b"])
    with pytest.raises(ValueError, match="got 1 tokens for 4 positions"):
        plots.attention(np.ones((4, 4)), tokens=["a"])
