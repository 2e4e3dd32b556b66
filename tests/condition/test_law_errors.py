"""Where the error of a law's exponent comes from, and what becomes of it in a verdict."""

import math

import numpy as np
import pytest

from l2m_eval.condition.law import ScalingLaw
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.power_law import PowerLaw

REPLICATES = np.stack([np.full(5, 2.0), [0.5, 0.6, 0.7, 0.8, 0.9]], axis=1)


def law(**known):
    return ScalingLaw(2.0, 0.7, "a test", **known)


def test_an_interval_alone_gives_the_error_of_a_normal_distribution():
    """95 % of one lie within 1.96 errors on either side."""
    assert law(exponent_interval=(0.5, 0.9)).exponent_error == pytest.approx(0.2 / 1.959964, rel=1e-6)
    # The error is that of the width, wherever the exponent lies in it.
    assert law(exponent_interval=(0.7, 1.1)).exponent_error == pytest.approx(0.2 / 1.959964, rel=1e-6)


def test_resamples_give_their_standard_deviation_and_come_before_the_interval():
    spread = math.sqrt(0.1 / 4)  # squares of 0.2, 0.1, 0, 0.1, 0.2 over n - 1
    assert law(replicates=REPLICATES).exponent_error == pytest.approx(spread)
    assert law(replicates=REPLICATES, exponent_interval=(0.0, 1.0)).exponent_error == pytest.approx(spread)


def test_resamples_without_a_fit_count_neither_way():
    with_gaps = np.concatenate([REPLICATES, [[math.nan, math.nan], [2.0, math.nan]]])
    assert law(replicates=with_gaps).exponent_error == law(replicates=REPLICATES).exponent_error


def test_one_resample_tells_no_error_and_two_do():
    assert math.isnan(law(replicates=REPLICATES[:1]).exponent_error)
    assert law(replicates=REPLICATES[:2]).exponent_error == pytest.approx(0.1 / math.sqrt(2))


def test_an_error_that_is_given_comes_first_and_an_exact_law_has_none():
    assert law(replicates=REPLICATES, error=0.03).exponent_error == 0.03
    assert law().exponent_error == 0
    assert law().bounds == (0.7, 0.7)


def test_a_law_of_many_documents_leaves_a_fortieth_of_its_resamples_on_either_side():
    """Where no number of documents is known, none widens the interval; twenty documents do."""
    evenly = np.stack([np.full(20_001, 2.0), np.linspace(0, 1, 20_001)], axis=1)
    # Two resamples, 5e-5 apart, for a quantile between two of them.
    assert law(replicates=evenly).bounds == pytest.approx((0.025, 0.975), abs=1e-4)
    low, high = law(replicates=evenly, clusters=20).bounds
    assert low < 0.0175  # the tail of a normal distribution beyond Student's 2.09
    assert high == pytest.approx(1 - low, abs=1e-4)


def test_a_law_says_its_interval_or_that_none_is_known():
    assert "(no interval published; a test)" in law().describe()
    stated = law(exponent_interval=(0.6, 0.8))
    assert stated.describe() == "L^0.70 (95 % interval 0.60 to 0.80; a test)"
    resampled = law(replicates=REPLICATES)
    assert f"95 % interval {resampled.bounds[0]:.2f} to {resampled.bounds[1]:.2f}" in resampled.describe()


def test_the_law_of_a_fit_is_that_of_equal_blocks_unless_it_is_said():
    fit = PowerLaw(Estimate(2.0), Estimate(0.7, 0.1), "loglog", 5, 30, (), REPLICATES)
    assert ScalingLaw.from_fit(fit, "ours").ratio == law().ratio == 2  # L = 2 l
    assert ScalingLaw.from_fit(fit, "ours", 4.0).ratio == 4
    assert (ScalingLaw.from_fit(fit, "ours").clusters, ScalingLaw.from_fit(fit, "ours").error) == (30, 0.1)
