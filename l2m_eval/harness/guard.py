"""Keeps errors of this package out of runs of other tasks.

Every function of ours that runs inside a call of the harness' own is called through `guarded`: if it fails, one
line says so and the harness goes on as though this package were not installed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from l2m_eval.errors import cause

T = TypeVar("T")
logger = logging.getLogger(__name__)
_said: set[str] = set()

NOT_REGISTERED = (
    "the l2m tasks are not registered with lm-eval ({reason}). "
    'Name their folder instead: --include_path "$(l2m-eval tasks)"'
)


def guarded(
    ours: Callable[[], T],
    otherwise: T,
    message: str = NOT_REGISTERED,
    meant: tuple[type[Exception], ...] = (),
) -> T:
    """The value of `ours`, or `otherwise` and one warning if it raises.

    Args:
        ours: What this package adds to a call of the harness.
        otherwise: What the harness has without it.
        message: The warning, with ``{reason}`` where the error is named.
        meant: Errors that are about a task of ours and are meant to stop its run.
    """
    try:
        return ours()
    except meant:
        raise
    except Exception as error:
        warn_once(message, error)
        return otherwise


def warn_once(message: str, reason: str | Exception) -> None:
    """Log a warning of this kind, in one line, the first time that there is reason for it in this process."""
    if message in _said:
        return
    _said.add(message)
    if isinstance(reason, Exception):
        reason = f"{type(reason).__name__}: {cause(reason)}"
    logger.warning("l2m-eval: %s", message.format(reason=reason))
