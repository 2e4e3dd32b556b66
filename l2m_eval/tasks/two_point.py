"""``l2m_two_point`` and its siblings: mutual information of two tokens against the distance between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from l2m_eval.estimators.two_point.curve import DISTANCES, TwoPointCurve
from l2m_eval.measurements.curves import FittedTwoPointCurve
from l2m_eval.measurements.two_point import (
    TwoPointMeasurement,
    TwoPointRequest,
    two_point_fits,
)
from l2m_eval.processes import TokenProcess
from l2m_eval.statistics.goodness import REJECTED, rejection
from l2m_eval.tasks.base import NAN, MeasurementTask, Metric, deviation

DIGITS = 4  # distances in metric names, so that names sort


class TwoPointTask(MeasurementTask):
    """One class, different YAML. The model's tokenizer splits the text; the model itself is not run."""

    @cached_property
    def measurement(self) -> TwoPointMeasurement:
        return TwoPointMeasurement(self.settings, self.seed)

    @cached_property
    def docs(self) -> list[dict[str, Any]]:
        return [
            {
                "index": number,
                "document": document.name,
                "offset": document.offset,
                "sha256": document.digest,
                "begins": document.begins,
                "source": document.source,
                "bytes": document.size,
            }
            for number, document in enumerate(self.measurement.documents)
        ]

    def request(self, doc: Mapping[str, Any], measured: set[int]) -> TwoPointRequest:
        self.measurement.measured = tuple(sorted(measured))
        return TwoPointRequest(self.measurement, doc["index"])

    def own_terms(self, doc: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, float]:
        """One document has no estimate of its own: pairs of all documents are counted together."""
        curve = self.measurement.curve
        # Another process than the main one has no curve; it must name every metric that the main one gathers.
        distances = curve.distances.tolist() if curve is not None else self.settings.distances or DISTANCES
        names = metric_names("two_point", distances, exact=self.process is not None)
        return dict.fromkeys(names, NAN) | {"two_point_tokens": float(record["tokens"])}

    def has_standard_error(self, name: str) -> bool:
        return super().has_standard_error(name) and name != "two_point_tokens"

    def direction(self, name: str) -> bool | None:
        """The curve is the text's, not the model's: neither direction is better."""
        return None

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        curve = self.measurement.curve
        assert curve is not None
        fitted = fitted_curve("two_point", curve, self.process)
        metrics = curve_metrics(fitted)
        tokens = sum(self.measurement.tokens.values())
        metrics["two_point_tokens"] = Metric(float(tokens))
        for warning in curve_warnings(fitted):
            self.warn(warning)
        documents = self.measurement.documents
        block = {
            "schema": self.kind.schema,
            "settings": {**self.settings_block(), "distances": curve.distances.tolist()},
            "sample": {
                "documents": len(docs),
                "documents_requested": self.settings.documents,
                "source_documents": len({documents[i].source for i in self.measurement.measured}),
                "source_documents_read": documents.read,
                "source_documents_repeated": documents.left_out.repeated,
                "rows_without_text": documents.left_out.without_text,
                "tokens": tokens,
            },
            "curves": [fitted.to_json()],
        }
        return metrics, block


def metric_names(curve: str, distances: Sequence[int], *, exact: bool) -> list[str]:
    """Every metric of a two-point curve, in the order of the results table."""
    quantities = ["mi", "null"] + (["mi_exact", "mi_deviation"] if exact else [])
    names = [f"{curve}_{quantity}@{d:0{DIGITS}d}" for quantity in quantities for d in distances]
    return [*names, f"{curve}_alpha", f"{curve}_amplitude", f"{curve}_floor"]


def fitted_curve(name: str, curve: TwoPointCurve, process: TokenProcess | None) -> FittedTwoPointCurve:
    """A curve with the forms fitted to it, and the exact values of a known process."""
    exact = None
    if process is not None:
        exact = np.array([process.two_point_mi(d) for d in curve.distances.tolist()], float)
    return FittedTwoPointCurve.of(curve, name, two_point_fits(curve), exact)


def curve_metrics(curve: FittedTwoPointCurve) -> dict[str, Metric]:
    """The metrics that `metric_names` lists. The null's Stderr column is its spread between shuffles."""
    metrics, name = {}, curve.name
    for i, distance in enumerate(curve.distances.tolist()):
        point = f"{distance:0{DIGITS}d}"
        value, error = float(curve.mi[i]), float(curve.standard_error[i])
        metrics[f"{name}_mi@{point}"] = Metric(value, error)
        metrics[f"{name}_null@{point}"] = Metric(float(curve.null[i]), float(curve.null_spread[i]))
        if curve.exact is not None:
            exact = float(curve.exact[i])
            metrics[f"{name}_mi_exact@{point}"] = Metric(exact)
            metrics[f"{name}_mi_deviation@{point}"] = Metric(deviation(value, exact, error))
    decay, with_offset = curve.decay(curve.null_method), curve.fits[-1]
    assert decay is not None
    metrics[f"{name}_alpha"] = Metric.of(decay.exponent)
    metrics[f"{name}_amplitude"] = Metric.of(decay.amplitude)
    metrics[f"{name}_floor"] = Metric.of(with_offset.offset)
    return metrics


def curve_warnings(curve: FittedTwoPointCurve) -> list[str]:
    """Warnings about what cannot be seen in the curve itself."""
    name = curve.name
    warnings = [f"{name}: no fit {fit.form}: {fit.reason}" for fit in curve.fits if fit.reason]
    for fit in curve.fits:
        if fit.p_value < REJECTED:
            law = f"the form {fit.form} over d = {fit.distances[0]} … {fit.distances[-1]}"
            warnings.append(f"{name}: {rejection(fit.p_value, law)}")
    if curve.biased.any():
        worst = int(np.argmax(np.where(curve.biased, np.abs(curve.bias), 0.0)))
        where = ", ".join(map(str, curve.distances[curve.biased].tolist()))
        warnings.append(
            f"{name}: the estimate still moves with the size of the sample at d = {where}, most at "
            f"d = {curve.distances[worst]} (bias about {curve.bias[worst]:+.2g} nats): the errors there include "
            "it; more tokens reduce it"
        )
    if curve.groups < 2:
        warnings.append(f"{name}: all documents come from one source; there is no standard error")
    few = [
        d for d, error in zip(curve.distances.tolist(), curve.standard_error, strict=True) if np.isnan(error)
    ]
    if few and curve.groups >= 2:
        warnings.append(
            f"{name}: fewer than two groups of documents have pairs at d = {', '.join(map(str, few))}; "
            "there is no standard error at these"
        )
    return warnings
