"""How the `grid` experiment counts: which cells are off, near, doubted, on made-up results."""

import numpy as np
import xarray as xr

from experiments.grid.report import cells, share, silent

AXES = ("model", "step_size", "nbeta", "gamma")
NAN = np.nan
EXACT = 2.0  # with four parameters, so that lambda is at most 2
VALUE = [2.05, 2.3, 2.5, 3.0, 3.0, NAN, 1.5, -1.0]
STDERR = [0.01, 0.06, 0.04, 0.10, 0.10, NAN, 0.01, 0.01]
FINDINGS = ["", "", "", "", "saturated", "diverged", "", "negative"]
DRIFT = [0.05, 0.05, 0.2, 0.05, 0.05, NAN, -0.2, 0.0]
OFF = [False, False, True, True, True, True, True, True]  # by more than .4 and two standard errors
NEAR = [True, False, False, False, False, False, False, False]


def results(exact=EXACT):
    """One model and n*beta, eight step sizes."""
    column = lambda values: (AXES, np.array(values).reshape(1, 8, 1, 1))
    known = (("model", "nbeta", "gamma"), np.full((1, 1, 1), exact))
    return xr.Dataset(
        {
            "value": column(VALUE),
            "stderr": column(STDERR),
            "findings": column(FINDINGS),
            "drift": column(DRIFT),
            "exact": known,
            "exact_stderr": (known[0], np.zeros((1, 1, 1))),
            "parameters": (("model",), [4]),
        }
    )


def test_a_cell_is_off_beyond_its_error_and_near_within_five_percent():
    c = cells(results())
    np.testing.assert_array_equal(c.off, OFF)
    np.testing.assert_array_equal(c.near, NEAR)


def test_it_is_doubted_by_the_verdict_by_the_bound_and_by_its_trace():
    c = cells(results())
    np.testing.assert_array_equal(c.flagged, [f != "" for f in FINDINGS])
    np.testing.assert_array_equal(c.bounded, [True, True, True, True, True, True, False, True])
    np.testing.assert_array_equal(c.suspicious, [False, False, True, False, False, True, True, True])


def test_the_silent_errors_are_those_that_are_off_and_not_flagged():
    one = results().isel(model=0, nbeta=0)
    np.testing.assert_array_equal(silent(one).ravel(), [False, False, True, True, False, False, True, False])


def test_a_cell_whose_truth_is_not_known_is_counted_nowhere():
    assert cells(results(exact=NAN)).off.size == 0


def test_a_share_says_of_how_many():
    c = cells(results())
    assert share(c.flagged, c.off) == "50% of 6"
    assert share(c.flagged, np.zeros(8, bool)) == "none"
