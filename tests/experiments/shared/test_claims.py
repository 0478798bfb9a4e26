"""Claims are numbers with intervals; settings are refused by the ranges in their annotations."""

from typing import Annotated, Literal

import numpy as np
import pytest

import slt
from experiments.shared.claims import Claim, checked, mean, measured, median, share
from experiments.shared.ranges import Count, Positive, between
from experiments.shared.ranges import checked as within_ranges


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(0)
    made = [
        (median("-", values := rng.normal(size=40), "-"), mean("-", values, "-"), share("-", values > 0, "-"))
        for _ in range(60)
    ]
    for column, truth in zip(zip(*made, strict=True), (0.0, 0.0, 0.5), strict=True):
        assert 51 <= sum(claim.low <= truth <= claim.high for claim in column) < 60


def test_a_sign_holds_only_if_the_whole_interval_has_it():
    assert mean("-", [1.0, 1.1, 0.9], "-", sign=1).holds is True
    assert mean("-", [1.0, -1.1, 0.9], "-", sign=1).holds is False
    assert mean("-", [1.0], "-", sign=1).holds is None


def test_what_could_not_be_measured_is_said_in_words():
    assert measured(median("-", [], "-")) == "nothing to measure"
    assert measured(share("-", [True, False], "-")) == "50% [9, 91%] (n = 2)"
    assert measured(Claim("-", "-", "-", 1234.5, 1000.0, 2000.0, unit="steps")) == "1234 [1000, 2000] steps"


@pytest.mark.parametrize(
    "claims",
    [[Claim("x" * 81, "-", "-", 0.0)], [Claim("-", "-", "-", 0.0, headline=True)] * 7],
    ids=["text", "headlines"],
)
def test_a_claim_that_is_too_long_and_too_many_headlines_are_refused(claims):
    with pytest.raises(ValueError, match="write at most"):
        checked(claims)


@within_ranges
def run(
    *,
    seeds: Annotated[Count, "runs"] = 8,
    rate: Annotated[Positive, "rate"] = 0.1,
    widths: tuple[Annotated[int, between(2, 8)], ...] = (2, 3),
    kind: Literal["a", "b"] = "a",
    sampling: slt.Sampling = slt.Sampling(),
) -> int:
    return seeds


@pytest.mark.parametrize(
    ("wrong", "say"),
    [
        (dict(seeds=0), "--seeds"),
        (dict(seeds=2.0), "--seeds"),
        (dict(seeds=True), "--seeds"),
        (dict(rate=0.0), "--rate"),
        (dict(rate=float("nan")), "--rate"),
        (dict(widths=(2, 9)), "--widths"),
        (dict(kind="c"), "--kind"),
        (dict(sampling=slt.Sampling(chains=0)), "chains"),
    ],
)
def test_every_setting_has_its_range(wrong, say):
    with pytest.raises(ValueError, match=say):
        run(**wrong)
    assert run(seeds=3, rate=1, widths=(8,)) == 3
