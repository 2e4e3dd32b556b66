"""How far a model is from a known process: KL(p ‖ q) per token, against position, length and memory.

At every position the divergence of the model's prediction from the true one is

    KL_t = E_{w_<t ~ p} Σ_w p(w | w_<t) [log p(w | w_<t) − log q(w | w_<t)] ≥ 0,

whose sum over t is KL(p ‖ q) of the whole sequence. Documents are sampled from the process; given one, the inner sum
is either taken in full (`full_kl`, from the predictions over the whole vocabulary), or replaced by the token that
came (`sampled_kl`, log p − log q: the same mean, a larger error, and single terms may be negative). The second needs
nothing but log-probabilities of text, so every backend of the harness can serve it (`KLRequest`).

A fixed state is bound to lose: what it does not hold of the I(l; L) nats that the right block shares with the left
one it pays as divergence. Source: arXiv 2503.04725, section 5 and figure 3.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.corpus.chunks import Chunk
from l2m_eval.errors import L2MError
from l2m_eval.estimators.position import PositionBin, position_bins, sum_in_bins
from l2m_eval.measurements.context import length_that_fits
from l2m_eval.measurements.curves import bins_from_json, bins_json
from l2m_eval.measurements.saved_part import SavedPart
from l2m_eval.processes import TokenProcess, WordTokenizer
from l2m_eval.scoring.windows import Window
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.clusters import cluster_sums, linearised_error
from l2m_eval.statistics.estimate import Estimate, finite_or_none

if TYPE_CHECKING:
    from l2m_eval.scoring.encoder import Encoder
    from l2m_eval.scoring.scorer import Sums


def full_kl(log_p: ArrayLike, log_q: ArrayLike) -> Array:
    """KL of predictions over a vocabulary, (..., vocabulary) → (...), nats. What p excludes adds nothing."""
    p, q = np.asarray(log_p, dtype=np.float64), np.asarray(log_q, dtype=np.float64)
    possible = p > -np.inf
    difference = np.where(possible, p, 0.0) - np.where(possible, q, 0.0)
    return np.asarray((np.exp(p) * difference).sum(axis=-1))


def sampled_kl(log_p: ArrayLike, log_q: ArrayLike) -> Array:
    """log p − log q of the tokens that occur, same shape, nats: its mean over documents is the KL."""
    return np.asarray(log_p, dtype=np.float64) - np.asarray(log_q, dtype=np.float64)


def gaussian_kl(
    mean_p: ArrayLike, deviation_p: ArrayLike, mean_q: ArrayLike, deviation_q: ArrayLike
) -> Array:
    """KL(N(mean_p, deviation_p²) ‖ N(mean_q, deviation_q²)), elementwise, nats."""
    s, r = np.asarray(deviation_p, dtype=np.float64), np.asarray(deviation_q, dtype=np.float64)
    apart = np.asarray(mean_p, dtype=np.float64) - np.asarray(mean_q, dtype=np.float64)
    return np.asarray(np.log(r / s) + (s**2 + apart**2) / (2 * r**2) - 0.5)


@dataclass(frozen=True, eq=False)
class KLCurve:
    """KL per token against position, nats; arrays have shape (bins,).

    Attributes:
        bins: Positions, in bins of doubling length.
        kl, standard_error: Mean over the bin's positions and the documents; error over clusters of documents.
        overall: Over all positions, per token: KL(p ‖ q) / length.
        documents, clusters: What the errors rest on.
    """

    bins: tuple[PositionBin, ...]
    kl: Array
    standard_error: Array
    overall: Estimate
    documents: int
    clusters: int

    def to_json(self) -> dict[str, Any]:
        return {
            "bins": bins_json(self.bins),
            "kl": self.kl.tolist(),
            "standard_error": finite_or_none(self.standard_error.tolist()),
            "documents": self.documents,
            "clusters": self.clusters,
            "overall": self.overall.to_json(),
        }

    @classmethod
    def from_json(cls, saved: SavedPart) -> KLCurve:
        """The curve that `to_json` wrote.

        Raises:
            L2MError: something is missing or of another shape.
        """
        bins = bins_from_json(saved)
        return cls(
            bins=bins,
            kl=saved.array("kl", len(bins)),
            standard_error=saved.array("standard_error", len(bins)),
            overall=saved.estimate("overall"),
            documents=saved.count("documents"),
            clusters=saved.count("clusters"),
        )


def kl_curve(terms: ArrayLike, clusters: ArrayLike | None = None) -> KLCurve:
    """The curve from `full_kl` or `sampled_kl` of every position, (documents, positions)."""
    values = np.asarray(terms, dtype=np.float64)
    bins = position_bins(values.shape[1])
    return kl_curve_from_sums(sum_in_bins(values, bins)[0], bins, clusters)


def kl_curve_from_sums(
    sums: ArrayLike, bins: tuple[PositionBin, ...], clusters: ArrayLike | None = None
) -> KLCurve:
    """The curve from sums over the bins, (documents, bins). Errors treat clusters of documents as independent."""
    values = np.asarray(sums, dtype=np.float64)
    labels = np.arange(len(values)) if clusters is None else np.asarray(clusters)
    sizes = np.array([b.last - b.first + 1 for b in bins])
    per_token = np.column_stack([values / sizes, values.sum(axis=1) / sizes.sum()])  # (documents, bins + 1)
    mean = per_token.mean(axis=0)
    totals, counts = cluster_sums(per_token, labels)
    error = linearised_error((totals - counts[:, None] * mean) / len(values))
    return KLCurve(
        bins=tuple(bins),
        kl=mean[:-1],
        standard_error=error[:-1],
        overall=Estimate.of_mean(float(mean[-1]), float(error[-1]), len(counts)),
        documents=len(values),
        clusters=len(counts),
    )


# Through the harness


@dataclass(frozen=True)
class KLRequest:
    """The log-probabilities of one document of a process, under the process and under a model.

    Attributes:
        process: Where the document is from.
        chunk: The document, in the process' words (`WordTokenizer`).
        length: Tokens measured.
        fixed: Whether the length was asked for: then one that does not fit the model is an error.
    """

    process: TokenProcess
    chunk: Chunk
    length: int
    fixed: bool = True

    def __str__(self) -> str:
        return f"log p − log q of {self.chunk.label}"

    def plan(self, encoder: Encoder) -> KLPlan:
        """One window, cut where the bins end.

        Raises:
            L2MError: the length does not fit, or the model's tokenizer has no token for each of the process'.
        """
        length = length_that_fits(encoder, self.length, asked=self.fixed)
        words = WordTokenizer(self.process.vocabulary_size)
        ids = np.array(words.encode(self.chunk.text)[:length])
        theirs = encoder.encode(words.decode(ids), self.chunk.label)
        if len(theirs) != length:
            raise L2MError(
                f"model: its tokenizer makes {len(theirs):,} tokens of {length:,} of process {self.process.name}, "
                "whose tokens its vocabulary does not hold; use --model l2m-oracle, or a model trained on the "
                "process, as l2m-eval reproduce synthetic does"
            )
        bins = position_bins(length)
        exact = sum_in_bins(self.process.log_probs(ids[None]), bins)[0][0]
        cuts = tuple(b.last for b in bins)
        window = Window(np.array([encoder.prefix]), theirs, cuts, f"{self.chunk.label}, log q(w_t|w_<t)")
        return KLPlan(window, exact)


@dataclass(frozen=True, eq=False)
class KLPlan:
    """The window of one document, and its exact log-probability in each bin, (bins,)."""

    window: Window
    exact: Array

    @property
    def windows(self) -> list[Window]:
        return [self.window]

    def record(self, scores: list[Sums]) -> str:
        """Both sums of every bin as JSON."""
        return json.dumps(
            {
                "tokens_scored": len(self.window),
                "length": self.window.cuts[-1],
                "log_p": self.exact.tolist(),
                "log_q": scores[0].tolist(),
            }
        )


def kl_from_records(records: Sequence[Mapping[str, Any]], docs: Sequence[Mapping[str, Any]]) -> KLCurve:
    """The curve from the records and documents of a run, as they stand in its samples log."""
    bins = position_bins(records[0]["length"])
    terms = sampled_kl([record["log_p"] for record in records], [record["log_q"] for record in records])
    return kl_curve_from_sums(terms, bins, [doc["source"] for doc in docs])
