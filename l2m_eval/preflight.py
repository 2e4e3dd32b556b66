"""Checks of a task's settings and files that need no model, run before the harness loads one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check_task(kind: str, metadata: Mapping[str, Any]) -> None:
    """Raise `L2MError` for what can be known to be wrong with a task before a model is loaded.

    Args:
        kind: The task's class as its YAML names it; a user's own YAML over our class is checked like ours.
        metadata: Its YAML metadata with ``--metadata`` and the model's arguments merged in.
    """
    from l2m_eval.corpora import check_corpus
    from l2m_eval.settings import TASK_SETTINGS, ConditionSettings, TwoPointSettings, read_settings
    from l2m_eval.whole_documents import check_whole_documents

    for name, settings_class in TASK_SETTINGS.items():
        if kind.endswith(name):
            settings = read_settings(settings_class, metadata)
            if isinstance(settings, ConditionSettings):
                _check_condition(settings)
            elif isinstance(settings, TwoPointSettings):
                check_whole_documents(settings)
            else:
                check_corpus(settings, longest=settings.longest)


def _check_condition(condition: Any) -> None:
    """What a check rests on beside the model: documents or saved results, the reference, the stated state."""
    from l2m_eval.corpora import check_corpus
    from l2m_eval.history_state import history_state_size
    from l2m_eval.history_state.sources import state_source
    from l2m_eval.saved_check import reference_named, results_to_check

    if condition.results is None:
        check_corpus(condition, longest=condition.longest)
    else:
        results_to_check(condition.results, condition.check_curve)
    if condition.reference is not None:
        reference_named(condition.reference, curve=condition.check_curve)
    if condition.state is not None:
        stated = state_source(condition.state) if isinstance(condition.state, str) else condition.state
        if isinstance(stated, Mapping):
            history_state_size(stated, condition.wanted_lengths)
