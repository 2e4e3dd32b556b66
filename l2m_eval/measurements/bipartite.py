"""The bipartite measurement: what one document needs scored, and what the sums of all documents say.

`BipartiteRequest` and `BipartitePlan` go to a model and come back as records of sums; `bipartite_curves` turns
the records of all documents into curves. Neither knows the harness, so that curves can be recomputed from a
samples log alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from l2m_eval.corpora import Chunk, Sample
from l2m_eval.errors import L2MError
from l2m_eval.estimators.bipartite import (
    MeanEstimate,
    clustered_mean,
    control_variate,
    direct_terms,
    ngram_corrected,
    vclub_terms,
)
from l2m_eval.estimators.entropy import Entropy
from l2m_eval.rival_shapes import ShapeFit, compare_shapes
from l2m_eval.scaling import PowerLaw, power_law_with_interval
from l2m_eval.settings import CORRECTED_TOKENS, BipartiteSettings
from l2m_eval.windows import (
    Cell,
    Window,
    bipartite_cells,
    conditional_sums,
    conditional_window,
    right_block_sums,
    right_block_windows,
)

if TYPE_CHECKING:
    from l2m_eval.scoring.base import Sums
    from l2m_eval.scoring.tokens import Encoder


@dataclass(frozen=True)
class BipartiteRequest:
    """The sums that one document's terms need.

    Attributes:
        settings: Of the task.
        sample: All chunks, for the n-gram entropy of the correction.
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
        """The points that fit the model.

        Raises:
            L2MError: a length that was asked for does not fit, or none of the default ones does.
        """
        lengths = self.settings.wanted_lengths
        fitting = tuple(length for length in lengths if length <= encoder.longest)
        if len(fitting) < len(lengths) and (self.settings.lengths is not None or not fitting):
            raise L2MError(
                f"lengths: {max(lengths)} is over the model's context: {encoder.longest} tokens fit behind the "
                "prefix token; give shorter lengths, or a larger max_length in --model_args"
            )
        if len(fitting) < len(lengths):
            encoder.note(
                f"lengths up to {max(fitting)} fit the model's context and are measured, longer ones not"
            )
        return bipartite_cells(fitting, self.settings.ratios)

    def plan(self, encoder: Encoder) -> BipartitePlan:
        cells = self.cells(encoder)
        longest = max(cell.total for cell in cells)
        prefix, settings = encoder.prefix, self.settings
        tokens = encoder.tokens(self.chunk, longest)
        partner_tokens = [encoder.tokens(partner, longest) for partner in self.partners]
        corrected = CORRECTED_TOKENS if settings.correction == "ngram" else 0
        vclub = "vclub" in settings.estimators
        blocks: dict[str, list[Window]] = {}
        if settings.marginal == "paired" or (vclub and settings.control_variate):
            blocks["marginal"] = right_block_windows(None, tokens, cells, prefix, self.chunk.label, corrected)
        for k, (partner, theirs) in enumerate(zip(self.partners, partner_tokens, strict=True)):
            if vclub:
                label = f"{self.chunk.label} with {partner.label}"
                blocks[f"crossed{k}"] = right_block_windows(tokens, theirs, cells, prefix, label)
            if settings.marginal == "independent" or (
                vclub and settings.control_variate and self.score_partners
            ):
                blocks[f"partner{k}"] = right_block_windows(
                    None, theirs, cells, prefix, partner.label, corrected
                )
        entropy = None
        if corrected:
            entropy = encoder.ngram_entropy(self.sample.chunks, corrected)
        conditional = conditional_window(tokens, cells, prefix, self.chunk.label)
        sizes = None
        if encoder.knows_bytes:
            ends = encoder.byte_ends(self.chunk, longest)
            sizes = tuple(int(ends[cell.total - 1]) for cell in cells)
        return BipartitePlan(cells, conditional, blocks, corrected, entropy, sizes)


@dataclass(frozen=True)
class BipartitePlan:
    """The windows of one document under one tokenizer, and how their sums become its record.

    Attributes:
        cells: Points of the curve.
        conditional: The document itself.
        blocks: Right-block windows by role: ``marginal``, ``crossed0`` and ``partner0`` ... of each partner.
        corrected: First tokens of a block that the n-gram correction concerns, 0 without it.
        entropy: The corpus' n-gram entropy, where the correction needs it.
        sizes: Bytes of text in the total length of each cell, by which models with different tokenizers are
            compared; None where the backend cannot tell.
    """

    cells: tuple[Cell, ...]
    conditional: Window
    blocks: dict[str, list[Window]]
    corrected: int
    entropy: Entropy | None
    sizes: tuple[int, ...] | None = None

    @property
    def windows(self) -> list[Window]:
        return [self.conditional, *(window for block in self.blocks.values() for window in block)]

    def record(self, scores: list[Sums]) -> str:
        """The document's sums as JSON: all that the estimates need, a few dozen numbers."""
        sums = iter(scores)
        record: dict[str, Any] = {
            "cells": [[cell.ratio, cell.left, cell.total] for cell in self.cells],
            "tokens_scored": sum(map(len, self.windows)),
            "conditional": conditional_sums(next(sums), self.cells),
        }
        if self.sizes is not None:
            record["bytes"] = list(self.sizes)
        for name, windows in self.blocks.items():
            scores_of_block = [next(sums) for _ in windows]
            if name.startswith("crossed"):
                whole, _ = right_block_sums(scores_of_block, self.cells)
                record.setdefault("crossed", []).append(whole)
                continue
            whole, first = right_block_sums(scores_of_block, self.cells, self.corrected)
            found = {"marginal": whole} | ({"marginal_first": first} if self.corrected else {})
            for key, value in found.items():
                if name == "marginal":
                    record[key] = value
                else:
                    record.setdefault(f"partner_{key}", []).append(value)
        if self.entropy is not None:
            record["ngram_entropy"] = {
                "value": self.entropy.value,
                "standard_error": self.entropy.standard_error,
            }
        return json.dumps(record)


def curve_name(estimator: str, ratio: int) -> str:
    """Name of a curve in metrics: the estimator, and the ratio where it is not the main text's 2."""
    return estimator if ratio == 2 else f"{estimator}_r{ratio}"


@dataclass(frozen=True, eq=False)
class Resampled:
    """What the resamples of a curve are drawn from.

    Attributes:
        terms: Per-document terms, (documents, points), nats.
        clusters: Label of each document.
        shared_error: Standard error of what all points have in common beyond the documents, nats.
        seed: Of the draws.
    """

    terms: np.ndarray
    clusters: Sequence[Any]
    shared_error: float
    seed: int


@dataclass(frozen=True, eq=False)
class BipartiteCurve:
    """One estimator's curve at one ratio, with its fit.

    Attributes:
        estimator, ratio, lengths: What was measured where; total lengths in tokens.
        estimate: The points, nats.
        fit: The power law through them.
        drawn: What resamples are drawn from.
        bytes: Mean sizes of text of the lengths; None where they are not known.
    """

    estimator: str
    ratio: int
    lengths: tuple[int, ...]
    estimate: MeanEstimate
    fit: PowerLaw
    drawn: Resampled
    bytes: tuple[float, ...] | None = None

    @property
    def name(self) -> str:
        return curve_name(self.estimator, self.ratio)

    @cached_property
    def shapes(self) -> tuple[ShapeFit, ...]:
        """The power law and its rivals, and which of them the documents reject; empty with fewer than three points or
        without errors."""
        errors = self.estimate.standard_error
        if len(self.lengths) < 3 or not (np.isfinite(errors) & (errors > 0)).all():
            return ()
        drawn = self.drawn
        rng = np.random.default_rng([drawn.seed, 0x736861706573, self.ratio])
        return compare_shapes(
            self.lengths, drawn.terms, drawn.clusters, errors, rng=rng, shared_error=drawn.shared_error
        )


def document_terms(
    records: Sequence[Mapping[str, Any]],
    docs: Sequence[Mapping[str, Any]],
    settings: BipartiteSettings,
) -> dict[str, np.ndarray]:
    """Per-document terms of each estimator, shape (documents, cells), from the records of all documents."""
    arrays = {
        key: np.asarray([record[key] for record in records], float)
        for key in ("conditional", "marginal", "marginal_first", "crossed")
        if key in records[0]
    }
    partners: dict[str, np.ndarray] = {}
    if settings.needs_partners and (settings.marginal == "independent" or settings.control_variate):
        row = {doc["index"]: number for number, doc in enumerate(docs)}
        for key in ("marginal", "marginal_first") if settings.correction == "ngram" else ("marginal",):
            partners[key] = np.asarray(
                [
                    record["partner_" + key]
                    if "partner_" + key in record
                    else [records[row[partner]][key] for partner in doc["partner_index"]]
                    for doc, record in zip(docs, records, strict=True)
                ],
                float,
            )  # (documents, partners, cells)
    entropy = records[0].get("ngram_entropy")
    terms = {}
    if "direct" in settings.estimators:
        independent = settings.marginal == "independent"
        marginal = partners["marginal"].mean(axis=1) if independent else arrays["marginal"]
        if entropy:
            first = partners["marginal_first"].mean(axis=1) if independent else arrays["marginal_first"]
            marginal = ngram_corrected(marginal, first, entropy["value"], CORRECTED_TOKENS)
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
    cells = [Cell(*cell) for cell in records[0]["cells"]]
    sizes = None
    if all("bytes" in record for record in records):
        sizes = np.mean([record["bytes"] for record in records], axis=0)
    curves = []
    for estimator, terms in document_terms(records, docs, settings).items():
        shared = estimator == "vclub" or settings.marginal == "independent"
        clusters = [doc["group" if shared else "source"] for doc in docs]
        for ratio in settings.ratios:
            columns = [i for i, cell in enumerate(cells) if cell.ratio == ratio]
            estimate = clustered_mean(terms[:, columns], clusters)
            entropy, shared_error = records[0].get("ngram_entropy"), 0.0
            if estimator == "direct" and entropy:
                # The correction carries 2n/(2n + 1) of the entropy; its error is the same for every point.
                shared_error = 2 * CORRECTED_TOKENS / (2 * CORRECTED_TOKENS + 1) * entropy["standard_error"]
                error = np.hypot(estimate.standard_error, shared_error)
                estimate = MeanEstimate(estimate.value, error, estimate.clusters)
            lengths = tuple(cells[i].total for i in columns)
            fit = power_law_with_interval(
                lengths,
                terms[:, columns],
                clusters,
                estimate.standard_error,
                rng=np.random.default_rng([seed, 0x666974, ratio]),
                resamples=settings.resamples,
                method=settings.fit,
                shared_error=shared_error,
            )
            covered = None if sizes is None else tuple(sizes[columns].tolist())
            drawn = Resampled(terms[:, columns], clusters, shared_error, seed)
            curves.append(BipartiteCurve(estimator, ratio, lengths, estimate, fit, drawn, covered))
    return curves
