"""``l2m_bipartite`` and its siblings: mutual information between the two parts of a block, against its length."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from l2m_eval.corpora import Sample, draw_sample
from l2m_eval.errors import L2MError
from l2m_eval.estimators.goodness import REJECTED
from l2m_eval.measurements.bipartite import (
    BipartiteCurve,
    BipartiteRequest,
    bipartite_curves,
    curve_name,
    document_terms,
)
from l2m_eval.rival_shapes import POWER_LAW
from l2m_eval.scaling import fit_power_law
from l2m_eval.settings import BipartiteSettings
from l2m_eval.tasks.base import (
    NAN,
    MeasurementTask,
    Metric,
    chunk_docs,
    deviation,
    finite_or_none,
    rejection,
    sample_block,
)
from l2m_eval.windows import Cell


class BipartiteTask(MeasurementTask):
    """One class, different YAML."""

    settings_class = BipartiteSettings

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
        """vCLUB terms are without their control variate here, which needs other documents."""
        terms = document_terms([record], [doc], replace(self.settings, control_variate=False))
        cells = [Cell(*cell) for cell in record["cells"]]
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

    def _metric_names(self, cells: Sequence[Cell]) -> list[str]:
        names = []
        for estimator in self.settings.estimators:
            for ratio in self.settings.ratios:
                curve = curve_name(estimator, ratio)
                points = zero_padded([cell.total for cell in cells if cell.ratio == ratio])
                names += [f"{curve}_mi@{point}" for point in points]
                names += [f"{curve}_beta", f"{curve}_amplitude"]
                if self._has_exact(estimator):
                    names += [f"{curve}_mi_exact@{point}" for point in points]
                    names += [f"{curve}_mi_deviation@{point}" for point in points]
                    names.append(f"{curve}_beta_exact")
        return names

    def _has_exact(self, estimator: str) -> bool:
        return self.process is not None and estimator == "direct"

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        curves = bipartite_curves(records, docs, self.settings, self.seed)
        if self.process is not None:
            for remark in self.process.remarks([(left, total) for _, left, total in records[0]["cells"]]):
                self.warn(remark)
        metrics = {"tokens_scored": Metric(float(np.mean([record["tokens_scored"] for record in records])))}
        blocks = []
        for curve in curves:
            self._warn(curve)
            estimate, fit = curve.estimate, curve.fit
            points = zero_padded(curve.lengths)
            for point, value, error in zip(points, estimate.value, estimate.standard_error, strict=True):
                metrics[f"{curve.name}_mi@{point}"] = Metric(float(value), float(error))
            metrics[f"{curve.name}_beta"] = Metric(fit.exponent, fit.exponent_error)
            metrics[f"{curve.name}_amplitude"] = Metric(fit.amplitude, fit.amplitude_error)
            exact: list[float] | None = None
            exact_beta: float | None = None
            if self._has_exact(curve.estimator):
                exact, exact_beta = self._exact(curve)
                for i, point in enumerate(points):
                    metrics[f"{curve.name}_mi_exact@{point}"] = Metric(exact[i])
                    metrics[f"{curve.name}_mi_deviation@{point}"] = Metric(
                        deviation(float(estimate.value[i]), exact[i], float(estimate.standard_error[i]))
                    )
                metrics[f"{curve.name}_beta_exact"] = Metric(exact_beta)
                if not np.isfinite(exact).all():
                    exact, exact_beta = None, None  # a curve with holes is none
            blocks.append({**_curve_block(curve), "exact": exact, "beta_exact": exact_beta})
        block = {
            "schema": "l2m-eval/bipartite/1",
            "settings": {
                **self.settings_block(),
                "lengths": sorted({cell[2] for cell in records[0]["cells"]}),
            },
            "sample": sample_block(self.sample, len(records), self.settings.pairing),
            "ngram_entropy": records[0].get("ngram_entropy"),
            "curves": blocks,
        }
        return metrics, block

    def _exact(self, curve: BipartiteCurve) -> tuple[list[float], float]:
        """The exact curve of a known process, NaN where it has no exact value, and the exponent of the same fit."""
        assert self.process is not None
        exact, reasons = [], {}
        for length in curve.lengths:
            try:
                exact.append(self.process.bipartite_mi(length // curve.ratio, length))
            except L2MError as error:
                exact.append(NAN)
                reasons[length] = error
        if reasons:
            missing = ", ".join(map(str, reasons))
            self.warn(f"{curve.name}: no exact value at L = {missing}: {next(iter(reasons.values()))}")
            return exact, NAN
        _, exponent, _ = fit_power_law(curve.lengths, exact, curve.estimate.standard_error, curve.fit.method)
        return exact, float(exponent[0])

    def _warn(self, curve: BipartiteCurve) -> None:
        if curve.fit.not_positive:
            lengths = ", ".join(map(str, curve.fit.not_positive))
            consequence = " (NaN: a logarithm needs positive values)" if curve.fit.method == "loglog" else ""
            self.warn(
                f"{curve.name}: the estimate is not positive at L = {lengths}; fitted by {curve.fit.method}"
                f"{consequence}"
            )
        power_law = next((shape for shape in curve.shapes if shape.shape == POWER_LAW), None)
        if power_law is not None and power_law.p_value < REJECTED:
            best = max(curve.shapes, key=lambda shape: shape.best_share)
            law = f"a power law over L = {curve.lengths[0]} … {curve.lengths[-1]}"
            self.warn(
                f"{curve.name}: {rejection(power_law.p_value, law)}; of four shapes, the {best.shape} leaves least "
                f"in {100 * best.best_share:.0f} % of the resamples"
            )
        if curve.estimate.clusters < 2:
            self.warn(
                f"{curve.name}: all documents are one cluster (they share a source or partners); "
                "no standard error can be given"
            )


def zero_padded(lengths: Sequence[int]) -> list[str]:
    """Lengths as they stand in metric names: sorting the names sorts the lengths."""
    digits = max(4, len(str(max(lengths))))
    return [f"{length:0{digits}d}" for length in lengths]


def _curve_block(curve: BipartiteCurve) -> dict[str, Any]:
    return {
        "name": curve.name,
        "estimator": curve.estimator,
        "ratio": curve.ratio,
        "lengths": list(curve.lengths),
        "bytes": None if curve.bytes is None else list(curve.bytes),
        "mi": curve.estimate.value.tolist(),
        "standard_error": curve.estimate.standard_error.tolist(),
        "clusters": curve.estimate.clusters,
        "amplitude": curve.fit.amplitude,
        "amplitude_error": curve.fit.amplitude_error,
        "amplitude_interval": list(curve.fit.amplitude_interval),
        "beta": curve.fit.exponent,
        "beta_error": curve.fit.exponent_error,
        "beta_interval": list(curve.fit.exponent_interval),
        "fit": curve.fit.method,
        "not_positive": list(curve.fit.not_positive),
        "shapes": [
            {
                "shape": fit.shape,
                "formula": fit.formula,
                "parameters": finite_or_none(fit.parameters),
                "misfit": finite_or_none(fit.misfit),
                "p_value": finite_or_none(fit.p_value),
                "best_share": finite_or_none(fit.best_share),
            }
            for fit in curve.shapes
        ],
    }
