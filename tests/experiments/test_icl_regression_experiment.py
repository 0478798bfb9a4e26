"""The claims of `icl_regression` on made-up runs: a curve that is the loss in disguise, and one with a stage of its own."""

import numpy as np
import pytest
import xarray as xr

from experiments.icl_regression import report
from experiments.icl_regression.stages import _jumps, edges, readings

STEPS = np.array([0, *np.round(np.geomspace(30, 3000, 19)).astype(int)])
RUNS, K, CHANCE, RIDGE = 3, 8, 2.125, 0.69
LR1, LR2 = (5, 6, 7), (12, 13, 13)  # checkpoints at which the stages end


def losses():
    """From 3 to the zero predictor, which is kept for a checkpoint or so, and on to ridge."""
    time = np.arange(len(STEPS))
    return np.array([
        np.interp(time, [0, a, b, len(STEPS) - 1], [3.0, CHANCE, RIDGE + 0.08, RIDGE + 0.02]) for a, b in zip(LR1, LR2, strict=True)
    ])  # fmt: skip


def made_up():
    """Results whose loose curve is 141 - 60 L, and whose localised ones have a level before, in and after LR2."""
    loss, rng = losses(), np.random.default_rng(0)
    time = np.arange(len(STEPS))[None]
    size = 0.01 + 0.1 * np.abs(time - np.array(LR1)[:, None])
    localised = np.where(time < np.array(LR1)[:, None], -80.0, np.where(time < np.array(LR2)[:, None], 5.0, 60.0))
    value = np.stack([60 * (2.35 - loss), localised, localised]) + 0.2 * rng.normal(size=(3, *loss.shape))
    spread = lambda values: np.broadcast_to(values[None, :, :, None, None], (2, *loss.shape, 2, K))
    measured = {"mse": loss, "size": size, "to_ridge": 0.0 * loss + 0.1, "to_dmmse": 0.0 * loss + 0.5, "ridge": RIDGE + 0 * loss, "dmmse": RIDGE + 0 * loss, "zero": CHANCE + 0 * loss}  # fmt: skip
    variables = {name: (("prior", "run", "time", "on", "position"), spread(v)) for name, v in measured.items()}
    dims = ("setting", "run", "time")
    variables |= {"value": (dims, value), "stderr": (dims, np.full(value.shape, 0.2)), "loss": (dims[1:], loss)}
    variables |= {"loss_at_centre": (dims, np.broadcast_to(loss[None], value.shape)), "saturation": (dims, 0.5 + 0 * value)}  # fmt: skip
    variables |= {"findings": (dims, np.where(value < -0.4, "negative", "").astype(str))}
    variables |= {"nbeta": ("setting", [60.0, 1000.0, 300.0]), "gamma": ("setting", [6.0, 1000.0, 1000.0])}
    coordinates = {"setting": list(report.SETTINGS), "prior": ["fresh", "few"], "on": ["fresh", "few"], "step": ("time", STEPS)}  # fmt: skip
    about = dict(chance=CHANCE, steps=3000, dimensions=2, examples=K, pool=4, samples=2048, parameters=1)
    results = xr.Dataset(variables, coordinates, about)
    few = results.to_dmmse.values.copy()
    few[1] = 0.05  # trained on few: near to their Bayes predictor
    results["to_dmmse"] = results.to_dmmse.dims, few
    return results.merge(readings(results, restarts=0))


@pytest.fixture(scope="module")
def right():
    return made_up()


def verdicts(results):
    return {claim.text: claim.holds for claim in report.claims(results)}


def found(results, start):
    matching = [holds for text, holds in verdicts(results).items() if text.startswith(start)]
    assert len(matching) == 1, start
    return matching[0]


def test_the_stages_are_where_the_model_shows_them(right):
    at = edges(right)
    assert at[:, 0].tolist() == list(LR1)
    assert at[:, 1].tolist() == list(LR2)


def test_what_is_learned_and_what_survives(right):
    failed = [text for text, holds in verdicts(right).items() if holds is False]
    assert all("is the loss's" in text and "localised" in text for text in failed)  # theirs is the end of LR1
    assert len(failed) == 2
    assert found(right, "LR2: change of lambda-hat, localised at nbeta 1000") is True
    change = report.change(right, "localised", 1)
    np.testing.assert_allclose(change, 55, atol=1)


def test_the_largest_change_is_found_within_its_interval(right):
    for name in ("localised", "second"):
        at, low, high = report.largest(right, name).T
        np.testing.assert_array_equal(at, STEPS[list(LR1)])  # from -80 to 5 is more than from 5 to 60
        assert (low <= at).all()
        assert (at <= high).all()


def test_a_localised_curve_that_falls_with_lr2_does_not_survive(right):
    time = np.arange(len(STEPS))[None]
    falling = np.where(time < np.array(LR2)[:, None], 60.0, 5.0) + 0.2 * np.random.default_rng(1).normal(
        size=(RUNS, 20)
    )
    wrong = right.copy(deep=True)
    wrong.value.loc[{"setting": "localised"}] = falling
    for run in range(RUNS):
        wrong.change.loc[{"reading": "localised", "run": run}] = _jumps(falling[run], np.full(20, 0.2), STEPS)
    assert found(wrong, "LR2: change of lambda-hat, localised at nbeta 1000") is False
    assert found(wrong, "LR2: change of lambda-hat, loose") is True
    assert found(wrong, "the largest change of lambda-hat, localised at nbeta 1000, is the loss's") is False


def test_a_loose_curve_that_is_not_the_loss_is_seen(right):
    wrong = right.copy(deep=True)
    wrong.value.loc[{"setting": "loose"}] = right.value.sel(setting="localised").values
    assert found(wrong, "loose: lambda-hat is affine in the loss") is False


def test_a_model_that_never_learns_is_seen(right):
    wrong = right.copy(deep=True)
    wrong["mse"] = np.maximum(right.mse, 0.9 * CHANCE)
    assert found(wrong, "LR2: at the end") is False
    swapped = right.copy(deep=True)
    swapped["to_ridge"], swapped["to_dmmse"] = right.to_dmmse, right.to_ridge
    assert found(swapped, "trained on fresh tasks: nearer to ridge") is False
    assert found(swapped, "trained on 4 tasks: nearer to dmmse") is False


def test_the_published_stages_are_claimed_of_the_published_length_alone(right):
    assert not report._published(right)
    steps = np.unique(np.round(np.append(0, np.geomspace(100, 500_000, 100)))).astype(int)
    time, runs = len(steps), 2
    llc = np.interp(steps, [0, 1000, 40_000, 126_000, 320_000, 500_000], [-0.7, 15, 166, 152, 118, 121])
    loss = np.interp(steps, [0, 1000, 40_000, 126_000, 320_000, 500_000], [4.37, 4.17, 1.9, 1.84, 1.795, 1.765])
    paper = xr.Dataset(
        {"value": (("setting", "run", "time"), np.broadcast_to(llc, (1, runs, time))), "loss": (("run", "time"), np.broadcast_to(loss, (runs, time))), "nbeta": ("setting", [66.7])},
        {"setting": ["loose"], "step": ("time", steps)}, dict(steps=500_000, dimensions=4, examples=K),
    )  # fmt: skip
    stages = report._published(paper)
    assert len(stages) == 10
    assert all(claim.holds for claim in stages)
    flat = paper.assign(value=0 * paper.value)
    assert sum(claim.holds is False for claim in report._published(flat)) >= 4


def test_intervals_over_runs_are_students():
    values = np.array([1.0, 2.0, 4.0])
    mean, low, high = report.interval(values)
    half = 4.302653 * values.std(ddof=1) / np.sqrt(3)
    assert (mean, low, high) == pytest.approx((7 / 3, 7 / 3 - half, 7 / 3 + half))
    assert np.isnan(report.interval(values[:1])[1])
