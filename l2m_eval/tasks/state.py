"""``l2m_state`` and its siblings: the information between two blocks of text that a smaller state carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l2m_eval.estimators.retention import shown_above_zero
from l2m_eval.measurements.smaller_state import SmallerStateRequest, StateCurve, document_terms, state_curve
from l2m_eval.tasks.base import NAN, ChunkTask, Metric, sample_block
from l2m_eval.tasks.bipartite import zero_padded


class StateTask(ChunkTask):
    """One class, different YAML."""

    def request(self, doc: Mapping[str, Any], measured: set[int]) -> SmallerStateRequest:
        return SmallerStateRequest(self.settings, self.chunk(doc))

    def own_terms(self, doc: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, float]:
        """A share that is kept is a ratio of means, which one document does not have."""
        own = {name: terms[0] for name, terms in document_terms([record]).items()}
        curve = state_curve([record], [doc], self.settings, self.seed)
        values = dict.fromkeys(_metrics(curve), NAN)
        for column, point in enumerate(zero_padded(curve.lengths)):
            values[f"mi@{point}"] = float(own["full"][column])
            for way in curve.ways:
                values[f"lost_{way.name}@{point}"] = float(own["full"][column] - own[way.name][column])
        return values | {"tokens_scored": float(record["tokens_scored"])}

    def direction(self, name: str) -> bool | None:
        """More information, and more of it kept, is better; sizes and what is needed are neither."""
        if name.startswith("lost_"):
            return False
        return True if name.startswith(("mi@", "kept_")) else None

    def has_standard_error(self, name: str) -> bool:
        return super().has_standard_error(name) and not name.startswith("state_bits_")

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        curve = state_curve(records, docs, self.settings, self.seed)
        metrics = _metrics(curve)
        metrics["tokens_scored"] = Metric(float(np.mean([record["tokens_scored"] for record in records])))
        self._warn(curve)
        block = {
            "schema": self.kind.schema,
            "settings": {**self.settings_block(), "lengths": list(curve.lengths)},
            "sample": sample_block(self.sample, len(records), "none"),
            "curve": curve.to_json(),
        }
        return metrics, block

    def _warn(self, curve: StateCurve) -> None:
        if curve.clusters < 2:
            self.warn("state: all documents are from one source; no standard error can be given")
            return
        for length, mi, error in zip(curve.lengths, curve.mi, curve.standard_error, strict=True):
            if not shown_above_zero(float(mi), float(error), curve.clusters):
                self.warn(
                    f"state: no information is shown at L = {length:,} with the whole state, so there is none of "
                    "which a smaller one could keep a share"
                )


def _metrics(curve: StateCurve) -> dict[str, Metric]:
    """Every metric of a curve; those whose values are not known are left out where nothing could give them."""
    metrics: dict[str, Metric] = {}
    points = zero_padded(curve.lengths)
    for at, point in enumerate(points):
        metrics[f"mi@{point}"] = Metric(float(curve.mi[at]), float(curve.standard_error[at]))
        if np.isfinite(curve.bits[at]):
            metrics[f"state_bits_full@{point}"] = Metric(float(curve.bits[at]))
    for way in curve.ways:
        for at, point in enumerate(points):
            found = way.found
            metrics[f"kept_{way.name}@{point}"] = Metric(float(found.kept[at]), float(found.kept_error[at]))
            metrics[f"lost_{way.name}@{point}"] = Metric(float(found.lost[at]), float(found.lost_error[at]))
            if np.isfinite(way.bits[at]):
                metrics[f"state_bits_{way.name}@{point}"] = Metric(float(way.bits[at]))
    for family, needed in curve.needed.items():
        for point, amount in zip(points, needed.amounts, strict=True):
            metrics[f"needed_{family}@{point}"] = Metric.of(amount)
        if len(points) > 1:
            # Tokens grow with the length; of bits a number and shares of entries it is the state that does.
            in_tokens = family.endswith(("window", "context"))
            exponent = needed.exponent if in_tokens else needed.size_exponent
            metrics[f"needed_{family}_exponent"] = Metric.of(exponent)
    return metrics
