"""``l2m_condition`` and its siblings: the bipartite curves, and whether the model's state can carry them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import PurePath
from typing import Any

from l2m_eval.condition import SATISFIED, VIOLATED, Verdict
from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState, state_growth
from l2m_eval.measurements.condition import ConditionRequest
from l2m_eval.results import Results, results_in_memory
from l2m_eval.saved_check import Check, Reference, check_results, reference_named, results_to_check
from l2m_eval.settings import ConditionSettings
from l2m_eval.tasks.base import NAN, Metric
from l2m_eval.tasks.bipartite import BipartiteTask, zero_padded

SCHEMA = "l2m-eval/condition/1"
_NORMAL_95 = 1.959963984540054
_OF_THE_CHECK = ("l2m_margin", "l2m_satisfied", "l2m_horizon", "state_exponent")


class ConditionTask(BipartiteTask):
    """One class, different YAML."""

    settings_class = ConditionSettings

    def __init__(self, config: Mapping[str, Any] | None = None) -> None:
        self._metadata = dict((config or {}).get("metadata") or {})
        super().__init__(config)

    # What it rests on

    @cached_property
    def saved(self) -> Results | None:
        """The results that the curves are taken from, where the setting `results` names some."""
        name = self.settings.results
        return results_to_check(name, self.settings.check_curve) if name else None

    @cached_property
    def reference(self) -> Reference | None:
        """The law, or the stronger model's results, that the setting `reference` names."""
        name = self.settings.reference
        return reference_named(name, curve=self.settings.check_curve) if name else None

    @cached_property
    def docs(self) -> list[dict[str, Any]]:
        if self.saved is None:
            return super().docs
        place = {"index": 0, "document": str(self.saved.run.path), "offset": 0, "begins": str(self.saved)}
        return [place | {"source": 0, "group": 0, "partners": [], "partner_index": []}]

    def request(self, doc: Mapping[str, Any], measured: set[int]) -> ConditionRequest:  # type: ignore[override]
        settings = self.settings
        if self.saved is not None:
            curve = self.saved.curve(settings.check_curve)
            lengths = {int(n) for length in curve.lengths for n in (length // curve.ratio, length)}
            return ConditionRequest(None, tuple(sorted(lengths)), settings.state, reads_state=True)
        bipartite = super().request(doc, measured)
        return ConditionRequest(bipartite, None, settings.state, reads_state=doc["index"] == min(measured))

    # Metrics

    def own_terms(self, doc: Mapping[str, Any], record: Mapping[str, Any]) -> dict[str, float]:
        if self.saved is not None:
            own = dict.fromkeys(self.saved.metrics, NAN)
            lengths = [int(n) for n in self.saved.curve(self.settings.check_curve).lengths]
        else:
            own = super().own_terms(doc, record)
            lengths = sorted({total for _, _, total in record["cells"]})
        return own | dict.fromkeys([*_OF_THE_CHECK, *(f"state_size@{n}" for n in zero_padded(lengths))], NAN)

    def has_standard_error(self, name: str) -> bool:
        if self.saved is not None and name in self.saved.metrics and name not in self.saved.errors:
            return False
        return super().has_standard_error(name) and not name.startswith(("state_", "l2m_satisfied"))

    def higher_is_better(self) -> dict[str, bool]:
        return {"l2m_margin": True, "l2m_satisfied": True, "l2m_horizon": True}

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        metrics, block = self._curves(docs, records)
        stored = next(record["state"] for record in records if "state" in record)
        state = replace(HistoryState.from_json(stored), model=self.model_name)
        checks = self._checks(block, docs, records, state)
        verdict = checks[0].verdict
        metrics |= check_metrics(verdict)
        metrics["state_exponent"] = Metric(state_growth(state).asymptotic_exponent)
        lengths = sorted({int(n) for curve in block["curves"] for n in curve["lengths"]})
        for name, size in zip(zero_padded(lengths), state.elements_at(lengths), strict=True):
            metrics[f"state_size@{name}"] = Metric(float(size))
        return metrics, {
            **block,
            "schema": SCHEMA,
            "state": state.to_json(),
            "check": verdict.to_json(),
            "capability": checks[1].verdict.to_json() if len(checks) > 1 else None,
            "reference": checks[0].reference,
        }

    def _curves(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        if self.saved is None:
            return super().measure(docs, records)
        saved = self.saved
        metrics = {name: Metric(value, saved.errors.get(name)) for name, value in saved.metrics.items()}
        if saved.run.label != self.model_name:
            self.warn(
                f"the curves of {saved.run.label} are checked against the state of {self.model_name}; for a stronger "
                "model's curves use the setting reference"
            )
        taken = {"results": str(saved.run.path), "settings": {**saved.settings, **self._own_settings()}}
        return metrics, {**saved.block, **taken}

    def _own_settings(self) -> dict[str, Any]:
        return {name: getattr(self.settings, name) for name in ConditionSettings.OF_THE_CHECK}

    def _checks(
        self,
        block: Mapping[str, Any],
        docs: Sequence[dict[str, Any]],
        records: Sequence[dict[str, Any]],
        state: HistoryState,
    ) -> list[Check]:
        """The verdicts; whatever stands in the way of one is a verdict that says so: the curves were measured."""
        measured = self.saved or results_in_memory(
            str(self.config.task), block, docs, records, self.model_name
        )
        curve = self.settings.check_curve
        checks: list[Check] = []
        for part in ("state", "capability"):
            if part == "capability" and not isinstance(self.reference, Results):
                continue
            try:
                checks += check_results(
                    replace(measured, run=replace(measured.run, model=self.model_name)),
                    state=state,
                    reference=self.reference,
                    curve=curve,
                    nats_per_element=self.settings.nats_per_element,
                    only=part,
                )
            except L2MError as error:
                self.warn(f"no check of the {part}: {error}")
                checks.append(Check(Verdict.of_error(error), self.model_name, "", curve, ""))
        return checks

    @cached_property
    def model_name(self) -> str:
        """The model's short name, from its arguments, which the harness merges into the metadata."""
        given = next(
            (self._metadata[key] for key in ("pretrained", "model", "process") if self._metadata.get(key)),
            None,
        )
        if given is None:
            return "the model"
        name = str(given)
        local = name.startswith(("/", ".", "~")) or name.count("/") > 1
        return PurePath(name).name if local else name


def check_metrics(verdict: Verdict) -> dict[str, Metric]:
    """``l2m_margin``, ``l2m_satisfied`` (1, 0, or NaN where open) and ``l2m_horizon`` (tokens, inf for never)."""
    numbers = verdict.numbers
    margin = Metric(numbers.get("margin", NAN), numbers.get("margin_error", NAN))
    reached = numbers.get("horizon")
    length, error = NAN, NAN
    if reached is not None:
        length, (low, high) = reached["length"], reached["interval"]
        if math.isfinite(low) and math.isfinite(high):
            error = (high - low) / (2 * _NORMAL_95)
    return {
        "l2m_margin": margin,
        "l2m_satisfied": Metric({SATISFIED: 1.0, VIOLATED: 0.0}.get(verdict.status, NAN)),
        "l2m_horizon": Metric(length, error),
    }
