"""Errors and intervals from resamples: those of a mean, for many clusters and for few, and at the edges."""

import math

import numpy as np
import pytest
from scipy import stats

from l2m_eval.statistics.intervals import resampled_error, resampled_interval, student_t


def resampled_means(values, resamples, rng):
    return values[rng.integers(0, len(values), (resamples, len(values)))].mean(axis=1)


@pytest.mark.parametrize("clusters", [3, 5, 20, 200])
def test_the_error_of_a_mean_is_its_textbook_error(clusters):
    rng = np.random.default_rng(clusters)
    values = rng.normal(size=clusters)
    error = resampled_error(resampled_means(values, 40_000, rng), clusters)
    # Quantiles of 40,000 resamples know the spread to 1 %; twenty values are not quite normal themselves.
    assert error == pytest.approx(values.std(ddof=1) / math.sqrt(clusters), rel=0.05)


@pytest.mark.parametrize("clusters", [5, 20, 50])
def test_the_interval_of_a_mean_covers_it(clusters):
    """1000 samples: the share of intervals that hold the mean has a spread of 0.7 %."""
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(1000):
        values = rng.normal(size=clusters)
        low, high = resampled_interval(resampled_means(values, 1000, rng), values.mean(), clusters)
        held += low <= 0 <= high
    assert 0.93 <= held / 1000 <= 0.97 + 0.01  # five clusters: the error of the error makes it a little wide


def test_wild_resamples_do_not_make_the_error_of_all_others():
    values = np.random.default_rng(0).normal(size=2000)
    wild = np.where(np.arange(2000) % 50 == 0, 1000.0, values)
    assert resampled_error(wild, 100) == pytest.approx(resampled_error(values, 100), rel=0.05)


def test_an_end_that_resamples_do_not_bound_is_infinite():
    values = np.random.default_rng(1).normal(size=1000)
    values[:100] = np.inf
    low, high = resampled_interval(values, 0.0, 50)
    assert math.isfinite(low)
    assert high == math.inf
    values[100:400] = np.inf
    assert math.isnan(resampled_error(values, 50))


def test_one_cluster_says_nothing():
    assert math.isnan(student_t(1))
    assert math.isnan(resampled_error([1.0, 1.0], 1))
    assert all(math.isnan(end) for end in resampled_interval([1.0, 1.0], 1.0, 1))
    assert all(
        math.isnan(end) for end in resampled_interval([1.0, np.nan], 1.0, 30)
    )  # one resample that is known
    assert student_t(31) == pytest.approx(stats.t.ppf(0.975, 30))


def test_the_interval_of_few_clusters_reaches_as_far_as_student_t_at_the_wanted_confidence():
    values = np.random.default_rng(2).normal(size=500)
    error = resampled_error(values, 10)
    low, high = resampled_interval(values, 0.5, 10, confidence=0.5)
    # rounding of float64
    assert (low, high) == pytest.approx(
        (0.5 - error * stats.t.ppf(0.75, 9), 0.5 + error * stats.t.ppf(0.75, 9))
    )
