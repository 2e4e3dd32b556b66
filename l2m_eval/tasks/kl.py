"""``l2m_kl_process``: how far a model is from the known process whose documents it reads, at every position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l2m_eval.measurements.kl import KLCurve, KLRequest, kl_from_records
from l2m_eval.processes import TokenProcess
from l2m_eval.tasks.base import ChunkTask, Metric, sample_block


class KLTask(ChunkTask):
    """KL of the model from the process, estimated on the tokens that occur: mean of log p − log q over documents."""

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

    def direction(self, name: str) -> bool | None:
        return False if name.partition("@")[0] == "kl" else None

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        curve = kl_from_records(records, docs)
        metrics = _metrics(curve)
        metrics["tokens_scored"] = Metric(float(np.mean([record["tokens_scored"] for record in records])))
        if curve.clusters < 2:
            self.warn("kl: only one document; there is no standard error")
        length = curve.bins[-1].last
        block = {
            "schema": self.kind.schema,
            "settings": {**self.settings_block(), "length": length},
            "sample": sample_block(self.sample, len(records), "none"),
            "curve": curve.to_json(),
        }
        return metrics, block


def _metrics(curve: KLCurve) -> dict[str, Metric]:
    metrics = {"kl": Metric.of(curve.overall)}
    for b, value, error in zip(curve.bins, curve.kl, curve.standard_error, strict=True):
        metrics[f"kl@{b.name}"] = Metric(float(value), float(error))
    return metrics
