"""Clusters of documents that are not independent: chunks of one book, groups of partners."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def cluster_sums(terms: ArrayLike, clusters: ArrayLike) -> tuple[Array, Array]:
    """Sums of the terms of each cluster, shape (clusters, points), and the clusters' sizes, (clusters,)."""
    values = np.asarray(terms, float)
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.zeros((index.max() + 1, values.shape[1]))
    np.add.at(sums, index, values)
    return sums, np.bincount(index).astype(float)


def linearised_error(residuals: Array) -> Array:
    """Standard error of an estimate from what each cluster adds to its deviation, (clusters, points) -> (points,).

    NaN with fewer than two clusters.
    """
    count = len(residuals)
    if count < 2:
        return np.full(residuals.shape[1], np.nan)
    error: Array = np.sqrt(count / (count - 1) * (residuals**2).sum(axis=0))
    return error
