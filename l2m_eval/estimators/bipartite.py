"""Bipartite mutual information I(X; Y) from sums of log-probabilities.

Arrays have one row per document and one column per point of the curve; all values are in nats. Every
function returns one term per document, whose mean over documents is the estimate: the error bar of a mean,
with clusters where documents are not independent, is then the error bar of the estimate.

Source: Chen et al., L²M (NeurIPS 2025); vCLUB: Cheng et al., CLUB (ICML 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.statistics.arrays import Array, Integers
from l2m_eval.statistics.clusters import linearised_error, present_mean, present_sums


def direct_terms(conditional: ArrayLike, marginal: ArrayLike) -> Array:
    """log q(y_i|x_i) − log q(y_i), the direct estimator.

    Its expectation is I + KL(p_Y‖q_Y) − E KL(p_{Y|X}‖q_{Y|X}): neither an upper nor a lower bound.

    Args:
        conditional: log q(y_i|x_i), shape (documents, points).
        marginal: log q(y_i) of the same right blocks (*paired*), or of those of a partner document
            (*independent*, as published), same shape. The expectation is the same; paired has far less variance.
    """
    return np.asarray(conditional, float) - np.asarray(marginal, float)


def ngram_corrected(marginal: ArrayLike, first_tokens: ArrayLike, entropy: float, n: int = 2) -> Array:
    """Marginals with the published first-token correction.

    A pretrained model reads the prefix token as the start of a document and mispredicts the first tokens of a
    block cut from the middle of one. The sum s of the block's first n log-probabilities is replaced by
    ``(2 n · (−H_n) + s) / (2 n + 1)``, for n = 2 the published ``(4 · (−H_2) + s) / 5``.

    Args:
        marginal: log q(y), shape (documents, points).
        first_tokens: s, the part of it on the first n tokens, same shape.
        entropy: Entropy H_n of the corpus' n-grams under the same tokenizer, in nats.
        n: Tokens corrected.
    """
    s = np.asarray(first_tokens, float)
    return np.asarray(marginal, float) - s + (2 * n * -entropy + s) / (2 * n + 1)


def vclub_terms(conditional: ArrayLike, crossed: ArrayLike) -> Array:
    """log q(y_i|x_i) − mean_j log q(y_j|x_i), the vCLUB estimator: an upper bound when q is close to p.

    Args:
        conditional: log q(y_i|x_i), shape (documents, points).
        crossed: log q(y_j|x_i) of each document's partners j, shape (documents, partners, points).
    """
    return np.asarray(conditional, float) - np.asarray(crossed, float).mean(axis=1)


def control_variate(marginal: ArrayLike, partner_marginal: ArrayLike) -> Array:
    """log q(y_i) − mean_j log q(y_j): mean zero, and strongly correlated with the terms of vCLUB.

    Subtracting it leaves the expectation and removes most of the variance, which is that of the text of y
    being easy or hard whatever stands before it.

    Args:
        marginal: log q(y_i), shape (documents, points).
        partner_marginal: log q(y_j), shape (documents, partners, points).
    """
    return np.asarray(marginal, float) - np.asarray(partner_marginal, float).mean(axis=1)


@dataclass(frozen=True)
class MeanEstimate:
    """Means over documents with their standard errors, one per point.

    Attributes:
        value: Shape (points,), nats.
        standard_error: Shape (points,); NaN when there are fewer than two clusters.
        clusters: Number of independent clusters of documents.
        documents, clusters_each: How many documents, and clusters of them, each point rests on, (points,).
    """

    value: Array
    standard_error: Array
    clusters: int
    documents: Integers
    clusters_each: Integers


def clustered_mean(terms: ArrayLike, clusters: ArrayLike) -> MeanEstimate:
    """Mean of per-document terms; the error treats clusters, not documents, as independent.

    With every document its own cluster this is the ordinary standard error of a mean.

    Args:
        terms: Shape (documents, points); NaN where a document was not measured.
        clusters: Cluster label of each document: its source document, or its group of partners.
    """
    values = np.asarray(terms, float)
    sums, sizes = present_sums(values, clusters)  # (clusters, points)
    mean, documents = present_mean(values), sizes.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):  # a point that no document has
        residuals = np.where(sizes > 0, (sums - sizes * mean) / documents, 0.0)
    return MeanEstimate(
        mean,
        linearised_error(residuals, sizes),
        len(sizes),
        documents.astype(np.int64),
        (sizes > 0).sum(axis=0),
    )
