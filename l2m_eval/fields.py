"""Readers of one setting each: they check a value and return it as the rest of the package uses it.

A settings class is a frozen dataclass whose fields carry their readers (`setting`), so that each value is checked
in one place and every mistake is one line that names the setting, the value and what is accepted.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, fields
from typing import Any

from l2m_eval.errors import L2MError, shown

Reader = Callable[[str, Any], Any]

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]{1,40}")  # Python reads no more than some thousand digits
LARGEST_LENGTH = 2**26  # tokens; above it the setting is a typing error rather than a wish
AUTO = "auto"  # the powers of two up to the model's context


def setting(default: Any, read: Reader) -> Any:
    """A dataclass field with its default and its reader."""
    return field(default=default, metadata={"read": read})


def readers(kind: type) -> dict[str, Reader]:
    """The readers of a settings class by the names of its fields; fields without one are left out."""
    return {f.name: f.metadata["read"] for f in fields(kind) if "read" in f.metadata}


def integer(low: int, high: int = LARGEST_LENGTH) -> Reader:
    def read(name: str, value: Any) -> int:
        number = value
        if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value.strip()):
            number = int(value)
        if isinstance(value, float) and value.is_integer():
            number = int(value)
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise L2MError(
                f"{name}: {shown(value)} is not accepted; give an integer from {low:,} to {high:,}"
            )
        return number

    return read


def choice(*accepted: str) -> Reader:
    def read(name: str, value: Any) -> str:
        if value is None and "none" in accepted:
            return "none"  # YAML writes none as null
        if value not in accepted:
            near = difflib.get_close_matches(value[:100], accepted, n=1) if isinstance(value, str) else []
            hint = f" (nearest: {near[0]})" if near else ""
            raise L2MError(f"{name}: {shown(value)} is not known{hint}; accepted: {', '.join(accepted)}")
        return str(value)

    return read


def flag(name: str, value: Any) -> bool:
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    if not isinstance(value, bool):
        raise L2MError(f"{name}: {shown(value)} is not accepted; give true or false")
    return value


def several(read_one: Reader) -> Reader:
    """A non-empty list without repetitions; a single value and ``"a,b"`` are accepted as lists."""

    def read(name: str, value: Any) -> tuple[Any, ...]:
        if isinstance(value, str):
            value = [part.strip() for part in value.strip("[]").split(",") if part.strip()]
        elif isinstance(value, (int, float)):
            value = [value]
        if not isinstance(value, Sequence) or len(value) == 0:
            raise L2MError(f"{name}: {shown(value)} is not accepted; give a non-empty list")
        items = [read_one(name, item) for item in value]
        if len(set(items)) < len(items):
            raise L2MError(f"{name}: {shown(list(value))} repeats a value; give each once")
        return tuple(items)

    return read


def increasing(read_one: Reader) -> Reader:
    read_list = several(read_one)
    return lambda name, value: tuple(sorted(read_list(name, value)))


def token_counts(low: int) -> Reader:
    """Increasing numbers of tokens: a list, ``"4:131072"`` for the powers of two in that range, or `AUTO`."""
    read_list = increasing(integer(low))

    def read(name: str, value: Any) -> tuple[int, ...] | str:
        if isinstance(value, str) and value.strip().lower() == AUTO:
            return AUTO
        if not isinstance(value, str) or not (":" in value or any(map(str.isalpha, value))):
            numbers: tuple[int, ...] = read_list(name, value)
            return numbers
        ends = [part.strip() for part in value.split(":")]
        if len(ends) == 2 and all(_WHOLE_NUMBER.fullmatch(end) for end in ends):
            first, last = (integer(low)(name, end) for end in ends)
            powers = tuple(2**k for k in range(LARGEST_LENGTH.bit_length()) if first <= 2**k <= last)
            if powers:
                return powers
        raise L2MError(
            f"{name}: {shown(value)} is not accepted; give FIRST:LAST with a power of two between them, for example "
            "4:131072, a list, or auto for the powers of two up to the model's context"
        )

    return read


def per_length(read_one: Reader, *words: str) -> Reader:
    """One of some words, one value for all lengths, or a table of lengths and their values."""

    def read(name: str, value: Any) -> Any:
        if value in words if isinstance(value, str) else value is None:
            return words[0] if value is None else value
        if isinstance(value, Mapping) and value:
            return {integer(1)(name, length): read_one(name, one) for length, one in value.items()}
        try:
            return read_one(name, value)
        except L2MError as error:
            named = ", ".join(f'"{word}"' for word in words)
            raise L2MError(f'{error}, {named}, or a table of lengths, for example {{"64": 4}}') from None

    return read


def optional(read_one: Reader) -> Reader:
    return lambda name, value: None if value is None else read_one(name, value)


def number(low: float, high: float, *, low_included: bool = False, high_included: bool = False) -> Reader:
    """Reader of a real setting in an interval; strings from a command line are accepted."""

    def read(name: str, value: Any) -> float:
        number = _real(value)
        above = number >= low if low_included else number > low
        below = number <= high if high_included else number < high
        if not (above and below):
            raise L2MError(
                f"{name}: {shown(value)} is not accepted; give a number {'from' if low_included else 'above'} "
                f"{low:g} {'to' if high_included else 'and below'} {high:g}"
            )
        return number

    return read


def positive(name: str, value: Any) -> float:
    number = _real(value)
    if not 0 < number < math.inf:
        raise L2MError(f"{name}: {shown(value)} is not accepted; give a number above zero")
    return number


def share(name: str, value: Any) -> float:
    """A part of a whole: above zero and below one."""
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 < number < 1:
        raise L2MError(f"{name}: {shown(value)} is not accepted; give a number above 0 and below 1")
    return number


def text(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise L2MError(f"{name}: {shown(value)} is not accepted; give a non-empty string")
    return value


def _real(value: Any) -> float:
    """The value as a number; NaN where it is none, which is in no interval."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
