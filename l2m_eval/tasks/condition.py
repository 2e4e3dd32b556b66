"""``l2m_condition`` and its siblings: the bipartite curves, and whether the model's state can carry them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from l2m_eval.condition.measured import MeasuredState
from l2m_eval.condition.verdict import SATISFIED, VIOLATED, Verdict
from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState, state_growth
from l2m_eval.measurements.bipartite import measured_cells
from l2m_eval.measurements.condition import ConditionRequest
from l2m_eval.results.check import (
    Check,
    Reference,
    check_results,
    measured_state_named,
    reference_named,
    results_to_check,
)
from l2m_eval.results.run import DocumentRecords, Results, Run, model_label
from l2m_eval.settings import ConditionSettings
from l2m_eval.statistics.estimate import NORMAL_95
from l2m_eval.tasks.base import NAN, Metric
from l2m_eval.tasks.bipartite import BipartiteTask, zero_padded

_OF_THE_CHECK = ("l2m_margin", "l2m_satisfied", "l2m_horizon", "state_exponent")


class ConditionTask(BipartiteTask):
    """One class, different YAML."""

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
    def measured_state(self) -> MeasuredState | None:
        """What smaller states of the model keep, where the setting `state_results` names results of that."""
        name = self.settings.state_results
        return measured_state_named(name) if name else None

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
            lengths = sorted({cell.total for cell in measured_cells(record)})
        return own | dict.fromkeys([*_OF_THE_CHECK, *(f"state_size@{n}" for n in zero_padded(lengths))], NAN)

    def has_standard_error(self, name: str) -> bool:
        if self.saved is not None and name in self.saved.metrics and name not in self.saved.errors:
            return False
        return super().has_standard_error(name) and not name.startswith(("state_", "l2m_satisfied"))

    def direction(self, name: str) -> bool | None:
        return True if name in ("l2m_margin", "l2m_satisfied", "l2m_horizon") else super().direction(name)

    def measure(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any]]:
        metrics, block, measured = self._curves_and_results(docs, records)
        stored = next(record["state"] for record in records if "state" in record)
        state = replace(HistoryState.from_json(stored), model=self.model_name)
        checks = self._checks(measured, state)
        verdict = checks[0].verdict
        metrics |= check_metrics(verdict)
        metrics["state_exponent"] = Metric(state_growth(state).asymptotic_exponent)
        lengths = sorted({int(n) for curve in measured.bipartite for n in curve.lengths})
        for name, size in zip(zero_padded(lengths), state.elements_at(lengths), strict=True):
            metrics[f"state_size@{name}"] = Metric(float(size))
        return metrics, {
            **block,
            "schema": self.kind.schema,
            "state": state.to_json(),
            "check": verdict.to_json(),
            "capability": checks[1].verdict.to_json() if len(checks) > 1 else None,
            "reference": checks[0].reference,
        }

    def _curves_and_results(
        self, docs: Sequence[dict[str, Any]], records: Sequence[dict[str, Any]]
    ) -> tuple[dict[str, Metric], dict[str, Any], Results]:
        """The curves' metrics and block, and the curves as what is checked."""
        if self.saved is not None:
            return *self._taken(self.saved), self.saved
        curves = self.curves(docs, records)
        block = self.block_of(curves, records)
        measured = Results(
            run=Run.unsaved(self.model_name),
            task=self.task_name,
            kind=self.kind.curves,
            schema=self.kind.schema,
            settings=block["settings"],
            sample=block["sample"],
            versions={},
            warnings=(),
            metrics={},
            errors={},
            bipartite=tuple(curves),
            documents=DocumentRecords(Path(), tuple(docs), tuple(records)),
        )
        return self.metrics_of(curves, records), block, measured

    def _taken(self, saved: Results) -> tuple[dict[str, Metric], dict[str, Any]]:
        """Metrics and block of saved results."""
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

    def _checks(self, measured: Results, state: HistoryState) -> list[Check]:
        """The verdicts; if a check is impossible, a verdict that says why, since the curves were measured."""
        measured = replace(measured, run=replace(measured.run, model=self.model_name))
        curve = self.settings.check_curve
        checks: list[Check] = []
        for part in ("state", "capability"):
            if part == "capability" and not isinstance(self.reference, Results):
                continue
            try:
                checks += check_results(
                    measured,
                    state=state,
                    reference=self.reference,
                    curve=curve,
                    nats_per_element=self.settings.nats_per_element,
                    only=part,
                    measured=self.measured_state,
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
        return "the model" if given is None else model_label(str(given))


def check_metrics(verdict: Verdict) -> dict[str, Metric]:
    """``l2m_margin``, ``l2m_satisfied`` (1, 0, or NaN where open) and ``l2m_horizon`` (tokens, inf for never)."""
    numbers = verdict.numbers
    margin = Metric(numbers.get("margin", NAN), numbers.get("margin_error", NAN))
    reached = numbers.get("horizon")
    length, error = NAN, NAN
    if reached is not None:
        length, (low, high) = reached["length"], reached["interval"]
        if math.isfinite(low) and math.isfinite(high):
            error = (high - low) / (2 * NORMAL_95)
    return {
        "l2m_margin": margin,
        "l2m_satisfied": Metric({SATISFIED: 1.0, VIOLATED: 0.0}.get(verdict.status, NAN)),
        "l2m_horizon": Metric(length, error),
    }
