"""Clusters of documents that are not independent: chunks of one book, groups of partners."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.statistics.arrays import Array


def cluster_sums(terms: ArrayLike, clusters: ArrayLike) -> tuple[Array, Array]:
    """Sums of the terms of each cluster, shape (clusters, points), and the clusters' sizes, (clusters,)."""
    values = np.asarray(terms, float)
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.zeros((index.max() + 1, values.shape[1]))
    np.add.at(sums, index, values)
    return sums, np.bincount(index).astype(float)


def resampled_curves(
    sums: Array, sizes: Array, rng: np.random.Generator, resamples: int, shared_error: float = 0.0
) -> Array:
    """Curves of means over as many clusters as there are, drawn with replacement, (resamples, points).

    Args:
        sums, sizes: As `cluster_sums` gives them.
        rng: Source of the draws.
        resamples: Number of them.
        shared_error: Standard error of a number that all points contain and the terms do not show: drawn from a
            normal distribution, one for each resample.
    """
    count = len(sizes)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)  # (R, G)
    curves: Array = draws @ sums / (draws @ sizes)[:, None]
    return curves if shared_error == 0 else curves + rng.normal(scale=shared_error, size=(resamples, 1))


def linearised_error(residuals: Array) -> Array:
    """Standard error of an estimate from what each cluster adds to its deviation, (clusters, points) -> (points,).

    NaN with fewer than two clusters.
    """
    count = len(residuals)
    if count < 2:
        return np.full(residuals.shape[1], np.nan)
    error: Array = np.sqrt(count / (count - 1) * (residuals**2).sum(axis=0))
    return error


def ratio_of_sums(numerator: Array, denominator: Array) -> tuple[Array, Array]:
    """Ratio of sums over clusters, (points,), and what each cluster adds to its deviation, (clusters, points).

    `linearised_error` makes the second the standard error of the first. NaN where the denominator is zero,
    whatever the numerator is: losses of tokens that have no bytes are no infinite loss per byte.
    """
    total = denominator.sum(axis=0)
    total = np.where(total == 0, np.nan, total)
    value = numerator.sum(axis=0) / total
    return value, (numerator - value * denominator) / total
