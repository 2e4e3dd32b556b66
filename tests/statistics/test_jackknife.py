"""What leaving out groups says, against estimators whose bias and error are known in closed form."""

import numpy as np
import pytest

from l2m_eval.statistics.jackknife import jackknife_bias, jackknife_error, jackknife_groups, with_bias

VALUES = np.random.default_rng(0).lognormal(size=(12, 2))  # (groups, quantities)


def without_each(estimate, values=VALUES):
    return np.array([estimate(np.delete(values, i, axis=0)) for i in range(len(values))])


def test_the_bias_of_a_variance_with_n_below_is_that_of_the_textbook():
    """Quenouille's correction turns the variance over n into the unbiased one over n - 1, exactly."""

    def variance(values):
        return values.var(axis=0)

    bias = jackknife_bias(variance(VALUES), without_each(variance))
    assert variance(VALUES) - bias == pytest.approx(
        VALUES.var(axis=0, ddof=1), rel=1e-12
    )  # rounding of float64
    assert (bias < 0).all()


def test_a_mean_has_no_bias():
    def mean(values):
        return values.mean(axis=0)

    assert jackknife_bias(mean(VALUES), without_each(mean)) == pytest.approx([0, 0], abs=1e-13)  # float64


def test_two_groups_are_the_fewest_that_tell_an_error_and_a_bias():
    two = np.array([[1.0, 5.0], [3.0, 5.0]])
    assert jackknife_error(two).tolist() == [1.0, 0.0]  # half their distance
    assert jackknife_bias(np.array([1.5, 5.0]), two).tolist() == [0.5, 0.0]  # their mean less the estimate
    for one_or_none in (two[:1], two[:0]):
        assert np.isnan(jackknife_error(one_or_none)).tolist() == [True, True]
        assert np.isnan(jackknife_bias(two[0], one_or_none)).tolist() == [True, True]


def test_the_error_of_a_mean_grows_by_one_over_the_root_of_its_groups():
    def mean(values):
        return values.mean(axis=0)

    textbook = VALUES.std(axis=0, ddof=1) / np.sqrt(len(VALUES))
    assert jackknife_error(without_each(mean)) == pytest.approx(textbook, rel=1e-12)  # rounding of float64


def test_documents_are_dealt_like_cards_the_longest_first_and_back():
    lengths = [80, 70, 60, 50, 40, 30, 20, 10]
    group = jackknife_groups(lengths, 2)
    # 80 | 70, then 60 to the second and 50 to the first, and so on.
    assert group.tolist() == [0, 1, 1, 0, 0, 1, 1, 0]
    assert np.bincount(group, weights=lengths).tolist() == [180, 180]


def test_clusters_are_dealt_whole_and_by_what_they_hold_together():
    group = jackknife_groups([10, 10, 10, 25], 2, clusters=["a", "a", "a", "b"])
    assert group.tolist() == [0, 0, 0, 1]  # thirty tokens come before twenty-five
    assert jackknife_groups([5, 5, 5], 8).max() == 2  # no group is empty


def test_ties_are_dealt_by_the_seed():
    dealt = {tuple(jackknife_groups([7] * 12, 3, seed=seed)) for seed in range(5)}
    assert len(dealt) == 5
    assert {tuple(np.bincount(one)) for one in dealt} == {(4, 4, 4)}
    assert tuple(jackknife_groups([7] * 12, 3, seed=3)) == tuple(jackknife_groups([7] * 12, 3, seed=3))


def test_an_error_contains_the_bias_from_twice_the_scatter_on():
    """Both signs count; below, and exactly there, and where the bias is unknown, the scatter is the error."""
    error = with_bias([3.0, 3.0, 3.0, 0.5, 3.0], [4.0, -8.0, 6.0, 1.2, np.nan])
    assert error.tolist() == [3.0, np.hypot(3, 8), 3.0, np.hypot(0.5, 1.2), 3.0]
