"""Paired resamples: what documents share cancels, and what belongs together in either measurement stays together."""

from __future__ import annotations

import numpy as np
import pytest

from l2m_eval.statistics.paired import joined_clusters, paired_resamples


def partition(labels):
    return {
        frozenset(np.flatnonzero(np.asarray(labels) == label).tolist())
        for label in set(np.asarray(labels).tolist())
    }


def test_of_two_groupings_the_coarser_is_drawn_whatever_the_labels_are():
    fine, coarse = ["a", "b", "c", "d"], [7, 7, 2, 2]
    for pair in ((fine, coarse), (coarse, fine), (coarse, coarse)):
        assert partition(joined_clusters(*pair)) == {frozenset({0, 1}), frozenset({2, 3})}


def test_groupings_that_cross_are_joined_where_they_touch():
    """Neither is coarser: {01}{23}{45} and {0}{12}{3}{45} leave {0123}{45}."""
    assert partition(joined_clusters([0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 3, 3])) == {
        frozenset({0, 1, 2, 3}),
        frozenset({4, 5}),
    }


def test_what_the_documents_share_cancels():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(50, 1))
    pair = paired_resamples((shared + 3, range(50)), (shared, range(50)), np.random.default_rng(1))
    assert pair.clusters == 50
    assert pair.first - pair.second == pytest.approx(3)  # every resample has the same documents in both
    assert pair.first.std() > 0.05


def test_the_spread_is_that_of_the_joined_groups_where_clusters_differ():
    """The second measurement's partners tie documents of different sources: its groups must not be torn apart.

    Groups of two with the same term: a mean of 100 such groups scatters by 1/sqrt(100), not 1/sqrt(200). A thousand
    resamples know a standard deviation to 2.2 %, four errors are 9 %.
    """
    rng = np.random.default_rng(2)
    tied = np.repeat(rng.normal(size=100), 2)[:, None]
    tied = (tied - tied.mean()) / tied.std()
    source, group = np.arange(200), np.repeat(np.arange(100), 2)
    for ours, theirs in ((source, group), (group, source)):
        pair = paired_resamples((np.zeros((200, 1)), ours), (tied, theirs), np.random.default_rng(3))
        assert pair.clusters == 100
        assert (pair.second - pair.first).std() == pytest.approx(0.1, rel=0.09)


def test_one_group_has_no_resamples():
    assert (
        paired_resamples(
            (np.ones((4, 1)), [0, 0, 1, 1]), (np.ones((4, 1)), [0, 1, 1, 0]), np.random.default_rng(0)
        )
        is None
    )
