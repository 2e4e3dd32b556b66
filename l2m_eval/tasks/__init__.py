"""The harness Task classes: documents → requests to a model → records → metrics."""

from l2m_eval.tasks.bipartite import BipartiteTask

__all__ = ["BipartiteTask"]
