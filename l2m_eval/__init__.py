"""Mutual-information scaling of language models, as lm-evaluation-harness tasks.

Importing this package imports nothing heavy: the interpreter's start-up passes through here
(see `l2m_eval._autoregister`). The names in `__all__` are imported when they are first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, whose import would be most of the start-up's cost
if TYPE_CHECKING:
    from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "load_results": "l2m_eval.results.load",
    "plot_bipartite": "l2m_eval.report.figures.curves",
    "plot_fit_residuals": "l2m_eval.report.figures.shapes",
    "plot_kept_information": "l2m_eval.report.figures.smaller_state",
    "plot_kl": "l2m_eval.report.figures.kl",
    "plot_mi_against_state": "l2m_eval.report.figures.condition",
    "plot_needed_state": "l2m_eval.report.figures.smaller_state",
    "plot_position_nll": "l2m_eval.report.figures.curves",
    "plot_state_against_law": "l2m_eval.report.figures.condition",
    "plot_two_point": "l2m_eval.report.figures.curves",
}
__all__ = [
    "__version__",
    "load_results",
    "plot_bipartite",
    "plot_fit_residuals",
    "plot_kept_information",
    "plot_kl",
    "plot_mi_against_state",
    "plot_needed_state",
    "plot_position_nll",
    "plot_state_against_law",
    "plot_two_point",
]


def __getattr__(name: str) -> Any:
    """A public name, from the module it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
