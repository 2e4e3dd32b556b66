"""The harness Task classes: documents → requests to a model → records → metrics."""

from l2m_eval.tasks.bipartite import BipartiteTask
from l2m_eval.tasks.condition import ConditionTask
from l2m_eval.tasks.context_use import ContextUseTask
from l2m_eval.tasks.generated import GeneratedTask
from l2m_eval.tasks.kl import KLTask
from l2m_eval.tasks.position import PositionTask
from l2m_eval.tasks.state import StateTask
from l2m_eval.tasks.two_point import TwoPointTask

__all__ = [
    "BipartiteTask",
    "ConditionTask",
    "ContextUseTask",
    "GeneratedTask",
    "KLTask",
    "PositionTask",
    "StateTask",
    "TwoPointTask",
]
