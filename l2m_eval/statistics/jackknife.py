"""Errors by leaving out groups of documents, for estimates that duplicated documents would bias."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.errors import L2MError
from l2m_eval.statistics.arrays import Array, Integers

TOLD = 2.0  # times the scatter: a larger bias is distinguishable from zero


def jackknife_groups(
    lengths: ArrayLike, groups: int, seed: int = 0, clusters: ArrayLike | None = None
) -> Integers:
    """A group for each document, 0 ... min(groups, clusters) - 1, shape (documents,).

    Clusters of documents (by default each document is one) are dealt out like cards, the longest first and every
    second round backwards: groups get equally many, and nearly equal numbers of tokens. Ties are dealt at random.
    """
    size = np.asarray(lengths)
    labels = np.arange(len(size)) if clusters is None else np.asarray(clusters)
    if labels.shape != size.shape:
        raise L2MError(f"clusters: {len(labels)} labels for {len(size)} documents; give one per document")
    _, cluster = np.unique(labels, return_inverse=True)
    tokens = np.bincount(cluster, weights=size)  # (clusters,)
    random = np.random.default_rng(seed).permutation(len(tokens))
    order = np.lexsort((random, -tokens))
    groups = min(groups, len(tokens))
    turn, place = np.divmod(np.arange(len(tokens)), groups)
    group_of_cluster = np.empty(len(tokens), dtype=np.int64)
    group_of_cluster[order] = np.where(turn % 2 == 0, place, groups - 1 - place)
    return group_of_cluster[cluster]


def jackknife_error(replicates: ArrayLike) -> Array:
    """Standard error from estimates without each group, shape (groups, ...); NaN with fewer than two groups."""
    values = np.asarray(replicates, dtype=np.float64)
    groups = len(values)
    if groups < 2:
        return np.full(values.shape[1:], np.nan)
    return np.sqrt((groups - 1) * values.var(axis=0))


def jackknife_bias(estimate: Array, replicates: ArrayLike) -> Array:
    """Bias of an estimate that goes like 1/N, from estimates without each group, shape (groups, ...).

    NaN with fewer than two groups. Source: M. H. Quenouille, *Notes on bias in estimation*, Biometrika 43 (1956).
    """
    values = np.asarray(replicates, dtype=np.float64)
    groups = len(values)
    if groups < 2:
        return np.full(values.shape[1:], np.nan)
    return np.asarray((groups - 1) * (values.mean(axis=0) - estimate))


def with_bias(scatter: ArrayLike, bias: ArrayLike) -> Array:
    """The standard error, including a bias that is distinguishable from zero: above `TOLD` times the scatter."""
    spread, known = np.asarray(scatter, dtype=np.float64), np.asarray(bias, dtype=np.float64)
    return np.where(np.abs(known) > TOLD * spread, np.hypot(spread, known), spread)
