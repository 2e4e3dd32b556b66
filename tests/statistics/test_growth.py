"""Tests of growth by their parts: each statistic a second time, and the distributions where they are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from l2m_eval.statistics.growth import (
    RESAMPLES,
    _normal_maxima,
    _studentised,
    contrasts,
    growth_beyond,
    most_growth,
    resampled_draws,
)

LENGTHS = np.array([4, 8, 16, 32, 64])
LABELS = np.repeat(np.arange(8), [1, 2, 3, 4, 1, 2, 3, 4])  # eight clusters of twenty documents


def terms(seed=0, documents=20, points=5):
    return np.cumsum(np.random.default_rng(seed).normal(0.3, 1, (documents, points)), axis=1)


def mean_and_error(values, labels):
    """Of a mean over clusters of different sizes, by linearisation."""
    values, labels = values[np.isfinite(values)], labels[np.isfinite(values)]
    mean = values.mean()
    residuals = np.array([(values[labels == label] - mean).sum() for label in np.unique(labels)]) / len(
        values
    )
    count = len(residuals)
    return mean, math.sqrt(count / (count - 1) * (residuals**2).sum())


def test_each_difference_has_the_mean_and_error_of_the_documents_that_have_it():
    values = terms()
    values[:5, 1] = np.nan  # three clusters in whole, of the third two documents of three
    found = contrasts(values, LABELS)
    for k in range(5):
        assert (found.mean[k], found.error[k]) == pytest.approx(mean_and_error(values[:, k], LABELS))


def test_growth_is_told_at_the_end_with_the_largest_t():
    for seed in range(4):
        values, rng = terms(seed), np.random.default_rng(0)
        for k in range(4):
            found = growth_beyond(LENGTHS, values, LABELS, k, rng, resampled_draws(8, rng))
            ends = [
                mean_and_error(values[:, k + 1 : m + 1].mean(axis=1) - values[:, k], LABELS)
                for m in range(k + 1, 5)
            ]
            best = max(range(len(ends)), key=lambda m: ends[m][0] / ends[m][1])
            assert (found.length, found.until) == (LENGTHS[k], LENGTHS[k + 1 + best])
            assert (found.value, found.standard_error) == pytest.approx(ends[best])


@pytest.mark.parametrize("t", [0.5, 1.3, 2.0])
def test_the_p_value_of_one_end_is_students_where_terms_are_normal(t):
    """Of sixty documents, whose studentised resamples are nearly normal, too. The larger of two shares of a thousand
    resamples: four standard deviations of one, and a hundredth for what resampling sixty documents is off by."""
    growth = np.random.default_rng(1).normal(size=60)
    growth = (growth - growth.mean()) / growth.std(ddof=1) + t / math.sqrt(60)
    values, rng = np.stack([np.zeros(60), growth], axis=1), np.random.default_rng(0)
    found = growth_beyond(LENGTHS[:2], values, np.arange(60), 0, rng, resampled_draws(60, rng))
    expected = stats.t.sf(t, 59)
    assert found.p_value == pytest.approx(
        expected, abs=4 * math.sqrt(expected * (1 - expected) / RESAMPLES) + 0.01
    )


def test_ends_without_scatter_are_certain_and_the_others_are_tested():
    scatter = np.random.default_rng(2).normal(size=(20, 1))
    flat, rng = np.ones((20, 1)), np.random.default_rng(0)

    def beyond(*columns):
        return growth_beyond(LENGTHS[:3], np.hstack(columns), np.arange(20), 0, rng, resampled_draws(20, rng))

    sure = beyond(flat, flat + 1, flat + scatter)
    assert (sure.until, sure.value, sure.standard_error, sure.p_value) == (8, 1, 0, 0)
    later = beyond(flat, flat, flat + 3)  # half of three, and certain as well
    assert (later.until, later.value, later.p_value) == (16, 1.5, 0)
    never = beyond(flat, flat, flat - 1)
    assert (never.until, never.value, never.p_value) == (8, 0, 1)
    rounding = beyond(1e6 * flat, 1e6 * flat + 1e-6, 1e6 * flat)  # a growth of 1e-12 of the values
    assert (rounding.until, rounding.p_value) == (8, 1)
    tested = beyond(flat, flat, flat + 9 + scatter)  # no growth to 8 for certain, clear growth to 16
    assert (tested.until, tested.p_value) == (16, pytest.approx(1 / (1 + RESAMPLES)))


def residuals(*columns):
    return contrasts(np.stack(columns, axis=1), np.arange(len(columns[0])))


@pytest.mark.parametrize("count", [4, 30])
def test_the_largest_of_correlated_ts_is_known_where_they_are_the_same_opposite_or_independent(count):
    """A thousand draws know a share to √(p (1 − p) / 1000); four of those."""
    x = np.random.default_rng(3).normal(size=count)
    x -= x.mean()
    y = np.roll(x, 1)
    y -= y @ x / (x @ x) * x
    y -= y.mean()
    at = stats.t.ppf(0.9, count - 1)
    tolerance = {"abs": 4 * math.sqrt(0.1 * 0.9 / RESAMPLES)}
    same = _normal_maxima(residuals(x, 3 * x + 5), np.random.default_rng(0))
    assert np.mean(same >= at) == pytest.approx(0.1, **tolerance)
    opposite = _normal_maxima(residuals(x, -2 * x), np.random.default_rng(0))
    assert np.mean(opposite >= at) == pytest.approx(0.2, **tolerance)
    assert (opposite >= 0).all()
    if count == 30:  # with few the common denominator ties them
        independent = _normal_maxima(residuals(x, y), np.random.default_rng(0))
        assert np.mean(independent >= at) == pytest.approx(1 - 0.9**2, **tolerance)


def test_the_end_with_fewest_documents_sets_the_degrees_of_freedom():
    x = np.random.default_rng(4).normal(size=(30, 2))
    x[3:, 1] = np.nan
    at = stats.t.ppf(0.95, 2)  # 2.9, beyond which 29 degrees of freedom leave 0.003
    share = np.mean(_normal_maxima(contrasts(x, np.arange(30)), np.random.default_rng(0)) >= at)
    # Between that of one end and that of two that never exceed it together, and four standard deviations.
    room = 4 * math.sqrt(0.1 * 0.9 / RESAMPLES)
    assert 0.05 - room < share < 0.1 + room


def test_the_p_value_is_the_larger_of_the_two():
    """The largest t of two ends, in either distribution; which reaches further depends on the side of the tail."""
    for sign in (-1, 1):
        growth = sign * (np.random.default_rng(5).exponential(size=(20, 2)) ** 2 - 2) + 0.5
        values, draws = np.hstack([np.zeros((20, 1)), growth]), resampled_draws(20, np.random.default_rng(6))
        found = growth_beyond(LENGTHS[:3], values, np.arange(20), 0, np.random.default_rng(7), draws)
        tested = contrasts(np.cumsum(growth, axis=1) / [1, 2], np.arange(20))
        t = (tested.mean / tested.error).max()
        normal = np.sum(_normal_maxima(tested, np.random.default_rng(7)) >= t)
        resampled = np.sum(np.concatenate(_studentised(tested, draws)).max(axis=1) >= t)
        assert normal != resampled
        assert found.p_value == (1 + max(normal, resampled)) / (1 + RESAMPLES)


def test_studentised_resamples_are_those_of_the_drawn_clusters_set_side_by_side():
    values = terms(5)
    found = contrasts(values, LABELS)
    draws = resampled_draws(8, np.random.default_rng(6))
    blocks = np.concatenate(_studentised(found, draws))
    drawn = np.concatenate(list(draws()))
    assert blocks.shape == (RESAMPLES, 5)
    for counts, t in list(zip(drawn, blocks, strict=True))[:100]:
        copies = np.repeat(np.arange(8), counts.astype(int))
        together = np.concatenate([values[cluster == LABELS] for cluster in copies])
        labels = np.repeat(np.arange(8), [(cluster == LABELS).sum() for cluster in copies])
        for k in range(5):
            mean, error = mean_and_error(together[:, k], labels)
            assert t[k] == pytest.approx((mean - found.mean[k]) / error)


def test_a_draw_of_one_cluster_alone_is_infinitely_far():
    """Though its sums are large numbers, whose rounding is none."""
    found = contrasts(terms(5) + 1000, LABELS)
    alone = 8.0 * np.eye(8)
    assert np.isposinf(np.concatenate(_studentised(found, lambda: iter([alone])))).all()


@pytest.mark.parametrize("at_once", [10**6, 1000])
def test_resamples_are_a_thousand_and_the_same_each_time_however_many_clusters_there_are(
    at_once, monkeypatch
):
    """A thousand of seven clusters at once, or 142."""
    count = 7
    monkeypatch.setattr("l2m_eval.statistics.growth._DRAWS_AT_ONCE", at_once)
    draws = resampled_draws(count, np.random.default_rng(0))
    first, second = list(draws()), list(draws())
    assert sum(len(block) for block in first) == RESAMPLES
    assert len(first) == (1 if at_once > 7000 else 8)
    whole = resampled_draws(count, np.random.default_rng(0))
    assert np.array_equal(np.concatenate(first), np.concatenate(list(whole())))
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other)
        assert (one.sum(axis=1) == count).all()


def test_the_most_growth_that_documents_leave_room_for():
    """One-sided, over all later points together: Student's t, or the lower tail of studentised resamples if wider."""
    for seed, sign in ((7, -1), (8, 1)):
        rng = np.random.default_rng(seed)
        growth = sign * rng.exponential(size=(20, 1)) ** 2
        values = np.hstack([np.zeros((20, 1)), growth, 3 * growth, 2 * growth])
        labels = np.arange(20)
        draws = resampled_draws(20, rng)
        mean, error = mean_and_error(2 * growth[:, 0], labels)
        lower = np.sort(np.concatenate(_studentised(contrasts(2 * growth, labels), draws))[:, 0])[49]
        student = stats.t.ppf(0.95, 19)
        assert (-lower > student) == (sign > 0)
        expected = max(0.0, mean + max(student, -lower) * error)
        assert most_growth(values, labels, 0, draws) == pytest.approx(expected)
    assert most_growth(values - 100 * np.arange(4), labels, 0, draws) == 0
    # Of three clusters one resample in 27 is the first alone, and another the last: no twentieth is left.
    few = values[:3]
    mean, error = mean_and_error(few[:, 1:].mean(axis=1), np.arange(3))
    found = most_growth(few, np.arange(3), 0, resampled_draws(3, rng))
    assert found == pytest.approx(max(0.0, mean + stats.t.ppf(0.95, 2) * error))
