"""Ways to make a history state smaller, by name: what a model still predicts behind it is measured by ``l2m_state``.

A way is a function of a state: `SmallerState.of` takes the cache that a model returned and gives one that is smaller,
together with the bits that it really keeps, scales included; the cache it was made from stays as it is. A new way is
a frozen dataclass with `name`, `family`, `amount` and `of`, and a line in `WAYS`. Importing this package imports
neither torch nor transformers.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any

from l2m_eval.errors import L2MError, shown
from l2m_eval.history_state.smaller.evicted import Window
from l2m_eval.history_state.smaller.pressed import Pressed
from l2m_eval.history_state.smaller.quantised import LIBRARIES, Quantised
from l2m_eval.history_state.smaller.rounded import FEWEST_BITS, MOST_BITS, Rounded
from l2m_eval.history_state.smaller.way import FULL, Context, Full, SmallerState, Way

__all__ = [
    "FULL",
    "WAYS",
    "Context",
    "Full",
    "Pressed",
    "Quantised",
    "Rounded",
    "SmallerState",
    "Way",
    "Window",
    "require_libraries",
    "way_named",
]

_LARGEST = 2**26  # tokens; above it the number is a slip of the pen


def _rounded(name: str, number: str) -> Way:
    return Rounded(_between(name, number, FEWEST_BITS, MOST_BITS, "bits"))


def _window(name: str, number: str) -> Way:
    return Window(_between(name, number, 1, _LARGEST, "tokens"))


def _window_with_sinks(name: str, sinks: str, number: str) -> Way:
    return Window(
        _between(name, number, 1, _LARGEST, "tokens"), _between(name, sinks, 0, _LARGEST, "first tokens")
    )


def _context(name: str, number: str) -> Way:
    return Context(_between(name, number, 1, _LARGEST, "tokens"))


def _quantised(name: str, library: str, number: str) -> Way:
    possible = LIBRARIES[library][0]
    if int(number) not in possible:
        bits = ", ".join(map(str, possible))
        raise L2MError(f"{name} is out of range; {library} has {bits} bits")
    return Quantised(int(number), library)


def _pressed(_name: str, press: str, ratio: str) -> Way:
    return Pressed(press, 100 - round(100 * float(ratio)))


# How the names of each kind are written, an example, and what makes a way of the numbers in them.
WAYS: tuple[tuple[re.Pattern[str], str, Callable[..., Way]], ...] = (
    (re.compile(r"bits(\d{1,12})"), "bits4", _rounded),
    (re.compile(r"window(\d{1,12})"), "window256", _window),
    (re.compile(r"sinks(\d{1,12})\+window(\d{1,12})"), "sinks4+window256", _window_with_sinks),
    (re.compile(r"context(\d{1,12})"), "context256", _context),
    (re.compile(r"(quanto|hqq)(\d{1,12})"), "quanto4", _quantised),
    (re.compile(r"kvpress:([a-z][a-z0-9_]{0,40}):(0(?:\.\d{1,2})?)"), "kvpress:snapkv:0.5", _pressed),
)


def way_named(setting: str, value: Any) -> Way:
    """The way of a name such as ``bits4``, ``window256``, ``sinks4+window256`` or ``context256``.

    Args:
        setting: Name of the setting that the name stands in, for messages.
        value: The name.

    Raises:
        L2MError: no such way, with the nearest name, or a number out of range.
    """
    if not isinstance(value, str):
        raise L2MError(f"{setting}: {shown(value)} is not accepted; give names such as {_examples()}")
    for pattern, _, make in WAYS:
        found = pattern.fullmatch(value.strip())
        if found:
            return make(f"{setting}: {shown(value)}", *found.groups())
    examples = [example for _, example, _ in WAYS]
    near = difflib.get_close_matches(value[:100], examples, n=1, cutoff=0.5)
    hint = f" (nearest: {near[0]})" if near else ""
    raise L2MError(
        f"{setting}: {shown(value)} is no way to make a state smaller{hint}; accepted: {_examples()}"
    )


def require_libraries(ways: Iterable[Way]) -> None:
    """Whether the libraries are installed that these ways need.

    Raises:
        L2MError: one is not; with the extra that installs it.
    """
    for way in ways:
        if isinstance(way, (Quantised, Pressed)):
            way.require_library()


def _examples() -> str:
    return ", ".join(example for _, example, _ in WAYS)


def _between(name: str, number: str, low: int, high: int, unit: str) -> int:
    if not low <= int(number) <= high:
        raise L2MError(
            f"{name} is out of range; {int(number):,} {unit}, where {low:,} to {high:,} are possible"
        )
    return int(number)
