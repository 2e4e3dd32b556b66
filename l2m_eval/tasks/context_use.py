"""``l2m_context_use`` and its siblings: how much of the context before a block of text a model uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from l2m_eval.condition.effective_context import FEWEST_CLUSTERS
from l2m_eval.errors import L2MError
from l2m_eval.estimators.retention import context_needed
from l2m_eval.measurements.context_use import (
    ContextUse,
    ContextUseRequest,
    context_use,
    measured_contexts,
)
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.estimate import finite_or_none
from l2m_eval.tasks.base import NAN, ChunkTask, Metric, deviation, sample_block
from l2m_eval.tasks.bipartite import effective_metrics, zero_padded


class ContextUseTask(ChunkTask):
    """One class, different YAML."""

    def request(self, doc: Mapping[str, Any], measured: set[int]) -> ContextUseRequest:
        return ContextUseRequest(self.settings, self.chunk(doc), self.sample.longest)

    def own_terms(self, doc: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, float]:
        contexts = measured_contexts(record)
        names = ["effective_context", "effective_context_reached"]
        names += [f"context_needed@{share:g}" for share in self.settings.shares]
        points = zero_padded(contexts)[1:]
        names += [f"kept@{point}" for point in points]
        exact = self._exact_information(tuple(contexts), record["target"]) is not None
        if exact:
            names += [f"context_needed_exact@{share:g}" for share in self.settings.shares]
            names += [
                f"{name}@{point}"
                for name in ("information_exact", "information_deviation", "kept_exact")
                for point in points
            ]
        names += [f"information@{point}" for point in points]
        own = dict.fromkeys(names, NAN)
        for point, value in zip(
            points, record["log_probs"][1:], strict=False
        ):  # a short document has the shorter
            own[f"information@{point}"] = value - record["log_probs"][0]
        return own | {"tokens_scored": float(record["tokens_scored"])}

    def direction(self, name: str) -> bool | None:
        """More information, and more context used, is better; shares and contexts needed are neither."""
        return True if name.startswith(("information@", "effective_context")) else None

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        found = context_use(records, docs, self.settings, self.seed)
        curve, effective = found.curve, found.effective
        metrics = {
            **effective_metrics("effective_context", effective),
            "tokens_scored": Metric(float(np.mean([record["tokens_scored"] for record in records]))),
        }
        for share, needed in curve.needed.items():
            metrics[f"context_needed@{share:g}"] = Metric(needed.value, needed.standard_error)
        for i, point in enumerate(zero_padded(curve.contexts)):
            if i > 0:
                metrics[f"information@{point}"] = Metric(
                    float(curve.information[i]), float(curve.information_error[i])
                )
                metrics[f"kept@{point}"] = Metric(float(curve.kept[i]), float(curve.kept_error[i]))
        exact = self._exact_information(curve.contexts, found.target)
        if exact is not None:
            metrics.update(self._against_exact(found, exact))
        self._warn(found)
        block = {
            "schema": self.kind.schema,
            "settings": {
                **self.settings_block(),
                "contexts": list(curve.contexts),
                "target": found.target,
            },
            "sample": sample_block(self.sample, len(records), "none"),
            **found.to_json(),
            "exact": None if exact is None else finite_or_none(exact.tolist()),
        }
        return metrics, block

    @cached_property
    def _exact(self) -> dict[tuple[tuple[int, ...], int], Array | None]:
        """Exact curves that were computed already: each document's terms ask for it."""
        return {}

    def _exact_information(self, contexts: tuple[int, ...], target: int) -> Array | None:
        """I(k; k + target) of a known process, (contexts,), nats; None where there is none."""
        if self.predictor is None:
            return None
        if (contexts, target) not in self._exact:
            try:
                self._exact[contexts, target] = np.array(
                    [self.predictor.bipartite_mi(k, k + target) if k else 0.0 for k in contexts]
                )
            except L2MError:
                self._exact[contexts, target] = None
        return self._exact[contexts, target]

    def _against_exact(self, found: ContextUse, exact: Array) -> dict[str, Metric]:
        curve, metrics = found.curve, {}
        for i, point in enumerate(zero_padded(curve.contexts)):
            if i > 0:
                metrics[f"information_exact@{point}"] = Metric(float(exact[i]))
                metrics[f"information_deviation@{point}"] = Metric(
                    deviation(float(curve.information[i]), float(exact[i]), float(curve.information_error[i]))
                )
                metrics[f"kept_exact@{point}"] = Metric(float(exact[i] / exact[-1]) if exact[-1] > 0 else NAN)
        for share in self.settings.shares:
            needed = context_needed(curve.contexts, exact, share)
            metrics[f"context_needed_exact@{share:g}"] = Metric(float(needed[0]))
        return metrics

    def _warn(self, found: ContextUse) -> None:
        effective = found.effective
        if effective.clusters < FEWEST_CLUSTERS:
            self.warn(f"context use: the model {effective.sentence()}")
            return
        if effective.falls_beyond is not None:
            self.warn(
                f"context use: reading more than {effective.falls_beyond:,} tokens reduces the model's information"
            )
        if all(np.isnan(needed.value) for needed in found.curve.needed.values()):
            self.warn(
                f"context use: {found.curve.contexts[-1]:,} tokens carry no detectable information for the "
                "model, so there is no information of which it could keep a share"
            )
