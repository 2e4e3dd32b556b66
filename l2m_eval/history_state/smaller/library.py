"""Libraries that some ways need: whether they are there, and which extra installs them."""

from __future__ import annotations

import importlib.util

from l2m_eval.errors import L2MError


def has_module(module: str) -> bool:
    """Whether a module can be imported, without importing it (its parents are)."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent
        return False


def require_module(way: str, module: str, extra: str, note: str = "") -> None:
    """Raise where a module is not installed.

    Args:
        way: Name of the way that needs it.
        module: Dotted name.
        extra: Of this package, which installs it.
        note: What else is to be known.

    Raises:
        L2MError: it is not there; with the command that installs it.
    """
    if not has_module(module):
        raise L2MError(
            f"states: {way} needs {module}, which is not installed; pip install 'l2m-eval[{extra}]'{note}"
        )
