"""Sums over clusters of documents, and the errors that they give, against the textbook."""

import numpy as np
import pytest

from l2m_eval.statistics.clusters import cluster_sums, linearised_error, ratio_of_sums

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
