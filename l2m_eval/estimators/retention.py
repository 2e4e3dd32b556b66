"""The share of information about a text that a model keeps if it reads only the last tokens before it.

The right block y, the target, stays the same, and the model reads the last k tokens x_k of what stands before it:

    G(k) = E[log q(y | x_k) − log q(y)],   R(k) = G(k) / G(K),   K the longest context,

the information gained from k tokens and the share of it that is kept. All terms have the same y, so that differences
between contexts have far smaller errors than the curve. The *context needed* to keep a share is the smallest k from
which on R stays at or above it, interpolated in log(1 + k) between the contexts measured. For a stationary process
with the process itself as the model, G(k) is the information I(k; k + m) of blocks of k and m tokens.

Arrays have one row per document and one column per context; values are in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from l2m_eval.statistics.arrays import Array, Integers
from l2m_eval.statistics.clusters import (
    cluster_sums,
    linearised_error,
    present_sums,
    ratio_of_sums,
    resampled_curves,
)
from l2m_eval.statistics.estimate import Estimate, as_float, finite_or_none

LEVEL = 0.05  # of the test that the longest context gains anything
_ARRAYS = (
    "information", "information_error", "kept", "kept_error", "loss", "loss_error", "bits_per_byte",
    "bits_per_byte_error",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class RetentionCurve:
    """Information gained from the last k tokens, and what share of that from the longest context it is.

    Attributes:
        contexts: k, in increasing order, the first one 0; (n,).
        information, information_error: G(k), nats, (n,).
        kept, kept_error: R(k), (n,); NaN where the longest context gains nothing.
        needed: By share, the context from which on that share is kept, with its error and interval, tokens. NaN
            where the longest context is not shown to gain anything; an interval never goes beyond it.
        loss, loss_error: Mean −log q(y | x_k) per token, nats, (n,).
        bits_per_byte, bits_per_byte_error: The information gained from k tokens in bits a byte of the target, (n,);
            NaN where its bytes are not known.
        documents, clusters: What the errors rest on.
        documents_each: Documents that each context is measured on, (n,); the shares kept are of those that have the
            longest.
    """

    contexts: tuple[int, ...]
    information: Array
    information_error: Array
    kept: Array
    kept_error: Array
    needed: dict[float, Estimate]
    loss: Array
    loss_error: Array
    bits_per_byte: Array
    bits_per_byte_error: Array
    documents: int
    clusters: int
    documents_each: Integers

    def to_json(self) -> dict[str, Any]:
        """The form stored in results; null for unknown values."""
        return {
            "contexts": list(self.contexts),
            **{name: finite_or_none(getattr(self, name).tolist()) for name in _ARRAYS},
            "needed": [{"share": share, **found.to_json()} for share, found in self.needed.items()],
            "documents": self.documents,
            "clusters": self.clusters,
            "documents_each": self.documents_each.tolist(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RetentionCurve:
        """The inverse of `to_json`."""
        return cls(
            contexts=tuple(int(k) for k in data["contexts"]),
            **{name: np.array([as_float(value) for value in data[name]]) for name in _ARRAYS},
            needed={float(found["share"]): Estimate.from_json(found) for found in data["needed"]},
            documents=int(data["documents"]),
            clusters=int(data["clusters"]),
            documents_each=np.array(
                data.get("documents_each") or [int(data["documents"])] * len(data["contexts"]), np.int64
            ),
        )


def retention_curve(
    contexts: tuple[int, ...],
    log_probs: ArrayLike,
    target: int,
    clusters: ArrayLike,
    *,
    shares: tuple[float, ...],
    target_bytes: ArrayLike | None = None,
    rng: np.random.Generator,
    resamples: int = 1000,
) -> RetentionCurve:
    """The curve from each document's log q(y | last k tokens).

    Args:
        contexts: k, increasing, the first one 0.
        log_probs: Sum over the target, (documents, contexts), nats; NaN where a document was not measured.
        target: Tokens of y.
        clusters: Label of each document; documents of one cluster are not independent.
        shares: Shares to keep, each between 0 and 1.
        target_bytes: UTF-8 bytes of each document's y, (documents,).
        rng: Source of the resamples.
        resamples: Number of them.
    """
    values, labels = np.asarray(log_probs, float), np.asarray(clusters)
    gained = values - values[:, :1]  # (documents, contexts)
    sums, sizes = present_sums(gained, labels)  # (clusters, contexts)
    information, error = _with_error(sums, sizes, sizes)
    whole = ~np.isnan(gained[:, -1])  # the documents that have the longest context, of which shares are taken
    kept, kept_error, needed = _kept(contexts, gained[whole], labels[whole], shares, rng, resamples)
    loss, loss_error = _with_error(-present_sums(values, labels)[0] / target, sizes, sizes)
    bits = np.full((2, len(contexts)), np.nan)
    if target_bytes is not None:
        each = np.where(np.isnan(gained), np.nan, np.asarray(target_bytes, float)[:, None])
        bits = np.stack(_with_error(sums / np.log(2), present_sums(each, labels)[0], sizes))
    return RetentionCurve(
        contexts=tuple(contexts),
        information=information,
        information_error=error,
        kept=kept,
        kept_error=kept_error,
        needed=needed,
        loss=loss,
        loss_error=loss_error,
        bits_per_byte=bits[0],
        bits_per_byte_error=bits[1],
        documents=len(values),
        clusters=len(sizes),
        documents_each=sizes.sum(axis=0).astype(np.int64),
    )


def _kept(
    contexts: tuple[int, ...],
    gained: Array,
    clusters: ArrayLike,
    shares: tuple[float, ...],
    rng: np.random.Generator,
    resamples: int,
) -> tuple[Array, Array, dict[float, Estimate]]:
    """R(k) with its error, and the contexts needed, of documents that have all contexts."""
    sums, sizes = cluster_sums(gained, clusters)
    count = len(sizes)
    information, error = _with_error(sums, sizes[:, None])
    kept, kept_error = _with_error(sums, sums[:, -1:])
    needed = {share: Estimate(np.nan) for share in shares}
    if shown_above_zero(float(information[-1]), float(error[-1]), count):
        curves = resampled_curves(sums, sizes, rng, resamples)
        for share in shares:
            needed[share] = needed_with_interval(contexts, information, curves, share, count)
    return kept, kept_error, needed


def context_needed(contexts: ArrayLike, information: ArrayLike, share: float) -> Array:
    """The smallest context from which on every longer one keeps `share` of what the last one gains, (curves,).

    Args:
        contexts: k, increasing, (n,).
        information: G(k), (n,) or (curves, n).
        share: Between 0 and 1.

    Returns:
        Tokens, interpolated in log(1 + k); NaN for curves whose last value is not positive.
    """
    x = np.log1p(np.asarray(contexts, float))
    curves = np.atleast_2d(np.asarray(information, float))
    with np.errstate(invalid="ignore", divide="ignore"):
        kept = np.where(curves[:, -1:] > 0, curves / curves[:, -1:], np.nan)
        below = kept < share
        # The last context below the share; the next one is above, since the last of all keeps 1.
        last = np.where(below.any(axis=1), kept.shape[1] - 1 - below[:, ::-1].argmax(axis=1), -1)
        rows, start = np.arange(len(curves)), np.maximum(last, 0)
        end = np.minimum(start + 1, kept.shape[1] - 1)
        part = (share - kept[rows, start]) / (kept[rows, end] - kept[rows, start])
        found = np.expm1(x[start] + part * (x[end] - x[start]))
    found = np.where(last < 0, float(np.asarray(contexts)[0]), found)
    return np.where(np.isfinite(kept[:, -1]), found, np.nan)


def shown_above_zero(value: float, error: float, clusters: int) -> bool:
    """Whether information of this value and standard error is shown to be there at all, at `LEVEL`."""
    return clusters > 1 and bool(value > stats.t.ppf(1 - LEVEL, clusters - 1) * error)


def needed_with_interval(
    contexts: tuple[float, ...], information: Array, curves: Array, share: float, clusters: int
) -> Estimate:
    """`context_needed` with its error and interval, from curves of resampled documents.

    On the scale of log(1 + k), where the error of a context is nearly the same at any length.

    Args:
        contexts: k, increasing, (n,).
        information: G(k), (n,), nats.
        curves: The same of resampled documents, (resamples, n).
        share: Between 0 and 1.
        clusters: Independent groups of documents.
    """
    value = float(context_needed(contexts, information, share)[0])
    replicates = np.log1p(context_needed(contexts, curves, share))
    # Where the longest context gains nothing, any context up to it may be needed.
    replicates = np.where(np.isnan(replicates), np.log1p(contexts[-1]), replicates)
    on_log = Estimate.resampled(float(np.log1p(value)), replicates, clusters)
    low, high = np.clip(np.expm1(on_log.interval), contexts[0], contexts[-1]).tolist()
    return Estimate(value, (1 + value) * on_log.standard_error, (low, high))


def _with_error(numerator: Array, denominator: Array, sizes: Array | None = None) -> tuple[Array, Array]:
    """A ratio of sums over clusters and its error; `sizes` as `linearised_error` takes them."""
    value, residuals = ratio_of_sums(numerator, denominator)
    return value, linearised_error(residuals, sizes)
