"""Sums over clusters of documents, and the errors that they give, against the textbook."""

import numpy as np
import pytest

from l2m_eval.estimators.bipartite import clustered_mean
from l2m_eval.statistics.clusters import (
    MeanWithError,
    cluster_sums,
    linearised_error,
    present_mean,
    present_sums,
    ratio_of_sums,
    resampled_curves,
)

LOSSES = np.array([[3.0, 1.0], [1.0, 0.0], [2.0, 5.0], [6.0, 0.0]])  # (documents, points)
BYTES = np.array([[2.0, 0.0], [1.0, 0.0], [1.0, 0.0], [4.0, 0.0]])


def test_documents_of_one_cluster_are_added_up():
    sums, sizes = cluster_sums(LOSSES, ["b", "a", "b", "c"])
    assert sums.tolist() == [[1, 0], [5, 6], [6, 0]]
    assert sizes.tolist() == [1, 2, 1]


def test_a_ratio_of_sums_has_the_error_of_a_ratio_estimator():
    """W. G. Cochran, *Sampling Techniques* (1977): the scatter of y - r x, over the root of n and the mean of x."""
    value, residuals = ratio_of_sums(LOSSES[:, :1], BYTES[:, :1])
    assert value.tolist() == [12 / 8]
    deviation = LOSSES[:, 0] - 1.5 * BYTES[:, 0]
    textbook = np.sqrt((deviation**2).sum() / 3) / (np.sqrt(4) * BYTES[:, 0].mean())
    assert linearised_error(residuals) == pytest.approx([textbook], rel=1e-12)  # rounding of float64
    one, _ = ratio_of_sums(np.array([[0.25], [0.5]]), np.array([[0.5], [0.5]]))
    assert one.tolist() == [0.75]  # a denominator of one is like any other


def test_losses_of_tokens_without_bytes_are_no_loss_a_byte():
    value, residuals = ratio_of_sums(LOSSES, BYTES)
    assert np.isnan(value).tolist() == [False, True]
    assert np.isnan(linearised_error(residuals)).tolist() == [False, True]
    assert np.isnan(linearised_error(residuals[:1])).all()  # one cluster


def short_and_long(documents=60, long=12):
    """Terms of two points, of which the second is missing in all but the first documents."""
    terms = np.random.default_rng(4).normal(loc=(1.0, 2.0), size=(documents, 2))
    terms[long:, 1] = np.nan
    return terms, np.arange(documents) // 2


def test_a_point_that_documents_lack_is_that_of_the_others_alone():
    terms, clusters = short_and_long()
    sums, sizes = present_sums(terms, clusters)
    mean = present_mean(terms)
    error = linearised_error(np.where(sizes > 0, (sums - sizes * mean) / sizes.sum(axis=0), 0), sizes)
    alone, some = cluster_sums(terms[:12], clusters[:12])
    assert mean[1] == pytest.approx(terms[:12, 1].mean(), rel=1e-12)
    assert sizes.sum(axis=0).tolist() == [60, 12]
    residuals = (alone - some[:, None] * mean) / 12
    assert error[1] == pytest.approx(linearised_error(residuals)[1], rel=1e-12)


def test_terms_without_gaps_are_summed_as_ever():
    terms, clusters = short_and_long()
    whole = terms[:12]
    assert (present_mean(whole) == whole.mean(axis=0)).all()
    sums, sizes = cluster_sums(whole, clusters[:12])
    found, counts = present_sums(whole, clusters[:12])
    assert (found == sums).all()
    assert (counts == sizes[:, None]).all()
    curves = (resampled_curves(sums, each, np.random.default_rng(1), 50) for each in (sizes, counts))
    assert np.array_equal(*curves)


@pytest.mark.parametrize("long", [2, 4, 12])
def test_every_resampled_curve_is_whole_where_few_clusters_have_its_end(long):
    """One, two and six clusters of thirty: a draw misses all of them with probability 0.36, 0.13 and 0.001."""
    terms, clusters = short_and_long(long=long)
    curves = resampled_curves(*present_sums(terms, clusters), np.random.default_rng(0), 500)
    assert np.isfinite(curves).all()
    if long == 2:  # one cluster is all there is
        assert curves[:, 1] == pytest.approx(np.nanmean(terms[:, 1]))
    if long == 12:
        # A mean of about six clusters; a standard deviation of 500 draws is known to 3 %, the factor of the number
        # drawn being itself drawn to some more.
        own = linearised_error(*_residuals(terms[:12], clusters[:12]))[1]
        assert 0.8 * own < curves[:, 1].std() < 1.25 * own


def drawn_again(terms, clusters, numbers):
    """Documents of the clusters with these numbers, each draw a cluster of its own."""
    labels = np.unique(clusters)
    rows = [np.flatnonzero(clusters == labels[number]) for number in numbers]
    return terms[np.concatenate(rows)], np.repeat(np.arange(len(rows)), [len(row) for row in rows])


@pytest.mark.parametrize("lacking", [False, True])
def test_the_error_of_a_resample_is_that_of_its_documents(lacking):
    """Clusters of one, two and three documents, some without the longest length.

    Two factors are left out, since they need more than means over documents: the number of documents drawn, which is
    the same for all lengths, and, where some lack a length, G / (G − 1) of the clusters with it.
    """
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(30), np.tile([1, 2, 3], 10))
    terms = rng.normal(size=(60, 3)) * [1.0, 3.0, 9.0] + rng.normal(size=(30, 1))[clusters] + 2
    if lacking:
        terms[clusters % 5 == 0, 2] = np.nan
    measured = MeanWithError(terms, clusters)
    whole = clustered_mean(terms, clusters)
    np.testing.assert_allclose(measured.error, whole.standard_error, rtol=1e-12)  # float64, sixty terms
    mean, error = measured.split(present_mean(measured.columns))
    np.testing.assert_allclose(mean, whole.value, rtol=1e-12)
    np.testing.assert_allclose(error, whole.standard_error, rtol=1e-12)
    for _ in range(20):
        numbers = rng.integers(30, size=30)
        again = clustered_mean(*drawn_again(terms, clusters, numbers))
        drawn, _ = drawn_again(measured.columns, clusters, numbers)
        mean, error = measured.split(present_mean(drawn))
        np.testing.assert_allclose(mean, again.value, rtol=1e-9)
        held = whole.clusters_each, again.clusters_each
        left_out = np.sqrt(len(drawn) / 60 * held[0] / (held[0] - 1) * (held[1] - 1) / held[1])
        np.testing.assert_allclose(error, again.standard_error * left_out, rtol=1e-9)


def test_equal_clusters_have_the_error_of_all_instead_of_none():
    """Two clusters: half of the resamples draw one of them twice, where rounding leaves a variance of 10⁻¹⁶."""
    terms = np.random.default_rng(0).normal(size=(2, 4)) + 1e3
    measured = MeanWithError(terms, range(2))
    for row in range(2):
        assert measured.split(measured.columns[row])[1].tolist() == measured.error.tolist()
    np.testing.assert_allclose(measured.error, abs(terms[0] - terms[1]) / 2, rtol=1e-9)
    assert np.isnan(MeanWithError(terms, [7, 7]).error).all()  # one cluster


def test_an_error_of_all_points_is_added_to_that_of_each_resample():
    terms = np.random.default_rng(1).normal(size=(20, 3))
    alone, shared = MeanWithError(terms, range(20)), MeanWithError(terms, range(20), 0.7)
    means = present_mean(alone.columns[:15])
    np.testing.assert_allclose(shared.error, np.hypot(alone.error, 0.7), rtol=1e-12)
    np.testing.assert_allclose(shared.split(means)[1], np.hypot(alone.split(means)[1], 0.7), rtol=1e-12)


def _residuals(terms, clusters):
    sums, sizes = present_sums(terms, clusters)
    return (sums - sizes * present_mean(terms)) / len(terms), sizes
