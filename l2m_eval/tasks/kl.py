"""``l2m_kl_process``: how far a model is from the known process whose documents it reads, at every position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l2m_eval.measurements.kl import KLCurve, KLRequest, kl_from_records
from l2m_eval.processes import TokenProcess
from l2m_eval.settings import KLSettings
from l2m_eval.tasks.base import ChunkTask, Metric, finite_or_none, sample_block


class KLTask(ChunkTask):
    """KL of the model to the process, by the tokens that came: mean of log p − log q over documents."""

    settings_class = KLSettings

    def request(self, doc: Mapping[str, Any], measured: set[int]) -> KLRequest:
        return KLRequest(
            self._known,
            self.chunk(doc),
            self.settings.longest,
            fixed=self.settings.length is not None,
        )

    @property
    def _known(self) -> TokenProcess:
        assert self.process is not None  # KLSettings accept no other corpus
        return self.process

    def own_terms(self, doc: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, float]:
        own = {name: metric.value for name, metric in _metrics(kl_from_records([record], [doc])).items()}
        return own | {"tokens_scored": float(record["tokens_scored"])}

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        curve = kl_from_records(records, docs)
        metrics = _metrics(curve)
        metrics["tokens_scored"] = Metric(float(np.mean([record["tokens_scored"] for record in records])))
        if curve.clusters < 2:
            self.warn("kl: one document alone; no standard error can be given")
        length = curve.bins[-1].last
        block = {
            "schema": "l2m-eval/kl/1",
            "settings": {**self.settings_block(), "length": length},
            "sample": sample_block(self.sample, len(records), "none"),
            "curve": {
                "bins": [{"name": b.name, "first": b.first, "last": b.last} for b in curve.bins],
                "kl": curve.kl.tolist(),
                "standard_error": [finite_or_none(x) for x in curve.standard_error.tolist()],
                "documents": curve.documents,
                "clusters": curve.clusters,
                "overall": {
                    "value": curve.overall,
                    "standard_error": finite_or_none(curve.overall_error),
                    "interval": [finite_or_none(x) for x in curve.overall_interval],
                },
            },
        }
        return metrics, block


def _metrics(curve: KLCurve) -> dict[str, Metric]:
    metrics = {"kl": Metric(curve.overall, curve.overall_error)}
    for b, value, error in zip(curve.bins, curve.kl, curve.standard_error, strict=True):
        metrics[f"kl@{b.name}"] = Metric(float(value), float(error))
    return metrics
