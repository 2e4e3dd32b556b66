"""History states of the models of a report, where they are known, and the verdicts that follow."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from l2m_eval.condition.law import ScalingLaw
from l2m_eval.condition.verdict import Verdict
from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState
from l2m_eval.measurements.curves import BipartiteCurve
from l2m_eval.report.contents import LabelledVerdict
from l2m_eval.report.labelled import Shown
from l2m_eval.report.selection import Selection
from l2m_eval.results.check import Reference, check_results, law_of, measured_state_for, state_of
from l2m_eval.results.comparable import corpus_in_words, distinct_curves
from l2m_eval.results.run import Results

_LENGTHS = [2**k for k in range(21)]


def known_states(selection: Selection, given: Mapping[str, Any]) -> tuple[dict[str, HistoryState], list[str]]:
    """States by label: given ones, those in results, and those of models whose folder exists.

    Args:
        selection: The results.
        given: From labels to states, or to their names as `l2m_eval.history_state.named` reads them.

    Returns:
        The states, and a line for each that could not be counted.

    Raises:
        L2MError: a given label that no model has, or a given state that makes no sense.
    """
    from l2m_eval.history_state.named import named_history_state

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


def law_of_curve(s: Shown[BipartiteCurve]) -> ScalingLaw | None:
    """The fitted law of a curve; None where none could be fitted."""
    try:
        return law_of(s.results, s.curve.name) if s.results is not None else None
    except L2MError:
        return None


def verdicts_on_states(
    selection: Selection,
    states: Mapping[str, HistoryState],
    given: Collection[str],
    reference: ScalingLaw | str | None,
) -> list[LabelledVerdict]:
    """Theorem 5.4 for every model whose state is known, as ``l2m-eval check`` says it; errors are verdicts, too.

    Args:
        selection: The results.
        states: By label.
        given: Labels of the states that the user named.
        reference: A law, or the label of the model whose law states are judged by; None for each its own, or for the
            verdict that its run recorded.
    """
    labels = {(one.run.path, one.task): label for one, label in selection.labels.items()}
    measured = [(labels[one.run.path, one.task], one) for one in distinct_curves(selection.results)]
    found = []
    for label, one in measured:
        curve = next((c.name for c in one.bipartite if c.name == "direct"), one.bipartite[0].name)
        recorded = reference is None and one.verdict is not None  # needs no state: it is shown as it was
        if label not in states and not recorded:
            continue
        try:
            judge: Reference | None
            if isinstance(reference, str):
                judge = _judge(one, [other for name, other in measured if name == reference], reference)
            else:
                judge = reference
            own, named = (None, states[label]) if label in given else (states.get(label), None)
            checks = check_results(
                one,
                state=named,
                own_state=own,
                reference=judge,
                curve=curve,
                only="state",
                measured=measured_state_for(one, selection.results),
            )
            found += [LabelledVerdict(label, check.verdict) for check in checks]
        except L2MError as error:
            found.append(LabelledVerdict(label, Verdict.of_error(error)))
    return found


def _judge(one: Results, candidates: Sequence[Results], name: str) -> Results:
    """The reference's results on the same corpus, or its only ones."""
    same = [other for other in candidates if corpus_in_words(other) == corpus_in_words(one)] or candidates
    if len(same) != 1:
        raise L2MError(
            f"reference: {name!r} has {len(same)} results with a curve; give a report on one corpus"
        )
    return same[0]


def _at_hand(results: Results) -> bool:
    """Whether the state is in the results or can be counted from a folder, without asking a hub."""
    source = results.run.model_args.get("pretrained")
    return results.block.get("state") is not None or (isinstance(source, str) and Path(source).is_dir())
