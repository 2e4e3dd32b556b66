"""The per-position measurement: one window per document, its loss gathered into bins of doubling length.

`PositionRequest` and `PositionPlan` go to a model and come back as records of sums; `position_curve` turns the
records of all documents into the curve. Neither knows the harness, so that curves can be recomputed from a
samples log alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from l2m_eval.corpus.chunks import Chunk
from l2m_eval.estimators.position import (
    PositionBin,
    PositionCurve,
    per_position_nll_from_sums,
    position_bins,
)
from l2m_eval.measurements.context import length_that_fits
from l2m_eval.scoring.windows import Window
from l2m_eval.settings import PositionSettings
from l2m_eval.statistics.arrays import Array, Integers

if TYPE_CHECKING:
    from l2m_eval.scoring.encoder import Encoder
    from l2m_eval.scoring.scorer import Sums

DECIMALS = 6  # of single log-probabilities in the log: float32 has no more to say


@dataclass(frozen=True)
class PositionRequest:
    """The loss of one document's first tokens."""

    settings: PositionSettings
    chunk: Chunk

    def __str__(self) -> str:
        return f"loss per position of {self.chunk.label}"

    def plan(self, encoder: Encoder) -> PositionPlan:
        """One window, cut where the bins end; at every token where the full curve is asked for.

        Raises:
            L2MError: a length that was asked for does not fit the model.
        """
        asked = self.settings.length is not None
        length = length_that_fits(encoder, self.settings.longest, asked=asked)
        tokens = encoder.tokens(self.chunk, length)
        ends = np.array([b.last for b in position_bins(length)])
        cuts = tuple(range(1, length + 1)) if self.settings.curve == "full" else tuple(ends.tolist())
        window = Window(np.array([encoder.prefix]), tokens, cuts, f"{self.chunk.label}, log q(w_t|w_<t)")
        byte_ends = encoder.byte_ends(self.chunk, length)[ends - 1]
        return PositionPlan(window, ends, np.diff(byte_ends, prepend=0))


@dataclass(frozen=True, eq=False)
class PositionPlan:
    """The window of one document and how its sums become its record.

    Attributes:
        window: The document behind the prefix token.
        ends: Last position of each bin, (bins,).
        byte_counts: UTF-8 bytes of the document in each bin, (bins,).
    """

    window: Window
    ends: Integers
    byte_counts: Integers

    @property
    def windows(self) -> list[Window]:
        return [self.window]

    def record(self, scores: list[Sums]) -> str:
        """The document's sums as JSON; with the log-probability of every token for the full curve."""
        sums = scores[0]
        record: dict[str, Any] = {
            "tokens_scored": len(self.window),
            "ends": self.ends.tolist(),
            "bytes": self.byte_counts.tolist(),
        }
        if len(sums) > len(self.ends):
            record["log_probs"] = np.round(sums, DECIMALS).tolist()
            sums = np.add.reduceat(sums, [0, *self.ends[:-1]])
        record["sums"] = sums.tolist()
        return json.dumps(record)


def record_bins(record: Mapping[str, Any]) -> tuple[PositionBin, ...]:
    """The bins that a record's sums are of."""
    return position_bins(record["ends"][-1])


def position_curve(records: Sequence[Mapping[str, Any]], docs: Sequence[Mapping[str, Any]]) -> PositionCurve:
    """The curve from the records and documents of a run, as they stand in its samples log.

    Chunks of one source document are one cluster.
    """
    bins = record_bins(records[0])
    sizes = [b.last - b.first + 1 for b in bins]
    return per_position_nll_from_sums(
        [record["sums"] for record in records],
        np.tile(sizes, (len(records), 1)),
        bins,
        byte_counts=[record["bytes"] for record in records],
        clusters=[doc["source"] for doc in docs],
    )


def full_curve(
    records: Sequence[Mapping[str, Any]], docs: Sequence[Mapping[str, Any]]
) -> tuple[Array, Array] | None:
    """Mean loss at every position and its standard error, (positions,), where the records have every token."""
    if "log_probs" not in records[0]:
        return None
    log_probs = np.array([record["log_probs"] for record in records])
    bins = tuple(PositionBin(str(t), t, t) for t in range(1, log_probs.shape[1] + 1))
    curve = per_position_nll_from_sums(
        log_probs, np.ones_like(log_probs), bins, clusters=[doc["source"] for doc in docs]
    )
    return curve.nll, curve.standard_error


def mean_in_bins(values: Array, bins: Sequence[PositionBin]) -> Array:
    """Mean of a value per position, (positions,), over each bin, (bins,)."""
    return np.array([values[b.first - 1 : b.last].mean() for b in bins])
