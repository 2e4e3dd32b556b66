"""History states of the models of a report, where they are known, and the verdicts that follow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from l2m_eval.condition import ScalingLaw, Verdict, check_model
from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState
from l2m_eval.report.shown import Shown, fit_replicates
from l2m_eval.saved_curves import SavedBipartiteCurve


def law_of(s: Shown[SavedBipartiteCurve], corpus: str) -> ScalingLaw | None:
    """The fitted law of a curve, with its resamples where the documents' records are at hand; None without a fit."""
    curve = s.curve
    if not (curve.amplitude.value > 0 and abs(curve.beta.value) < float("inf")):
        return None
    known = all(abs(end) < float("inf") for end in curve.beta.interval)
    replicates = fit_replicates(s.results, curve.name) if s.results is not None else None
    return ScalingLaw(
        curve.amplitude.value,
        curve.beta.value,
        f"{corpus}, measured with {s.label}, {curve.name}",
        exponent_interval=curve.beta.interval if known else None,
        amplitude_interval=curve.amplitude.interval if known else None,
        replicates=replicates,
        ratio=float(curve.ratio),
    )


def verdict_of(state: HistoryState, law: ScalingLaw) -> Verdict:
    """Theorem 5.4 for one model; an error becomes a verdict that says so."""
    try:
        return check_model(state, law)
    except L2MError as error:
        return Verdict.of_error(error)


def named_states(given: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, HistoryState]:
    """States by label, checked against the models of the report.

    Args:
        given: From labels to states, or to their names as `l2m_eval.history_state.sources` reads them.
        labels: Of the report's models.

    Raises:
        L2MError: a label that no model has, or as `l2m_eval.history_state.sources.named_history_state`.
    """
    from l2m_eval.history_state.sources import named_history_state

    found = {}
    for label, state in given.items():
        if label not in labels:
            raise L2MError(f"state: no model is called {label!r} here; give one of {', '.join(labels)}")
        if not isinstance(state, HistoryState):
            state = named_history_state(str(state), [2**k for k in range(21)], label=label)
        found[label] = state
    return found
