"""History states of the models of a report, where they are known, and the verdicts that follow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from l2m_eval.condition import ScalingLaw, Verdict
from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState
from l2m_eval.report.selection import Selection
from l2m_eval.report.shown import Shown
from l2m_eval.results import Results
from l2m_eval.saved_check import check_results, law_of, state_of
from l2m_eval.saved_curves import SavedBipartiteCurve

_LENGTHS = [2**k for k in range(21)]


def known_states(selection: Selection, given: Mapping[str, Any]) -> tuple[dict[str, HistoryState], list[str]]:
    """States by label: given ones, those that results carry, and those of models whose folder is at hand.

    Args:
        selection: The results.
        given: From labels to states, or to their names as `l2m_eval.history_state.sources` reads them.

    Returns:
        The states, and a line for each that could not be counted.

    Raises:
        L2MError: a given label that no model has, or a given state that makes no sense.
    """
    from l2m_eval.history_state.sources import named_history_state

    states: dict[str, HistoryState] = {}
    notices = []
    for label, state in given.items():
        if label not in selection.numbers:
            raise L2MError(
                f"state: no model is called {label!r} here; give one of {', '.join(selection.numbers)}"
            )
        if not isinstance(state, HistoryState):
            state = named_history_state(str(state), _LENGTHS, label=label)
        states[label] = state
    for one in selection.results:
        label = selection.labels[one]
        if label in states or not one.bipartite or not _at_hand(one):
            continue
        try:
            states[label] = state_of(one, one.bipartite[0].name)
        except L2MError as error:
            notices.append(f"{label}: {error}.")
    return states, notices


def law_of_curve(s: Shown[SavedBipartiteCurve]) -> ScalingLaw | None:
    """The fitted law of a curve; None where none could be fitted."""
    try:
        return law_of(s.results, s.curve.name) if s.results is not None else None
    except L2MError:
        return None


def verdict_on(
    s: Shown[SavedBipartiteCurve], state: HistoryState, reference: ScalingLaw | Results | None
) -> Verdict:
    """Theorem 5.4 for one model, by the reference's law or its own; an error becomes a verdict that says so."""
    try:
        if s.results is None:
            raise L2MError(f"state: {s.label} has no results to check")
        return check_results(s.results, state=state, reference=reference, curve=s.curve.name)[0].verdict
    except L2MError as error:
        return Verdict.of_error(error)


def _at_hand(results: Results) -> bool:
    """Whether the state is in the results or can be counted from a folder, without asking a hub."""
    source = results.run.model_args.get("pretrained")
    return results.block.get("state") is not None or (isinstance(source, str) and Path(source).is_dir())
