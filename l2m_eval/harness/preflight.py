"""Checks of a task's settings and files that need no model, run before the harness loads one."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from l2m_eval.settings import BipartiteSettings, ContextUseSettings

logger = logging.getLogger(__name__)


def check_task(kind: str, metadata: Mapping[str, Any]) -> None:
    """Raise `L2MError` for what can be known to be wrong with a task before a model is loaded.

    Args:
        kind: The task's class as its YAML names it; a user's own YAML over our class is checked like ours.
        metadata: Its YAML metadata with ``--metadata`` and the model's arguments merged in.
    """
    from l2m_eval.corpus.chunks import check_corpus
    from l2m_eval.corpus.whole_documents import check_whole_documents
    from l2m_eval.history_state.smaller import require_libraries
    from l2m_eval.settings import (
        BipartiteSettings,
        ConditionSettings,
        ContextUseSettings,
        StateSettings,
        TwoPointSettings,
        read_settings,
        task_kind,
    )

    settings = read_settings(task_kind(kind).settings, metadata)
    sizes = None
    if isinstance(settings, ConditionSettings):
        sizes = _check_condition(settings)
    elif isinstance(settings, TwoPointSettings):
        check_whole_documents(settings)
    else:
        sizes = check_corpus(settings, longest=settings.longest)
    if isinstance(settings, StateSettings):
        require_libraries(settings.ways)
    if isinstance(settings, ContextUseSettings):
        logger.warning("l2m-eval: %s", _cost_of_contexts(settings, sizes))
    if isinstance(settings, BipartiteSettings) and getattr(settings, "results", None) is None:
        logger.warning("l2m-eval: %s", cost_of_lengths(settings, sizes))


def cost_of_lengths(settings: BipartiteSettings, sizes: Sequence[int] | None) -> str:
    """What a bipartite measurement takes at most, and how many documents hold each length.

    Args:
        settings: Of the task.
        sizes: Bytes of the documents of the corpus, where they are known.
    """
    each, most, lengths = settings.tokens_read, settings.documents, settings.wanted_lengths
    found = "" if sizes is None else _documents_that_hold(settings, sizes, lengths)
    return (
        f"lengths {lengths[0]:,} to {lengths[-1]:,} take at most {each:,} tokens a document, {each * most:,} for "
        f"{most:,} documents (less where the model's context is shorter or the state of a prefix is shared){found}"
    )


def _cost_of_contexts(settings: ContextUseSettings, sizes: Sequence[int] | None) -> str:
    """What a measurement of context use takes at most, since nothing that is read serves two contexts."""
    each, most = settings.tokens_read, settings.documents
    totals = [context + settings.wanted_target for context in settings.wanted_contexts[1:]]
    found = "" if sizes is None else _documents_that_hold(settings, sizes, totals)
    return (
        f"context use: contexts up to {settings.wanted_contexts[-1]:,} tokens before {settings.wanted_target:,} take "
        f"at most {each:,} tokens a document, {each * most:,} for {most:,} documents (less where the model's context "
        f"is shorter){found}"
    )


def _documents_that_hold(
    settings: BipartiteSettings | ContextUseSettings, sizes: Sequence[int], totals: Sequence[int]
) -> str:
    """How many documents, of so many bytes, are long enough for each length, and which of them are measured."""
    from l2m_eval.corpus.chunks import documents_that_hold

    holding: dict[int, list[int]] = {}
    for total in totals:
        holding.setdefault(documents_that_hold(settings, sizes, total), []).append(total)
    told = (
        f"{count:,} hold {'all lengths up to ' if part[0] == totals[0] else ''}{part[-1]:,} tokens"
        for count, part in holding.items()
    )
    measured = "those that hold all are measured"
    if settings.short_documents == "keep":
        measured = f"{measured}, and if these are fewer than {settings.documents:,} chunks shorter ones, too"
    return f"; of {len(sizes):,} documents of the corpus {', '.join(told)}, {measured}"


def _check_condition(condition: Any) -> list[int] | None:
    """What a check rests on beside the model: documents or saved results, the reference, the declared state."""
    from l2m_eval.corpus.chunks import check_corpus
    from l2m_eval.history_state import history_state_size
    from l2m_eval.history_state.named import state_source
    from l2m_eval.results.check import measured_state_named, reference_named, results_to_check

    sizes = None
    if condition.results is None:
        sizes = check_corpus(condition, longest=condition.longest)
    else:
        results_to_check(condition.results, condition.check_curve)
    if condition.reference is not None:
        reference_named(condition.reference, curve=condition.check_curve)
    if condition.state_results is not None:
        measured_state_named(condition.state_results)
    if condition.state is not None:
        declared = state_source(condition.state) if isinstance(condition.state, str) else condition.state
        if isinstance(declared, Mapping):
            history_state_size(declared, condition.wanted_lengths)
    return sizes
