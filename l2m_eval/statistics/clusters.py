"""Clusters of documents that are not independent: chunks of one book, groups of partners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.statistics.arrays import Array

# How often a draw without any cluster of some point is drawn again: of n clusters with the point all are missed by
# a share of e^(−n), 0.37 for the fewest.
_DRAWN_AGAIN = 1000
# Of a variance, the part below which it is what rounding left of equal clusters: far above 2^-52 times their number.
_ROUNDING = 1e-12


def cluster_sums(terms: ArrayLike, clusters: ArrayLike) -> tuple[Array, Array]:
    """Sums of the terms of each cluster, shape (clusters, points), and the clusters' sizes, (clusters,)."""
    values = np.asarray(terms, float)
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.zeros((index.max() + 1, values.shape[1]))
    np.add.at(sums, index, values)
    return sums, np.bincount(index).astype(float)


def present_mean(terms: ArrayLike) -> Array:
    """Mean over the documents that have a term, (documents, points) -> (points,): NaN marks one without."""
    values = np.asarray(terms, float)
    missing = np.isnan(values)
    if not missing.any():
        return np.asarray(values.mean(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(missing, 0.0, values).sum(axis=0) / (~missing).sum(axis=0))


def present_sums(terms: ArrayLike, clusters: ArrayLike) -> tuple[Array, Array]:
    """Sums of the terms of each cluster and how many of its documents have one, (clusters, points): NaN is none."""
    values = np.asarray(terms, float)
    missing = np.isnan(values)
    sums, _ = cluster_sums(np.where(missing, 0.0, values), clusters)
    counts, _ = cluster_sums(~missing, clusters)
    return sums, counts


def resampled_curves(
    sums: Array, sizes: Array, rng: np.random.Generator, resamples: int, shared_error: float = 0.0
) -> Array:
    """Curves of means over as many clusters as there are, drawn with replacement, (resamples, points).

    Where clusters lack some points, a draw in which a point is in no cluster is drawn again: every curve is whole.

    Args:
        sums: Of each cluster, (clusters, points).
        sizes: Of each cluster, (clusters,), or at each point, (clusters, points), as `present_sums` gives them.
        rng: Source of the draws.
        resamples: Number of them.
        shared_error: Standard error of a number that all points contain and the terms do not show: drawn from a
            normal distribution, one for each resample.
    """
    count = len(sizes)
    draws = rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(float)  # (R, G)
    if sizes.ndim == 1:
        sizes = sizes[:, None]
    held = sizes[:, sizes.any(axis=0)] > 0
    for _ in range(_DRAWN_AGAIN):
        empty = ~((draws @ held) > 0).all(axis=1)
        if not empty.any():
            break
        draws[empty] = rng.multinomial(count, np.full(count, 1 / count), size=int(empty.sum()))
    with np.errstate(invalid="ignore"):  # a point that no document has
        curves: Array = draws @ sums / (draws @ sizes)
    return curves + _shared_by_all_points(rng, resamples, shared_error)


def _shared_by_all_points(rng: np.random.Generator, resamples: int, error: float) -> Array:
    return rng.normal(scale=error, size=(resamples, 1)) if error else np.zeros(1)


def linearised_error(residuals: Array, sizes: Array | None = None) -> Array:
    """Standard error of an estimate from what each cluster adds to its deviation, (clusters, points) -> (points,).

    NaN with fewer than two clusters.

    Args:
        residuals: Of each cluster, 0 at points that it lacks.
        sizes: Documents of each cluster at each point, (clusters, points), where some lack points.
    """
    points = residuals.shape[1]
    count = np.full(points, len(residuals)) if sizes is None else (sizes > 0).sum(axis=0)
    factor = np.full(points, np.nan)
    known = count > 1
    factor[known] = count[known] / (count[known] - 1)
    error: Array = np.sqrt(factor * (residuals**2).sum(axis=0))
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


class MeanWithError:
    """Means of terms as a resample has them: with standard errors of its own, which are the weights of fits.

    A fit whose weights are the sample's in every resample does not show what the scatter of the weights adds to its
    error. Squares of clusters' sums are written beside the terms, one part for each document, so that the error, too,
    follows from means over documents, and whatever resamples those need not know about it.

    Attributes:
        columns: What is to be resampled, (documents, 5 · points).
        clusters: Label of each document.
        count: Number of clusters.
        mean: Means of all documents, (points,).
        error: Standard errors of the means of all documents, (points,): those of `linearised_error`, with the shared
            one. NaN with fewer than two clusters.
    """

    def __init__(self, terms: ArrayLike, clusters: Sequence[Any], shared_error: float = 0.0) -> None:
        """From terms, (documents, points), NaN where there is none; `shared_error` as of `resampled_curves`."""
        values = np.asarray(terms, float)
        self.clusters = clusters
        self._shared = shared_error
        self.mean = present_mean(values)
        _, index = np.unique(np.asarray(clusters), return_inverse=True)
        sums, sizes = present_sums(values - self.mean, index)
        self.count = len(sizes)
        each = np.bincount(index).astype(float)[:, None]
        squares = [(part / each)[index] for part in (sums**2, sums * sizes, sizes**2)]
        self.columns = np.concatenate([values, ~np.isnan(values), *squares], axis=1)
        held = (sizes > 0).sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            self._factor = np.where(held > 1, held / (held - 1), np.nan) / len(values)
        self.error = np.full(values.shape[1], np.nan)
        self.error = self.split(present_mean(self.columns))[1]

    def resampled(self, rng: np.random.Generator, resamples: int) -> tuple[Array, Array]:
        """Resampled curves and their standard errors, (resamples, points) each, as `resampled_curves` draws them."""
        means = resampled_curves(*present_sums(self.columns, self.clusters), rng, resamples)
        curves, errors = self.split(means)
        return curves + _shared_by_all_points(rng, resamples, self._shared), errors

    def split(self, means: Array) -> tuple[Array, Array]:
        """Means of the terms and their standard errors, both (..., points), from means of `columns`.

        A resample whose error is zero somewhere, since it drew one cluster again and again, has those of all
        documents.
        """
        mean, present, squares, mixed, sizes = np.split(means, 5, axis=-1)
        off = mean - self.mean
        variance = squares - 2 * off * mixed + off**2 * sizes
        variance[variance < _ROUNDING * (squares + off**2 * sizes)] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):  # a point that no document has
            own = np.sqrt(self._factor * variance) / present
        known = ((own > 0) | np.isnan(self.error)).all(axis=-1, keepdims=True)
        return mean, np.where(known, np.hypot(own, self._shared), self.error)
