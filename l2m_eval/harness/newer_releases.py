"""Differences between lm-eval 0.5 and 0.4, and which releases read entry points for tasks.

In 0.5 (tried: 0.5.0.dev1) a task owns `Scorer` objects, which keep what `process_results` gave for each document,
and aggregates by itself. `l2m_eval.harness.task` calls these functions; with 0.4 they find nothing to do.
"""

from __future__ import annotations

from typing import Any

# Releases that were tried and do not read entry points of the group lm_eval.tasks.
TRIED = ("0.4.10", "0.4.11", "0.4.12", "0.4.13", "0.5.0.dev1")


def scorers() -> list[Any]:
    """One scorer without filters or metrics of its own, to keep the documents' terms; none before 0.5."""
    try:
        from lm_eval.scorers import Scorer
    except ImportError:
        return []
    return [Scorer.from_dict({"name": "none", "filter": [], "metric_list": []})]


def log_answers_as_before(instances: list[Any]) -> None:
    """One answer for each request in the samples log, as 0.4 writes it, where 0.5 has a list of them."""
    for instance in instances:
        for name, answers in instance.filtered_resps.items():
            if isinstance(answers, list):
                instance.filtered_resps[name] = answers[0]


def columns(scorers: list[Any]) -> dict[str, list[Any]]:
    """What the documents of all ranks gave for each metric."""
    gathered: dict[str, list[Any]] = {}
    for scorer in scorers:
        for terms in scorer.reduced_docs.values():
            for name, term in terms.items():
                gathered.setdefault(name, []).append(term)
    return gathered


def task_index(manager: Any) -> Any:
    """The task manager's index of names; public up to 0.4.13."""
    return manager.task_index if hasattr(manager, "task_index") else manager._task_index


def is_untried(release: str) -> bool:
    """Whether a release may read entry points for tasks: whether it is none of those known not to."""
    return release not in TRIED
