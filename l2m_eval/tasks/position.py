"""``l2m_position_nll`` and its siblings: the loss against the position in the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.estimators.position import PositionCurve, PositionFit, fit_approach
from l2m_eval.measurements.curves import FittedPositionCurve
from l2m_eval.measurements.position import (
    PositionRequest,
    full_curve,
    mean_in_bins,
    position_curve,
)
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.estimate import finite_or_none
from l2m_eval.statistics.goodness import REJECTED, rejection
from l2m_eval.tasks.base import (
    NAN,
    ChunkTask,
    Metric,
    deviation,
    sample_block,
)


class PositionTask(ChunkTask):
    """One class, different YAML."""

    @cached_property
    def _exact(self) -> dict[int, Array | None]:
        """Exact curves that were computed already, by length: each document's terms ask for it."""
        return {}

    def request(self, doc: Mapping[str, Any], measured: set[int]) -> PositionRequest:
        return PositionRequest(self.settings, self.chunk(doc))

    def own_terms(self, doc: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, float]:
        curve = position_curve([record], [doc])
        own = {name: metric.value for name, metric in _curve_metrics(curve).items()}
        names = [*own, "nll_entropy_rate", "nll_amplitude", "nll_beta", "tokens_scored"]
        if self._exact_nll(curve) is not None:
            for b in curve.bins:
                names += [f"nll_exact@{b.name}", f"nll_deviation@{b.name}"]
            names += ["nll_exact", "nll_deviation", "nll_beta_exact"]
        return {name: own.get(name, NAN) for name in names} | {
            "tokens_scored": float(record["tokens_scored"])
        }

    def direction(self, name: str) -> bool | None:
        """Less loss is better, and so is more gain from context; amplitudes and exact values are neither."""
        quantity = name.partition("@")[0]
        if quantity in ("nll", "bits_per_byte", "nll_entropy_rate"):
            return False
        return True if quantity in ("context_gain", "nll_beta") else None

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        curve = position_curve(records, docs)
        fit = self._fit(curve)
        metrics = _curve_metrics(curve)
        metrics["nll_entropy_rate"] = Metric.of(fit.entropy_rate)
        metrics["nll_amplitude"] = Metric.of(fit.amplitude)
        metrics["nll_beta"] = Metric.of(fit.exponent)
        metrics["tokens_scored"] = Metric(float(np.mean([record["tokens_scored"] for record in records])))
        exact = self._exact_nll(curve)
        if exact is not None:
            metrics.update(self._against_exact(curve, exact))
        if fit.reason:
            self.warn(f"nll: no fit of the approach h + B·t^(β−1): {fit.reason}")
        if fit.p_value < REJECTED:
            self.warn(f"nll: {rejection(fit.p_value, 'the approach h + B·t^(β−1)')}")
        if curve.clusters < 2:
            self.warn("nll: all documents come from one source; there is no standard error")
        block = {
            "schema": self.kind.schema,
            "settings": {**self.settings_block(), "length": curve.bins[-1].last},
            "sample": sample_block(self.sample, len(records), "none"),
            "curve": FittedPositionCurve.of(
                curve, fit, None if exact is None else mean_in_bins(exact, curve.bins)
            ).to_json(),
        }
        every = full_curve(records, docs)
        if every is not None:
            nll, error = every
            block["full"] = {
                "nll": np.round(nll, 6).tolist(),
                "standard_error": finite_or_none(np.round(error, 6).tolist()),
            }
        return metrics, block

    def _fit(self, curve: PositionCurve) -> PositionFit:
        return fit_approach(
            curve, from_position=self.settings.fit_from, resamples=self.settings.resamples, seed=self.seed
        )

    def _exact_nll(self, curve: PositionCurve) -> Array | None:
        """Exact loss at every position of a known process, (positions,); None where there is none."""
        if self.predictor is None:
            return None
        length = curve.bins[-1].last
        if length not in self._exact:
            try:
                self._exact[length] = np.asarray(self.predictor.mean_nll(length))
            except L2MError:
                self._exact[length] = None
        return self._exact[length]

    def _against_exact(self, curve: PositionCurve, exact: Array) -> dict[str, Metric]:
        means = mean_in_bins(exact, curve.bins)
        metrics = {}
        for b, value, error, true in zip(curve.bins, curve.nll, curve.standard_error, means, strict=True):
            metrics[f"nll_exact@{b.name}"] = Metric(float(true))
            metrics[f"nll_deviation@{b.name}"] = Metric(deviation(float(value), float(true), float(error)))
        overall = curve.overall
        metrics["nll_exact"] = Metric(float(exact.mean()))
        metrics["nll_deviation"] = Metric(
            deviation(overall.value, float(exact.mean()), overall.standard_error)
        )
        # The exact curve through the same fit with the same weights; one cluster, since it has no error.
        metrics["nll_beta_exact"] = Metric(self._fit(replace(curve, nll=means, clusters=1)).exponent.value)
        return metrics


def _curve_metrics(curve: PositionCurve) -> dict[str, Metric]:
    metrics = {
        name: Metric.of(ratio)
        for name, ratio in (
            ("nll", curve.overall),
            ("bits_per_byte", curve.overall_bits_per_byte),
            ("context_gain", curve.context_gain),
        )
    }
    for name, values, errors in (
        ("nll", curve.nll, curve.standard_error),
        ("bits_per_byte", curve.bits_per_byte, curve.bits_per_byte_error),
    ):
        for b, value, error in zip(curve.bins, values, errors, strict=True):
            metrics[f"{name}@{b.name}"] = Metric(float(value), float(error))
    return metrics
