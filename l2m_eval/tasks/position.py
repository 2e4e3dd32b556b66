"""``l2m_position_nll`` and its siblings: the loss against the position in the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_eval.errors import L2MError
from l2m_eval.estimators.goodness import REJECTED
from l2m_eval.estimators.position import PositionCurve, PositionFit, Ratio, fit_approach
from l2m_eval.measurements.position import (
    PositionRequest,
    full_curve,
    mean_in_bins,
    position_curve,
)
from l2m_eval.settings import PositionSettings
from l2m_eval.tasks.base import (
    NAN,
    ChunkTask,
    Metric,
    deviation,
    finite_or_none,
    rejection,
    sample_block,
)

Floats = NDArray[np.float64]


class PositionTask(ChunkTask):
    """One class, different YAML."""

    settings_class = PositionSettings

    @cached_property
    def _exact(self) -> dict[int, Floats | None]:
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

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        curve = position_curve(records, docs)
        fit = self._fit(curve)
        metrics = _curve_metrics(curve)
        metrics["nll_entropy_rate"] = Metric(fit.entropy_rate, fit.entropy_rate_error)
        metrics["nll_amplitude"] = Metric(fit.amplitude, fit.amplitude_error)
        metrics["nll_beta"] = Metric(fit.exponent, fit.exponent_error)
        metrics["tokens_scored"] = Metric(float(np.mean([record["tokens_scored"] for record in records])))
        exact = self._exact_nll(curve)
        if exact is not None:
            metrics.update(self._against_exact(curve, exact))
        if fit.reason:
            self.warn(f"nll: no fit of the approach h + B·t^(β−1): {fit.reason}")
        if fit.p_value < REJECTED:
            self.warn(f"nll: {rejection(fit.p_value, 'the approach h + B·t^(β−1)')}")
        if curve.clusters < 2:
            self.warn("nll: all documents are of one source; no standard error can be given")
        block = {
            "schema": "l2m-eval/position_nll/1",
            "settings": {**self.settings_block(), "length": curve.bins[-1].last},
            "sample": sample_block(self.sample, len(records), "none"),
            "curve": {
                **_curve_block(curve, fit),
                "exact": None if exact is None else mean_in_bins(exact, curve.bins).tolist(),
            },
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

    def _exact_nll(self, curve: PositionCurve) -> Floats | None:
        """Exact loss at every position of a known process, (positions,); None where there is none."""
        if self.process is None:
            return None
        length = curve.bins[-1].last
        if length not in self._exact:
            try:
                self._exact[length] = np.asarray(self.process.mean_nll(length))
            except L2MError:
                self._exact[length] = None
        return self._exact[length]

    def _against_exact(self, curve: PositionCurve, exact: Floats) -> dict[str, Metric]:
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
        metrics["nll_beta_exact"] = Metric(self._fit(replace(curve, nll=means, clusters=1)).exponent)
        return metrics


def _curve_metrics(curve: PositionCurve) -> dict[str, Metric]:
    metrics = {
        name: Metric(ratio.value, ratio.standard_error)
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


def _curve_block(curve: PositionCurve, fit: PositionFit) -> dict[str, Any]:
    arrays = (
        "nll", "standard_error", "tokens", "bits_per_byte", "bits_per_byte_error", "bytes_per_token", "byte_position",
    )  # fmt: skip
    return {
        "bins": [{"name": b.name, "first": b.first, "last": b.last} for b in curve.bins],
        **{name: finite_or_none(getattr(curve, name).tolist()) for name in arrays},
        "documents": curve.documents,
        "clusters": curve.clusters,
        "overall": _ratio_block(curve.overall),
        "overall_bits_per_byte": _ratio_block(curve.overall_bits_per_byte),
        "context_gain": _ratio_block(curve.context_gain),
        "fit": {
            "entropy_rate": finite_or_none(fit.entropy_rate),
            "entropy_rate_error": finite_or_none(fit.entropy_rate_error),
            "entropy_rate_interval": finite_or_none(fit.entropy_rate_interval),
            "amplitude": finite_or_none(fit.amplitude),
            "amplitude_error": finite_or_none(fit.amplitude_error),
            "amplitude_interval": finite_or_none(fit.amplitude_interval),
            "exponent": finite_or_none(fit.exponent),
            "exponent_error": finite_or_none(fit.exponent_error),
            "exponent_interval": finite_or_none(fit.exponent_interval),
            "bins": list(fit.bins),
            "reason": fit.reason,
            "p_value": finite_or_none(fit.p_value),
        },
    }


def _ratio_block(ratio: Ratio) -> dict[str, Any]:
    return {
        "value": finite_or_none(ratio.value),
        "standard_error": finite_or_none(ratio.standard_error),
        "interval": finite_or_none(ratio.interval),
    }
