"""A marginal that is mended by the model's own conditionals: log q̄(y), q̄ = (1 − λ) q(y) + λ · mean_j q(y|x_j).

Behind the bare prefix a model mispredicts the first tokens of a block that was cut from the middle of a text, which
inflates every short point. Behind contexts x_j of other documents it does not, and a mixture of the two is a
distribution of y whatever λ is: the direct estimator with log q̄ in the place of log q has the form that it had, and
KL(p_Y ‖ q̄_Y) is the part of its bias that the marginal gives. The λ that makes log q̄ largest on other documents makes
this smallest; λ = 0 is the paired marginal.

Each cluster's λ is fitted on the other clusters (cross-fitting), so that no document's term is raised by having been
fitted to: Chernozhukov et al., Double/debiased machine learning (2018).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.errors import L2MError
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.clusters import cluster_sums

FEWEST_CLUSTERS = 4
# The mean of log q̄ is concave in λ and flat at its largest: between neighbours of this grid it differs by far less
# than by the error of λ itself.
_WEIGHTS = np.concatenate([[0.0, 0.001, 0.002, 0.005], np.arange(1, 100) / 100])


@dataclass(frozen=True, eq=False)
class Mixture:
    """What mixing changes.

    Attributes:
        gain: log q̄(y) − log q(y), mean over the blocks of each document, (documents, points), nats.
        weight: λ of each point, mean over clusters, (points,).
    """

    gain: Array
    weight: Array


def fitted_mixture(log_ratio: ArrayLike, clusters: ArrayLike) -> Mixture:
    """Fit λ of each point on the other clusters, and mix.

    Args:
        log_ratio: log mean_j q(y|x_j) − log q(y) of each block, (documents, points, blocks), nats; NaN where a
            document has fewer blocks, 0 where no other context was scored, of which mixing says nothing.
        clusters: Label of each document; a document and the x_j of its blocks are of one cluster.

    Raises:
        L2MError: fewer than four clusters.
    """
    ratio = np.asarray(log_ratio, float)
    _, labels = np.unique(np.asarray(clusters), return_inverse=True)
    if labels.max() + 1 < FEWEST_CLUSTERS:
        raise L2MError(
            f"marginal: λ of the mixture is fitted on other clusters of documents, of which there are "
            f"{labels.max() + 1}; give documents of {FEWEST_CLUSTERS} or more, or marginal paired"
        )
    gains = np.stack([mean_gain(ratio, weight) for weight in _WEIGHTS])  # (weights, documents, points)
    sums = np.stack([cluster_sums(gain, labels)[0] for gain in gains])  # (weights, clusters, points)
    best = (sums.sum(axis=1, keepdims=True) - sums).argmax(
        axis=0
    )  # (clusters, points), of the other clusters
    gain = np.take_along_axis(gains, best[labels][None], axis=0)[0]
    return Mixture(gain, _WEIGHTS[best].mean(axis=0))


def mean_gain(log_ratio: Array, weight: float) -> Array:
    """Mean over blocks of log(1 − λ + λ e^r), (documents, points), with no overflow for any r."""
    if weight == 0.0:
        return np.zeros(log_ratio.shape[:2])
    with np.errstate(invalid="ignore"):
        mixed = np.logaddexp(np.log1p(-weight), np.log(weight) + log_ratio)
    return np.asarray(np.nanmean(mixed, axis=2))


def log_mean_exp(values: Array) -> Array:
    """log mean e^v over the first axis, NaN left out."""
    count = np.isfinite(values).sum(axis=0)
    found = np.logaddexp.reduce(np.where(np.isfinite(values), values, -np.inf), axis=0)
    return np.asarray(found - np.log(count))
