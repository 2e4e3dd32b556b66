"""``l2m_two_point_generated``: does the model's own text have the long-range statistics of the corpus?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.estimators.two_point.curve import TwoPointCurve
from l2m_eval.estimators.two_point.token_sequences import TokenSequences
from l2m_eval.harness import registration
from l2m_eval.measurements.two_point import fitting_distances, two_point_curve
from l2m_eval.scoring.sampling import SampleRequest
from l2m_eval.statistics.jackknife import with_bias
from l2m_eval.tasks.base import NAN, ChunkTask, Metric, sample_block
from l2m_eval.tasks.two_point import (
    DIGITS,
    curve_metrics,
    curve_warnings,
    fitted_curve,
    metric_names,
)

GENERATED, CORPUS = "two_point_generated", "two_point"


class GeneratedTask(ChunkTask):
    """The curve of samples from the model beside that of as many chunks of the corpus, each as long."""

    OUTPUT_TYPE = registration.SAMPLING_REQUEST_TYPE

    def request(self, doc: Mapping[str, Any], measured: set[int]) -> SampleRequest:
        chunk = self.chunk(doc)
        return SampleRequest(self.settings, chunk, doc["index"], self.seed)

    def own_terms(self, doc: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, float]:
        distances = fitting_distances(self.settings, self.settings.length)
        exact = self.process is not None
        names = metric_names(GENERATED, distances, exact=exact) + metric_names(CORPUS, distances, exact=exact)
        names += [f"two_point_gap@{d:0{DIGITS}d}" for d in distances]
        return dict.fromkeys(names, NAN) | {"generated_tokens": float(len(record["generated"]))}

    def has_standard_error(self, name: str) -> bool:
        return super().has_standard_error(name) and name != "generated_tokens"

    def direction(self, name: str) -> bool | None:
        """The model's text should be like the corpus, with neither more information nor less."""
        return None

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        lengths = [len(record["generated"]) for record in records]
        distances = fitting_distances(self.settings, self.settings.length)
        if max(lengths) <= distances[-1]:
            raise L2MError(
                f"distances: {distances[-1]} is too long; the longest of the model's texts has {max(lengths)} "
                "tokens; give shorter distances"
            )
        curves = {
            GENERATED: self._curve([r["generated"] for r in records], list(range(len(docs))), distances),
            CORPUS: self._curve([r["corpus"] for r in records], [doc["source"] for doc in docs], distances),
        }
        metrics, blocks = {}, []
        for name, curve in curves.items():
            fitted = fitted_curve(name, curve, self.process)
            metrics.update(curve_metrics(fitted))
            blocks.append(fitted.to_json())
            for warning in curve_warnings(fitted):
                self.warn(warning)
        generated, corpus = curves[GENERATED], curves[CORPUS]
        # The samples and the corpus are independent of each other; what bias they share is not in their difference.
        errors = with_bias(np.hypot(generated.scatter, corpus.scatter), generated.bias - corpus.bias)
        for d, gap, error in zip(distances, generated.mi - corpus.mi, errors, strict=True):
            metrics[f"two_point_gap@{d:0{DIGITS}d}"] = Metric(float(gap), float(error))
        metrics["generated_tokens"] = Metric(float(np.mean(lengths)))
        block = {
            "schema": self.kind.schema,
            "settings": {**self.settings_block(), "distances": list(distances)},
            "sample": sample_block(self.sample, len(docs), "none")
            | {"tokens": int(sum(len(r["corpus"]) for r in records)), "generated_tokens": int(sum(lengths))},
            "curves": blocks,
        }
        return metrics, block

    def _curve(
        self, documents: Sequence[Sequence[int]], clusters: Sequence[int], distances: Sequence[int]
    ) -> TwoPointCurve:
        sequences = TokenSequences.from_documents([np.asarray(d, np.int64) for d in documents])
        return two_point_curve(sequences, distances, clusters, self.settings, self.seed)
