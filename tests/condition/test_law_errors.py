"""Where the error of a law's exponent comes from, and what becomes of it in a verdict."""

import math

import numpy as np
import pytest

from l2m_eval.condition.law import ScalingLaw

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
