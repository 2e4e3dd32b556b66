"""``l2m_two_point`` and its siblings: mutual information of two tokens against the distance between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from l2m_eval.estimators.goodness import REJECTED
from l2m_eval.estimators.two_point import DISTANCES, TwoPointCurve
from l2m_eval.estimators.two_point_fit import TwoPointFit
from l2m_eval.measurements.two_point import (
    TwoPointMeasurement,
    TwoPointRequest,
    two_point_fits,
)
from l2m_eval.processes import TokenProcess
from l2m_eval.settings import TwoPointSettings
from l2m_eval.tasks.base import NAN, MeasurementTask, Metric, deviation, finite_or_none, rejection

DIGITS = 4  # distances in metric names, so that names sort


class TwoPointTask(MeasurementTask):
    """One class, different YAML. The model's tokenizer splits the text; the model itself is not run."""

    settings_class = TwoPointSettings

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

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        curve = self.measurement.curve
        assert curve is not None
        exact = exact_curve(self.process, curve)
        metrics = curve_metrics("two_point", curve, exact)
        tokens = sum(self.measurement.tokens.values())
        metrics["two_point_tokens"] = Metric(float(tokens))
        for warning in curve_warnings("two_point", curve):
            self.warn(warning)
        documents = self.measurement.documents
        block = {
            "schema": "l2m-eval/two_point/1",
            "settings": {**self.settings_block(), "distances": curve.distances.tolist()},
            "sample": {
                "documents": len(docs),
                "documents_requested": self.settings.documents,
                "source_documents": len({documents[i].source for i in self.measurement.measured}),
                "source_documents_read": documents.read,
                "tokens": tokens,
            },
            "curves": [curve_block("two_point", curve, exact)],
        }
        return metrics, block


def metric_names(curve: str, distances: Sequence[int], *, exact: bool) -> list[str]:
    """Every metric of a two-point curve, in the order of the results table."""
    quantities = ["mi", "null"] + (["mi_exact", "mi_deviation"] if exact else [])
    names = [f"{curve}_{quantity}@{d:0{DIGITS}d}" for quantity in quantities for d in distances]
    return [*names, f"{curve}_alpha", f"{curve}_amplitude", f"{curve}_floor"]


def curve_metrics(name: str, curve: TwoPointCurve, exact: list[float] | None) -> dict[str, Metric]:
    """The metrics that `metric_names` lists. The null's Stderr column is its spread between shuffles."""
    metrics = {}
    for i, distance in enumerate(curve.distances.tolist()):
        point = f"{distance:0{DIGITS}d}"
        value, error = float(curve.mi[i]), float(curve.standard_error[i])
        metrics[f"{name}_mi@{point}"] = Metric(value, error)
        metrics[f"{name}_null@{point}"] = Metric(float(curve.null[i]), float(curve.null_spread[i]))
        if exact is not None:
            metrics[f"{name}_mi_exact@{point}"] = Metric(exact[i])
            metrics[f"{name}_mi_deviation@{point}"] = Metric(deviation(value, exact[i], error))
    above, with_offset = two_point_fits(curve)
    decay = above if curve.null_method == "shuffle" else with_offset
    metrics[f"{name}_alpha"] = Metric(decay.exponent, decay.exponent_error)
    metrics[f"{name}_amplitude"] = Metric(decay.amplitude, decay.amplitude_error)
    metrics[f"{name}_floor"] = Metric(with_offset.offset, with_offset.offset_error)
    return metrics


def exact_curve(process: TokenProcess | None, curve: TwoPointCurve) -> list[float] | None:
    return None if process is None else [process.two_point_mi(d) for d in curve.distances.tolist()]


def curve_warnings(name: str, curve: TwoPointCurve) -> list[str]:
    """What a reader of the curve must know and would not see in it."""
    warnings = [f"{name}: no fit {fit.form}: {fit.reason}" for fit in two_point_fits(curve) if fit.reason]
    for fit in two_point_fits(curve):
        if fit.p_value < REJECTED:
            law = f"the form {fit.form} over d = {fit.distances[0]} … {fit.distances[-1]}"
            warnings.append(f"{name}: {rejection(fit.p_value, law)}")
    if curve.biased.any():
        worst = int(np.argmax(np.where(curve.biased, np.abs(curve.bias), 0.0)))
        where = ", ".join(map(str, curve.distances[curve.biased].tolist()))
        warnings.append(
            f"{name}: the estimate still moves with the size of the sample at d = {where}, most at "
            f"d = {curve.distances[worst]} (bias about {curve.bias[worst]:+.2g} nats): the errors there contain "
            "that, more tokens lower it"
        )
    if curve.groups < 2:
        warnings.append(f"{name}: all documents are of one source; no standard error can be given")
    few = [
        d for d, error in zip(curve.distances.tolist(), curve.standard_error, strict=True) if np.isnan(error)
    ]
    if few and curve.groups >= 2:
        warnings.append(
            f"{name}: fewer than two groups of documents have pairs at d = {', '.join(map(str, few))}; "
            "no standard error there"
        )
    return warnings


def curve_block(name: str, curve: TwoPointCurve, exact: list[float] | None) -> dict[str, Any]:
    """The curve and its fits as the results carry them; null where a number is not known."""
    arrays = (
        "distances", "mi", "standard_error", "interval", "uncorrected", "null", "null_spread", "floor", "bias",
        "pairs",
    )  # fmt: skip
    return {
        "name": name,
        **{key: finite_or_none(getattr(curve, key).tolist()) for key in arrays},
        "documents": curve.documents,
        "groups": curve.groups,
        "exact": exact,
        "fits": [_fit_block(fit) for fit in two_point_fits(curve)],
    }


def _fit_block(fit: TwoPointFit) -> dict[str, Any]:
    numbers = {
        f"{name}{suffix}": finite_or_none(getattr(fit, f"{attribute}{suffix}"))
        for name, attribute in (("alpha", "exponent"), ("amplitude", "amplitude"), ("offset", "offset"))
        for suffix in ("", "_error", "_interval")
    }
    return {
        "form": fit.form,
        **numbers,
        "distances": list(fit.distances),
        "reason": fit.reason,
        "p_value": finite_or_none(fit.p_value),
    }
