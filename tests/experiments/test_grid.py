"""How the `grid` experiment counts: which cells are off, near, doubted, on made-up results; and its exact values."""

import jax
import numpy as np
import pytest
import xarray as xr
from jax.flatten_util import ravel_pytree

import slt
from experiments.grid.cases import CASES
from experiments.grid.report import cells, plateaus, silent

AXES = ("model", "step_size", "nbeta", "gamma")
NAN = np.nan
EXACT = 2.0
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
    variables = {"value": VALUE, "stderr": STDERR, "findings": FINDINGS, "drift": DRIFT}
    made = xr.Dataset({name: column(values) for name, values in variables.items()})
    return made.assign(exact=known, exact_stderr=(known[0], np.zeros((1, 1, 1))))


def test_a_cell_is_off_beyond_its_error_and_near_within_five_percent():
    c = cells(results())
    np.testing.assert_array_equal(c.off, OFF)
    np.testing.assert_array_equal(c.near, NEAR)


def test_it_is_doubted_by_the_verdict_and_by_its_trace():
    c = cells(results())
    np.testing.assert_array_equal(c.flagged, [f != "" for f in FINDINGS])
    np.testing.assert_array_equal(c.suspicious, [False, False, True, False, False, True, True, True])


def test_the_silent_errors_are_those_that_are_off_and_not_flagged():
    one = results().isel(model=0, nbeta=0)
    np.testing.assert_array_equal(silent(one).values.ravel(), [False, False, True, True, False, False, True, False])


def test_a_cell_whose_truth_is_not_known_is_counted_nowhere():
    assert cells(results(exact=NAN)).off.size == 0


@pytest.mark.parametrize(("level", "holds"), [([5.0, 4.2, NAN], True), ([5.0, 3.0, NAN], False), ([NAN] * 3, None)])
def test_the_plateau_that_counts_is_the_one_at_the_largest_temperature_that_has_one(level, holds):
    along = {name: (("model", "nbeta"), [level]) for name in ("plateau", "plateau_low", "plateau_high")}
    gaussian = (("model", "nbeta", "gamma"), np.ones((1, 3, 2)))
    made = xr.Dataset(
        along | {"gaussian": gaussian, "truth": ("model", [5.0])}, {"model": ["one"], "gamma": [0.0, 1.0]}
    )
    assert plateaus(made)[0].holds is holds


@pytest.mark.parametrize("name", ["monomial", "deep linear"])
def test_the_models_are_at_a_minimum_with_the_curvature_that_is_stated(name):
    case = CASES[name]()
    loss = jax.jit(lambda params: slt.mean_loss(case.loss, params, case.data))
    gradient = ravel_pytree(jax.grad(loss)(case.params))[0]
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    h = np.linalg.eigvalsh(np.asarray(slt.hessian(case.loss, case.params, case.data), float))
    np.testing.assert_allclose(h[-1], case.curvature, rtol=1e-4, atol=1e-6)
