"""``l2m_bipartite`` and its siblings: mutual information between the two parts of a block, against its length."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from l2m_eval.condition.effective_context import EffectiveContext
from l2m_eval.corpus.chunks import Sample, draw_sample
from l2m_eval.errors import L2MError
from l2m_eval.measurements.bipartite import (
    BipartiteRequest,
    bipartite_curves,
    document_terms,
    measured_cells,
)
from l2m_eval.measurements.curves import BipartiteCurve, curve_name
from l2m_eval.scoring.windows import Cell
from l2m_eval.statistics.goodness import REJECTED, rejection
from l2m_eval.statistics.shapes import POWER_LAW
from l2m_eval.tasks.base import (
    NAN,
    MeasurementTask,
    Metric,
    chunk_docs,
    deviation,
    sample_block,
)


class BipartiteTask(MeasurementTask):
    """One class, different YAML."""

    @cached_property
    def sample(self) -> Sample:
        sample = draw_sample(self.settings, self.settings.longest, self.seed, pairing=self.settings.pairing)
        if self.settings.needs_partners and len(sample) < 2:
            raise L2MError(
                f"corpus: it has room for {len(sample)} document(s) with partners, two or more are needed; give more "
                "documents, or measure without partners: estimators direct, marginal paired"
            )
        return sample

    @cached_property
    def docs(self) -> list[dict[str, Any]]:
        index_of = {chunk: number for number, chunk in enumerate(self.sample.measured)}
        return [
            {
                **doc,
                "group": self.sample.chunks[chunk].group,
                "partners": [self.sample.chunks[partner].label for partner in partners],
                "partner_index": [index_of.get(partner, -1) for partner in partners],
            }
            for doc, chunk, partners in zip(
                chunk_docs(self.sample), self.sample.measured, self.sample.partners, strict=True
            )
        ]

    def request(self, doc: Mapping[str, Any], measured: set[int]) -> BipartiteRequest:
        chunks, number = self.sample.chunks, doc["index"]
        return BipartiteRequest(
            self.settings,
            self.sample,
            chunks[self.sample.measured[number]],
            tuple(chunks[partner] for partner in self.sample.partners[number]),
            score_partners=not set(doc["partner_index"]) <= measured,
        )

    def own_terms(self, doc: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, float]:
        """vCLUB terms are without their control variate and marginals unmixed here: both need other documents."""
        marginal = "paired" if self.settings.marginal == "mixture" else self.settings.marginal
        alone = replace(self.settings, marginal=marginal, control_variate=False)
        terms = document_terms([record], [doc], alone)
        cells = measured_cells(record)
        own = {
            (curve_name(estimator, cell.ratio), cell.total): float(terms[estimator][0, column])
            for estimator in self.settings.estimators
            for column, cell in enumerate(cells)
        }
        metrics = {"tokens_scored": float(record["tokens_scored"])}
        for name in self._metric_names(cells):
            curve, _, total = name.partition("_mi@")
            metrics[name] = own[curve, int(total)] if total else NAN
        return metrics

    def direction(self, name: str) -> bool | None:
        """More information and longer growth of it are better; amplitudes and exact values are neither."""
        return True if "_mi@" in name or name.endswith("_beta") or "effective_context" in name else None

    def _metric_names(self, cells: Sequence[Cell]) -> list[str]:
        names = []
        for estimator in self.settings.estimators:
            for ratio in self.settings.ratios:
                curve = curve_name(estimator, ratio)
                points = zero_padded([cell.total for cell in cells if cell.ratio == ratio])
                names += [f"{curve}_mi@{point}" for point in points]
                names += [f"{curve}_beta", f"{curve}_amplitude"]
                names += [effective_name(curve), f"{effective_name(curve)}_reached"]
                if self._has_exact(estimator):
                    names += [f"{curve}_mi_exact@{point}" for point in points]
                    names += [f"{curve}_mi_deviation@{point}" for point in points]
                    names.append(f"{curve}_beta_exact")
        return names

    def _has_exact(self, estimator: str) -> bool:
        return self.predictor is not None and estimator == "direct"

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        curves = self.curves(docs, records)
        return self.metrics_of(curves, records), self.block_of(curves, records)

    def curves(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> list[BipartiteCurve]:
        """The measured curves, with the exact ones of a known process."""
        curves = bipartite_curves(records, docs, self.settings, self.seed)
        if self.predictor is not None:
            cells = [(cell.left, cell.total) for cell in measured_cells(records[0])]
            for remark in self.predictor.remarks(cells):
                self.warn(remark)
        curves = [self._with_exact(curve) if self._has_exact(curve.estimator) else curve for curve in curves]
        for curve in curves:
            self._warn(curve)
        return curves

    def metrics_of(
        self, curves: Sequence[BipartiteCurve], records: Sequence[Mapping[str, Any]]
    ) -> dict[str, Metric]:
        metrics = {"tokens_scored": Metric(float(np.mean([record["tokens_scored"] for record in records])))}
        for curve in curves:
            points = zero_padded(curve.lengths.tolist())
            for point, value, error in zip(points, curve.mi, curve.standard_error, strict=True):
                metrics[f"{curve.name}_mi@{point}"] = Metric(float(value), float(error))
            metrics[f"{curve.name}_beta"] = Metric.of(curve.beta)
            metrics[f"{curve.name}_amplitude"] = Metric.of(curve.amplitude)
            if curve.effective_context is not None:
                metrics |= effective_metrics(effective_name(curve.name), curve.effective_context)
            if curve.exact is None or curve.beta_exact is None:
                continue
            for point, value, error, exact in zip(
                points, curve.mi, curve.standard_error, curve.exact.tolist(), strict=True
            ):
                metrics[f"{curve.name}_mi_exact@{point}"] = Metric(exact)
                metrics[f"{curve.name}_mi_deviation@{point}"] = Metric(
                    deviation(float(value), exact, float(error))
                )
            metrics[f"{curve.name}_beta_exact"] = Metric(curve.beta_exact)
        return metrics

    def block_of(
        self, curves: Sequence[BipartiteCurve], records: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        """The task's part of the results."""
        return {
            "schema": self.kind.schema,
            "settings": {
                **self.settings_block(),
                "lengths": sorted({cell.total for cell in measured_cells(records[0])}),
            },
            "sample": sample_block(self.sample, len(records), self.settings.pairing),
            "ngram_entropy": records[0].get("ngram_entropy"),
            "claimed_context": self.settings.claimed_context or records[0].get("claimed_context"),
            "curves": [curve.to_json() for curve in curves],
        }

    def _with_exact(self, curve: BipartiteCurve) -> BipartiteCurve:
        """With the exact curve of a known process, NaN where it has none, and the exponent of the same fit."""
        assert self.predictor is not None
        exact, reasons = [], {}
        for length in curve.lengths.tolist():
            try:
                exact.append(self.predictor.bipartite_mi(length // curve.ratio, length))
            except L2MError as error:
                exact.append(NAN)
                reasons[length] = error
        if reasons:
            missing = ", ".join(map(str, reasons))
            self.warn(f"{curve.name}: no exact value at L = {missing}: {next(iter(reasons.values()))}")
            return replace(curve, exact=np.array(exact), beta_exact=NAN)
        _, exponent = curve.fit.again(curve.lengths, exact, curve.standard_error)
        return replace(curve, exact=np.array(exact), beta_exact=float(exponent[0]))

    def _warn(self, curve: BipartiteCurve) -> None:
        if curve.fit.not_positive:
            lengths = ", ".join(map(str, curve.fit.not_positive))
            consequence = " (NaN: a logarithm needs positive values)" if curve.fit.method == "loglog" else ""
            self.warn(
                f"{curve.name}: the estimate is not positive at L = {lengths}; fitted by {curve.fit.method}"
                f"{consequence}"
            )
        if math.isnan(curve.beta.value) and curve.fit.points < 3 and curve.fit.within != (0.0, math.inf):
            self.warn(f"{curve.name}: fewer than three lengths lie in the range of the fit; there is none")
        power_law = next((shape for shape in curve.shapes if shape.shape == POWER_LAW), None)
        if power_law is not None and power_law.p_value < REJECTED:
            best = max(curve.shapes, key=lambda shape: shape.best_share)
            lengths_used = curve.lengths[curve.fitted]
            law = f"a power law over L = {lengths_used[0]} … {lengths_used[-1]}"
            self.warn(
                f"{curve.name}: {rejection(power_law.p_value, law)}; of four shapes, the {best.shape} fits best "
                f"in {100 * best.best_share:.0f} % of the resamples"
            )
        effective = curve.effective_context
        if effective is not None and effective.falls_beyond is not None:
            self.warn(f"{curve.name}: information falls beyond L = {effective.falls_beyond:,}")
        if self.settings.marginal == "mixture" and curve.estimator == "direct" and curve.mixture is None:
            self.warn(
                f"{curve.name}: marginal mixture is fitted on other groups of documents, four or more in all; with "
                "fewer these values are those of marginal paired"
            )
        if curve.clusters < 2:
            self.warn(
                f"{curve.name}: all documents form one cluster (they share a source or partners); "
                "there is no standard error"
            )


def effective_name(curve: str) -> str:
    """Metric of a curve's effective context: that of the direct estimator at ratio 2 is the headline's."""
    return "effective_context" if curve == "direct" else f"{curve}_effective_context"


def effective_metrics(name: str, effective: EffectiveContext) -> dict[str, Metric]:
    """The effective context, and whether it is the longest length measured (1) or an end of growth (0)."""
    return {
        name: Metric(effective.value),
        f"{name}_reached": Metric(NAN if effective.reason else float(effective.reached)),
    }


def zero_padded(lengths: Sequence[int]) -> list[str]:
    """Lengths as they stand in metric names: sorting the names sorts the lengths."""
    digits = max(4, len(str(max(lengths))))
    return [f"{length:0{digits}d}" for length in lengths]
