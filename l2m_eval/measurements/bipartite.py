"""The bipartite measurement: the windows to score for one document, and the curves from the sums of all.

`BipartiteRequest` and `BipartitePlan` go to a model and come back as records of sums; `bipartite_curves` turns
the records of all documents into curves. Neither knows the harness, so that curves can be recomputed from a
samples log alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from l2m_eval.corpus.blocks import block_places
from l2m_eval.corpus.chunks import Chunk, Sample
from l2m_eval.corpus.documents import known_process
from l2m_eval.estimators.bipartite import (
    clustered_mean,
    control_variate,
    direct_terms,
    ngram_corrected,
    vclub_terms,
)
from l2m_eval.estimators.entropy import Entropy
from l2m_eval.estimators.mixture import FEWEST_CLUSTERS, Mixture, fitted_mixture, log_mean_exp
from l2m_eval.measurements.context import lengths_that_fit
from l2m_eval.measurements.curves import BipartiteCurve, Resampled
from l2m_eval.scoring.encoder import Encoder, TooFewTokens
from l2m_eval.scoring.rotary import fixed_up_to
from l2m_eval.scoring.windows import (
    Cell,
    Window,
    bipartite_cells,
    cells_read_together,
    conditional_sums,
    conditional_window,
    right_block_sums,
    right_block_windows,
)
from l2m_eval.settings import CORRECTED_TOKENS, BipartiteSettings
from l2m_eval.statistics.arrays import Array, Tokens
from l2m_eval.statistics.clusters import present_mean
from l2m_eval.statistics.power_law import power_law_with_interval

if TYPE_CHECKING:
    from l2m_eval.scoring.scorer import Sums


@dataclass(frozen=True)
class BipartiteRequest:
    """The sums that one document's terms need.

    Attributes:
        settings: Of the task.
        sample: Knows the whole corpus, for the n-gram entropy of the correction.
        chunk: The document.
        partners: Its partners.
        score_partners: Whether the partners' own marginals are scored here, because they are not measured
            themselves in this run.
    """

    settings: BipartiteSettings
    sample: Sample
    chunk: Chunk
    partners: tuple[Chunk, ...]
    score_partners: bool

    def __str__(self) -> str:
        partners = ", ".join(partner.label for partner in self.partners) or "none"
        return f"bipartite sums of {self.chunk.label}, partners: {partners}"

    def cells(self, encoder: Encoder) -> tuple[Cell, ...]:
        """The points that fit the model and that the sample has documents for.

        Raises:
            L2MError: a length that was asked for does not fit, or none of the default ones does.
        """
        settings = self.settings
        wanted = [length for length in settings.wanted_lengths if length <= self.sample.longest]
        return bipartite_cells(
            lengths_that_fit(encoder, wanted, asked=settings.lengths_asked), settings.ratios
        )

    def plan(self, encoder: Encoder) -> BipartitePlan:
        """The windows of all blocks. A further block of which the text has too few tokens is left out."""
        settings, measured = self.settings, self.cells(encoder)
        longest, seed, process = (
            self.chunk.holds or settings.longest, self.sample.whole.seed, known_process(settings)
        )  # fmt: skip
        cells = tuple(cell for cell in measured if cell.total <= longest)
        within = settings.blocks_within(longest)
        numbers = {length: within[length] for length in {cell.total for cell in cells}}
        places = [
            block_places(chunk, numbers, longest, seed, process) for chunk in (self.chunk, *self.partners)
        ]
        blocks = []
        for ours, *theirs in zip(*places, strict=True):
            served = [cell for cell in cells if cell.total in ours.lengths]
            pieces = [place.of(c) for place, c in zip(theirs, self.partners, strict=True)]
            try:
                blocks.append(self._block(encoder, served, ours.of(self.chunk), pieces))
            except TooFewTokens:
                if not blocks:
                    raise
        entropy = None
        corrected = CORRECTED_TOKENS if settings.correction == "ngram" else 0
        if (
            corrected and encoder.rank == 0
        ):  # whose records come first: the other processes need not count it too
            entropy = encoder.ngram_entropy(self.sample.whole, corrected)
        sizes = None
        if encoder.knows_bytes:
            ends = encoder.byte_ends(self.chunk, max(cell.total for cell in cells))
            sizes = tuple(int(ends[cell.total - 1]) for cell in blocks[0].cells)
        mixed = settings.marginal == "mixture"
        return BipartitePlan(tuple(blocks), measured, entropy, sizes, encoder.claimed_context, by_block=mixed)

    def _block(
        self, encoder: Encoder, cells: Sequence[Cell], chunk: Chunk, partners: Sequence[Chunk]
    ) -> BlockPlan:
        """The windows of one block, with those that need each partner.

        Raises:
            TooFewTokens: the text of the block or of a partner's has fewer tokens than the longest cell.
        """
        groups = cells_read_together(cells, fixed_up_to(encoder.lm))
        longest = max(cell.total for cell in cells)
        prefix, settings = encoder.prefix, self.settings
        tokens = encoder.tokens(chunk, longest)
        partner_tokens = [encoder.tokens(partner, longest) for partner in partners]
        corrected = CORRECTED_TOKENS if settings.correction == "ngram" else 0
        vclub = "vclub" in settings.estimators
        mixture = settings.marginal == "mixture"

        def right_blocks(read: Tokens | None, scored: Tokens, label: str, first: int = 0) -> list[Window]:
            return [
                window
                for group in groups
                for window in right_block_windows(read, scored, group, prefix, label, first)
            ]

        windows: dict[str, list[Window]] = {}
        if mixture or settings.marginal == "paired" or (vclub and settings.control_variate):
            windows["marginal"] = right_blocks(None, tokens, chunk.label, corrected)
        for k, (partner, theirs) in enumerate(zip(partners, partner_tokens, strict=True)):
            if vclub or mixture:
                windows[f"crossed{k}"] = right_blocks(tokens, theirs, f"{chunk.label} with {partner.label}")
            if settings.marginal == "independent" or (
                vclub and settings.control_variate and self.score_partners
            ):
                windows[f"partner{k}"] = right_blocks(None, theirs, partner.label, corrected)
        conditional = [conditional_window(tokens, group, prefix, chunk.label) for group in groups]
        return BlockPlan(groups, conditional, windows, corrected)


@dataclass(frozen=True)
class BlockPlan:
    """The windows of the blocks that begin at one place of a document, and what their scores say.

    Attributes:
        groups: Points of the curve, in groups that are read together: one, but for models that read each length
            differently (`cells_read_together`).
        conditional: The document itself from there on, for each group.
        right_blocks: Right-block windows by role: ``marginal``, ``crossed0`` and ``partner0`` ... of each partner.
        corrected: First tokens of a block that the n-gram correction concerns, 0 without it.
    """

    groups: list[tuple[Cell, ...]]
    conditional: list[Window]
    right_blocks: dict[str, list[Window]]
    corrected: int

    @property
    def cells(self) -> list[Cell]:
        """Points of the curve that have a block here."""
        return [cell for group in self.groups for cell in group]

    @property
    def windows(self) -> list[Window]:
        return [*self.conditional, *(window for role in self.right_blocks.values() for window in role)]

    def sums(self, scores: Iterator[Sums]) -> dict[str, list[float]]:
        """The sum of each cell by role, from the next of the scores; of the first tokens as ``ROLE first``."""
        found = {
            "conditional": [value for group in self.groups for value in conditional_sums(next(scores), group)]
        }
        for role in self.right_blocks:
            corrected = 0 if role.startswith("crossed") else self.corrected
            found[role], first = self._right_block_sums(scores, corrected)
            if corrected:
                found[f"{role} first"] = first
        return found

    def _right_block_sums(self, sums: Iterator[Sums], corrected: int) -> tuple[list[float], list[float]]:
        """Sums over the right block of each cell, and over its first tokens, from the next of the scores."""
        whole: list[float] = []
        first: list[float] = []
        for group in self.groups:
            scores = [next(sums) for _ in {cell.left for cell in group}]
            ours, its_first = right_block_sums(scores, group, corrected)
            whole += ours
            first += its_first
        return whole, first


@dataclass(frozen=True)
class BipartitePlan:
    """The windows of one document under one tokenizer, and how their sums become its record.

    Attributes:
        blocks: The places where its blocks begin; the first one serves every cell of the document.
        measured: Points of the curve, of which a short document lacks some.
        entropy: The corpus' n-gram entropy, where the correction needs it.
        sizes: Bytes of text in the total length of each cell from the document's beginning, by which models with
            different tokenizers are compared; None where the backend cannot tell.
        claimed: The context that the model claims; None where nothing says it.
        by_block: Whether the record has the sums of each block, too, of which mixtures are made.
    """

    blocks: tuple[BlockPlan, ...]
    measured: tuple[Cell, ...]
    entropy: Entropy | None
    sizes: tuple[int, ...] | None = None
    claimed: int | None = None
    by_block: bool = False

    @property
    def cells(self) -> list[Cell]:
        """Points of the curve that the document has."""
        return self.blocks[0].cells

    @property
    def windows(self) -> list[Window]:
        return [window for block in self.blocks for window in block.windows]

    def record(self, scores: list[Sums]) -> str:
        """The document's sums as JSON, means over its blocks: all that the estimates need, a few dozen numbers."""
        record: dict[str, Any] = {
            "cells": [[cell.ratio, cell.left, cell.total] for cell in self.cells],
            "tokens_scored": sum(map(len, self.windows)),
        }
        if len(self.cells) < len(self.measured):
            record["measured"] = [[cell.ratio, cell.left, cell.total] for cell in self.measured]
        if len(self.blocks) > 1:
            record["blocks"] = [sum(cell in block.cells for block in self.blocks) for cell in self.cells]
        sums = iter(scores)
        found = [(block.cells, block.sums(sums)) for block in self.blocks]
        for role in found[0][1]:
            values = [
                [here[role][cells.index(cell)] for cells, here in found if cell in cells]
                for cell in self.cells
            ]
            mean = [sum(cell) / len(cell) for cell in values]
            name, _, first = role.partition(" ")
            kind = name.rstrip("0123456789")
            if kind == "crossed":
                record.setdefault("crossed", []).append(mean)
                if self.by_block:
                    record.setdefault("crossed_by_block", []).append(values)
                continue
            if kind == "marginal" and self.by_block:
                record["marginal_by_block"] = values
            key = "marginal_first" if first else "marginal"
            if kind == "partner":
                record.setdefault(f"partner_{key}", []).append(mean)
            else:
                record[key if kind == "marginal" else kind] = mean
        if self.claimed is not None:
            record["claimed_context"] = self.claimed
        if self.sizes is not None:
            record["bytes"] = list(self.sizes)
        if self.entropy is not None:
            record["ngram_entropy"] = {
                "value": self.entropy.value,
                "standard_error": self.entropy.standard_error,
            }
        return json.dumps(record)


def measured_cells(record: Mapping[str, Any]) -> list[Cell]:
    """All points of the curve, whichever of them the record's document has."""
    return [Cell(*cell) for cell in record.get("measured") or record["cells"]]


def _at_all_points(record: Mapping[str, Any], sums: Any) -> Array:
    """Sums of a record, (..., its cells), at all points of the curve: NaN where the document is too short."""
    values = np.asarray(sums, float)
    if "measured" not in record:
        return values
    measured = [tuple(cell) for cell in record["measured"]]
    whole = np.full((*values.shape[:-1], len(measured)), np.nan)
    whole[..., [measured.index(tuple(cell)) for cell in record["cells"]]] = values
    return whole


def mixture_of(records: Sequence[Mapping[str, Any]], docs: Sequence[Mapping[str, Any]]) -> Mixture | None:
    """The mixed marginal of all documents, from the contexts that each was scored behind as somebody's partner.

    None where there are too few groups of documents to fit λ on others, or where the records are of another marginal.
    """
    groups = [doc["group"] for doc in docs]
    if "marginal_by_block" not in records[0] or len(set(groups)) < FEWEST_CLUSTERS:
        return None
    row = {doc["index"]: number for number, doc in enumerate(docs)}
    crossed: list[list[Any]] = [[] for _ in docs]
    for doc, record in zip(docs, records, strict=True):
        for partner, sums in zip(doc["partner_index"], record["crossed_by_block"], strict=True):
            if partner in row:
                crossed[row[partner]].append(sums)
    most = max(len(sums) for record in records for sums in record["marginal_by_block"])
    points = measured_cells(records[0])
    ratio = np.full((len(records), len(points), most), np.nan)
    ratio[:, :, 0] = 0.0  # of a document without blocks of some length mixing says nothing
    for number, record in enumerate(records):
        for own, marginal in enumerate(record["marginal_by_block"]):
            count, column = len(marginal), points.index(Cell(*record["cells"][own]))
            ratio[number, column, :count] = 0.0
            behind = np.full((len(crossed[number]), count), np.nan)
            for k, sums in enumerate(crossed[number]):
                behind[k, : len(sums[own])] = sums[own][:count]
            scored = np.isfinite(behind).any(axis=0)
            ratio[number, column, :count][scored] = (
                log_mean_exp(behind[:, scored]) - np.asarray(marginal)[scored]
            )
    return fitted_mixture(ratio, groups)


def document_terms(
    records: Sequence[Mapping[str, Any]],
    docs: Sequence[Mapping[str, Any]],
    settings: BipartiteSettings,
    mixture: Mixture | None = None,
) -> dict[str, np.ndarray]:
    """Per-document terms of each estimator, shape (documents, cells), from the records of all documents.

    NaN where a document is too short for a cell; its partners are then, too.

    Args:
        records, docs: Of the run.
        settings: Of the task.
        mixture: The mixed marginal, if it is used; with marginal ``mixture`` and without one, the paired.
    """
    arrays = {
        key: np.stack([_at_all_points(record, record[key]) for record in records])
        for key in ("conditional", "marginal", "marginal_first", "crossed")
        if key in records[0]
    }
    partners: dict[str, np.ndarray] = {}
    if settings.needs_partners and (settings.marginal == "independent" or settings.control_variate):
        row = {doc["index"]: number for number, doc in enumerate(docs)}
        for key in ("marginal", "marginal_first") if settings.correction == "ngram" else ("marginal",):
            partners[key] = np.stack(
                [
                    _at_all_points(
                        record,
                        record["partner_" + key]
                        if "partner_" + key in record
                        else [records[row[partner]][key] for partner in doc["partner_index"]],
                    )
                    for doc, record in zip(docs, records, strict=True)
                ]
            )  # (documents, partners, cells)
    entropy = records[0].get("ngram_entropy")
    terms = {}
    if "direct" in settings.estimators:
        independent = settings.marginal == "independent"
        marginal = partners["marginal"].mean(axis=1) if independent else arrays["marginal"]
        if entropy:
            first = partners["marginal_first"].mean(axis=1) if independent else arrays["marginal_first"]
            marginal = ngram_corrected(marginal, first, entropy["value"], CORRECTED_TOKENS)
        elif mixture is not None:
            marginal = marginal + mixture.gain
        terms["direct"] = direct_terms(arrays["conditional"], marginal)
    if "vclub" in settings.estimators:
        terms["vclub"] = vclub_terms(arrays["conditional"], arrays["crossed"])
        if settings.control_variate:
            terms["vclub"] = terms["vclub"] - control_variate(arrays["marginal"], partners["marginal"])
    return terms


def bipartite_curves(
    records: Sequence[Mapping[str, Any]],
    docs: Sequence[Mapping[str, Any]],
    settings: BipartiteSettings,
    seed: int,
) -> list[BipartiteCurve]:
    """Curves and fits from the records and documents of a run (as they stand in its samples log).

    Chunks of one source document are one cluster; where partners enter a term, a group of source documents
    that are each other's partners is one, so that no two clusters share a document.
    """
    order = sorted(range(len(docs)), key=lambda i: docs[i]["index"])
    docs, records = [docs[i] for i in order], [records[i] for i in order]
    cells = measured_cells(records[0])
    sizes = None
    if all("bytes" in record for record in records):
        sizes = present_mean([_at_all_points(record, record["bytes"]) for record in records])
    blocks = present_mean(
        [_at_all_points(record, record.get("blocks") or [1] * len(record["cells"])) for record in records]
    )
    curves = []
    mixture = mixture_of(records, docs) if settings.marginal == "mixture" else None
    for estimator, terms in document_terms(records, docs, settings, mixture).items():
        mixed = mixture.weight if mixture is not None and estimator == "direct" else None
        shared = estimator == "vclub" or settings.marginal == "independent" or mixed is not None
        clusters = [doc["group" if shared else "source"] for doc in docs]
        for ratio in settings.ratios:
            columns = [i for i, cell in enumerate(cells) if cell.ratio == ratio]
            estimate = clustered_mean(terms[:, columns], clusters)
            entropy, shared_error = records[0].get("ngram_entropy"), 0.0
            if estimator == "direct" and entropy:
                # The correction carries 2n/(2n + 1) of the entropy; its error is the same for every point.
                shared_error = 2 * CORRECTED_TOKENS / (2 * CORRECTED_TOKENS + 1) * entropy["standard_error"]
                error = np.hypot(estimate.standard_error, shared_error)
                estimate = replace(estimate, standard_error=error)
            lengths = np.array([cells[i].total for i in columns])
            fit = power_law_with_interval(
                lengths,
                terms[:, columns],
                clusters,
                rng=np.random.default_rng([seed, 0x666974, ratio]),
                resamples=settings.resamples,
                method=settings.fit,
                shared_error=shared_error,
                within=(settings.fit_from, settings.fit_to),
            )
            curves.append(
                BipartiteCurve(
                    estimator,
                    ratio,
                    lengths,
                    estimate.value,
                    estimate.standard_error,
                    estimate.clusters,
                    fit,
                    bytes=None if sizes is None else sizes[columns],
                    blocks=blocks[columns],
                    documents=estimate.documents,
                    clusters_each=estimate.clusters_each,
                    mixture=None if mixed is None else mixed[columns],
                    drawn=Resampled(terms[:, columns], clusters, shared_error, seed),
                )
            )
    return curves
