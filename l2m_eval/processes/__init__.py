"""Distributions over tokens whose mutual information is known exactly, by name."""

from __future__ import annotations

import difflib
from dataclasses import fields
from typing import Any

from l2m_eval.errors import L2MError, shown
from l2m_eval.processes.base import MonteCarlo, Process, TokenProcess, ValueProcess
from l2m_eval.processes.copy import Copy
from l2m_eval.processes.gaussian import Gaussian
from l2m_eval.processes.gaussian_recall import GaussianRecall
from l2m_eval.processes.limited_memory import LimitedMemory
from l2m_eval.processes.markov import HiddenMarkov, Markov
from l2m_eval.processes.recall import SantaFeRecall
from l2m_eval.processes.renewal import Renewal
from l2m_eval.processes.santa_fe import SantaFe
from l2m_eval.processes.tree import Tree
from l2m_eval.processes.words import WordTokenizer

__all__ = [
    "PROCESSES",
    "Copy",
    "Gaussian",
    "GaussianRecall",
    "HiddenMarkov",
    "LimitedMemory",
    "Markov",
    "MonteCarlo",
    "Process",
    "Renewal",
    "SantaFe",
    "SantaFeRecall",
    "TokenProcess",
    "Tree",
    "ValueProcess",
    "WordTokenizer",
    "make_process",
]

PROCESSES: dict[str, type[Process]] = {
    process.name: process
    for process in (
        SantaFe,
        SantaFeRecall,
        Markov,
        HiddenMarkov,
        Copy,
        Tree,
        Renewal,
        Gaussian,
        GaussianRecall,
    )
}


def make_process(name: str, /, **settings: Any) -> Process:
    """The process called `name`, with its settings; values may be strings, as a command line gives them.

    Raises:
        L2MError: no such process or setting (with the nearest names), or a value outside its range.
    """
    if not isinstance(name, str) or name not in PROCESSES:
        raise L2MError(
            f"process: {shown(name)} is not known{_nearest(name, PROCESSES)}; accepted: {', '.join(PROCESSES)}"
        )
    accepted = [field.name for field in fields(PROCESSES[name])]  # type: ignore[arg-type]
    for key, value in settings.items():
        if key not in accepted:
            raise L2MError(
                f"{key}: unknown setting of process {name} (value {shown(value)}){_nearest(key, accepted)}; "
                f"accepted: {', '.join(accepted)}"
            )
    return PROCESSES[name](**settings)


def _nearest(name: Any, accepted: Any) -> str:
    near = difflib.get_close_matches(str(name)[:100], list(accepted), n=2)
    return f" (nearest: {', '.join(near)})" if near else ""
