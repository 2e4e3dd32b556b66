"""The one exception type that users see: one line that names the setting, the value and what would be right."""

from __future__ import annotations


class L2MError(ValueError):
    """Bad input or an impossible measurement, described in one line.

    On the command line the harness would print a traceback; the plugin prints the line alone
    (see `l2m_eval.plugin`). Set ``L2M_EVAL_TRACEBACK=1`` to see the traceback.
    """
