"""Two quantities over the same documents: resampled together, so that what the documents share cancels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from l2m_eval.statistics.arrays import Array, Integers
from l2m_eval.statistics.clusters import present_sums, resampled_curves

RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class PairedResamples:
    """Means of two sets of terms over the same resampled documents: row r of both rests on the same ones.

    Attributes:
        first, second: Shapes (resamples, n) and (resamples, m).
        clusters: Independent groups of documents that were drawn.
    """

    first: Array
    second: Array
    clusters: int


def paired_resamples(
    first: tuple[ArrayLike, Sequence[Any]],
    second: tuple[ArrayLike, Sequence[Any]],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> PairedResamples | None:
    """Resample the documents of two measurements at once; None with fewer than two independent groups.

    Args:
        first: Terms of each document, (documents, n), NaN where it has none, and the documents' clusters in the first
            measurement.
        second: The same documents, in the same order, (documents, m), and their clusters in the second.
        rng: Source of the draws.
        resamples: Number of them.
    """
    clusters = joined_clusters(first[1], second[1])
    ours, theirs = np.asarray(first[0], float), np.asarray(second[0], float)
    sums, sizes = present_sums(np.concatenate([ours, theirs], axis=1), clusters)
    if len(sizes) < 2:
        return None
    means = resampled_curves(sums, sizes, rng, resamples)
    return PairedResamples(means[:, : ours.shape[1]], means[:, ours.shape[1] :], len(sizes))


def joined_clusters(first: Sequence[Any], second: Sequence[Any]) -> Integers:
    """A cluster for each document such that documents that depend on each other in either measurement share it.

    Two runs may group the same documents differently: by source where each document stands alone, by source and
    partners where partners enter. A resample of both must not separate what belongs together in one of them, so
    clusters that share a document are one: the connected components of both groupings. Where one grouping is the
    finer this is the coarser one.
    """
    labels = [
        np.unique(np.asarray(list(map(str, given))), return_inverse=True)[1] for given in (first, second)
    ]
    sizes = [int(label.max()) + 1 for label in labels]
    ones = np.ones(len(labels[0]))
    links = coo_array((ones, (labels[0], sizes[0] + labels[1])), shape=(sum(sizes), sum(sizes)))
    _, component = connected_components(links, directed=False)
    return np.asarray(component[labels[0]], np.int64)
