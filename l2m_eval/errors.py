"""The one exception type that users see: one line that names the setting, the value and what would be right."""

from __future__ import annotations

import re
import reprlib

# Of a message; names and values in it may come from hostile files. Beyond it the middle is left out.
LONGEST_MESSAGE = 2000
# Line breaks of every kind, and what moves a terminal's cursor, recolours it or turns the reading direction.
_NOT_PRINTABLE = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


class L2MError(ValueError):
    """Bad input or an impossible measurement, described in one line.

    Whatever names and values went into the message, it stays one line: control characters are written as
    escapes, and the middle of a very long one is left out.

    On the command line the harness would print a traceback; the plugin prints the line alone
    (see `l2m_eval.harness.registration`). Set ``L2M_EVAL_TRACEBACK=1`` to see the traceback.
    """

    def __init__(self, message: str):
        line = _NOT_PRINTABLE.sub(lambda found: found.group().encode("unicode_escape").decode(), message)
        if len(line) > LONGEST_MESSAGE:
            line = f"{line[: LONGEST_MESSAGE // 2]} ... {line[-LONGEST_MESSAGE // 2 :]}"
        super().__init__(line)


def cause(error: BaseException) -> str:
    """The whole text of an exception in one line, since the cause often stands last; its type where it has none."""
    return str(L2MError(" ".join(str(error).split()))) or type(error).__name__


class _Shown(reprlib.Repr):
    """`repr` of bounded size: a file of a few lines can hold a value whose whole text would fill memory."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxdict = self.maxlist = self.maxtuple = 20
        self.maxstring = self.maxother = self.maxlong = 120

    def repr_int(self, x: int, level: int) -> str:
        # Python refuses to write whole numbers of thousands of digits
        return f"a whole number of {x.bit_length():,} bits" if abs(x) >= 10**100 else repr(x)


shown = _Shown().repr
"""A value for a message, much as `repr` writes it."""
