"""The context-use measurement: one block of text, scored behind contexts of different lengths.

`ContextUseRequest` and `ContextUsePlan` go to a model and come back as records of sums; `context_use` turns the
records of all documents into the curve. Neither knows the harness, so that curves can be recomputed from a samples
log alone.

The contexts are suffixes: the model reads the last k tokens before the block, so nothing that it has read for one
context serves another. Powers of two cost twice the longest context.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from l2m_eval.condition.effective_context import EffectiveContext, effective_context
from l2m_eval.corpus.chunks import Chunk
from l2m_eval.errors import L2MError
from l2m_eval.estimators.retention import RetentionCurve, retention_curve
from l2m_eval.scoring.windows import Window, window_behind_last
from l2m_eval.settings import ContextUseSettings, contexts_that_fit
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.estimate import finite_or_none

if TYPE_CHECKING:
    from l2m_eval.scoring.encoder import Encoder
    from l2m_eval.scoring.scorer import Sums


@dataclass(frozen=True)
class ContextUseRequest:
    """The scores of one document that show how much of its context a model uses.

    Attributes:
        settings: Of the task.
        chunk: The document.
        longest: Tokens that the longest chunk of the sample holds; None where that is all that were asked for.
    """

    settings: ContextUseSettings
    chunk: Chunk
    longest: int | None = None

    def __str__(self) -> str:
        return f"context use on {self.chunk.label}"

    def fitting(self, encoder: Encoder) -> tuple[tuple[int, ...], int]:
        """The contexts and the target that fit the model.

        The default target is at most a quarter of the model's context. Of contexts that were not asked for those that
        do not fit are replaced by the longest that does.

        Raises:
            L2MError: a context or a target that was asked for does not fit.
        """
        settings = self.settings
        target = min(settings.wanted_target, settings.target_within(encoder.longest))
        if settings.target is not None:
            target = settings.target
        room = encoder.longest - target
        most = (self.longest or settings.longest) - settings.wanted_target
        wanted = tuple(k for k in settings.wanted_contexts if k <= most)
        if settings.contexts_asked and wanted[-1] > room:
            raise L2MError(
                f"contexts: {wanted[-1]} is over the model's context: {max(room, 0)} tokens fit beside the target of "
                f"{target} tokens; give shorter contexts or a shorter target, or a larger max_length in --model_args"
            )
        if room < 1:
            raise L2MError(
                f"target: {target} is over the model's context of {encoder.longest} tokens; give a shorter one, or a "
                "larger max_length in --model_args"
            )
        if settings.target is None and target < settings.wanted_target:
            encoder.note(f"target: {target} tokens, a quarter of the model's context")
        contexts = contexts_that_fit(wanted, room)
        if contexts != wanted:
            encoder.note(f"contexts up to {contexts[-1]} fit the model beside the target and are measured")
        return contexts, target

    def plan(self, encoder: Encoder) -> ContextUsePlan:
        """One window for each context. The block is the same whatever the model's context is.

        Raises:
            L2MError: a context or a target that was asked for does not fit the model.
        """
        measured, target = self.fitting(encoder)
        start = (self.chunk.holds or self.settings.longest) - self.settings.wanted_target
        contexts = tuple(k for k in measured if k <= start)
        tokens = encoder.tokens(self.chunk, start + target)
        windows = tuple(
            window_behind_last(tokens, (start, start + target), k, encoder.prefix, self.chunk.label)
            for k in contexts
        )
        size = None
        if encoder.knows_bytes:
            ends = encoder.byte_ends(self.chunk, start + target)
            size = int(ends[-1] - ends[start - 1])
        return ContextUsePlan(windows, contexts, measured, size, encoder.claimed_context)


@dataclass(frozen=True, eq=False)
class ContextUsePlan:
    """The windows of one document and how their sums become its record.

    Attributes:
        windows: One for each context.
        contexts: Tokens read before the block.
        measured: Contexts of the curve, of which a short document lacks some.
        size: UTF-8 bytes of the block; None where the backend cannot tell.
        claimed: The context that the model claims; None where nothing says it.
    """

    windows: tuple[Window, ...]
    contexts: tuple[int, ...]
    measured: tuple[int, ...]
    size: int | None
    claimed: int | None

    def record(self, scores: list[Sums]) -> str:
        """The document's sums as JSON."""
        record: dict[str, Any] = {
            "contexts": list(self.contexts),
            "target": self.windows[0].cuts[-1],
            "log_probs": [float(sums.sum()) for sums in scores],
            "tokens_scored": sum(map(len, self.windows)),
            "claimed_context": self.claimed,
        }
        if len(self.contexts) < len(self.measured):
            record["measured"] = list(self.measured)
        if self.size is not None:
            record["bytes"] = self.size
        return json.dumps(record)


@dataclass(frozen=True, eq=False)
class ContextUse:
    """How much of its context a model uses.

    Attributes:
        target: Tokens of the block.
        curve: Information gained and kept.
        effective: The context beyond which more context is not shown to tell more.
        claimed: The context that the model claims; None where nothing says it.
    """

    target: int
    curve: RetentionCurve
    effective: EffectiveContext
    claimed: int | None

    def to_json(self) -> dict[str, Any]:
        """As results hold it."""
        return {
            "target": self.target,
            "curve": {
                **self.curve.to_json(),
                "information_per_token": finite_or_none((self.curve.information / self.target).tolist()),
            },
            "effective_context": self.effective.to_json(),
            "claimed_context": self.claimed,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ContextUse:
        """The inverse of `to_json`."""
        claimed = data.get("claimed_context")
        return cls(
            int(data["target"]),
            RetentionCurve.from_json(data["curve"]),
            EffectiveContext.from_json(data["effective_context"]),
            None if claimed is None else int(claimed),
        )


def measured_contexts(record: Mapping[str, Any]) -> tuple[int, ...]:
    """All contexts of the curve, whichever of them the record's document has."""
    return tuple(record.get("measured") or record["contexts"])


def log_probs_of(records: Sequence[Mapping[str, Any]]) -> Array:
    """Sums over the block, (documents, contexts); NaN at contexts that a document is too short for."""
    most = max((len(measured_contexts(record)) for record in records), default=0)
    found = np.full((len(records), most), np.nan)
    for row, record in zip(found, records, strict=True):
        row[: len(record["log_probs"])] = record["log_probs"]  # a short document has the shorter ones
    return found


def context_use(
    records: Sequence[Mapping[str, Any]],
    docs: Sequence[Mapping[str, Any]],
    settings: ContextUseSettings,
    seed: int,
) -> ContextUse:
    """The curve from the records and documents of a run, as they stand in its samples log.

    Chunks of one source document are one cluster.
    """
    contexts, target = measured_contexts(records[0]), int(records[0]["target"])
    log_probs = log_probs_of(records)
    clusters = [doc["source"] for doc in docs]
    sizes = [record["bytes"] for record in records] if all("bytes" in r for r in records) else None
    curve = retention_curve(
        contexts,
        log_probs,
        target,
        clusters,
        shares=settings.shares,
        target_bytes=sizes,
        rng=np.random.default_rng([seed, 0x6B657074]),
        resamples=settings.resamples,
    )
    effective = effective_context(
        contexts,
        log_probs - log_probs[:, :1],
        clusters,
        rng=np.random.default_rng([seed, 0x67726F77]),
    )
    return ContextUse(target, curve, effective, settings.claimed_context or records[0].get("claimed_context"))
