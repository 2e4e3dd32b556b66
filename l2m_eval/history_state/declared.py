"""History states that a user declares: a formula, a table or a constant, checked and echoed."""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from l2m_eval.errors import L2MError, shown
from l2m_eval.history_state.formula import checked_formula, evaluate, finite_number
from l2m_eval.history_state.state import DECLARED, HistoryState, LayerState

# A formula is looked at up to here to see how it grows; eight lengths an octave keep interpolation within 0.1 %.
FARTHEST, PER_OCTAVE = 2**40, 8
_SETTINGS = ("formula", "table", "constant", "bits", "name")


@dataclass(frozen=True)
class DeclaredState:
    """A checked declaration of dim z(L), in elements; exactly one of formula, table and constant is given.

    Attributes:
        formula: Expression in the length ``L`` and the named constants.
        constants: Values of the names in the formula.
        table: Pairs (length, elements), lengths increasing; between them sizes are interpolated linearly.
        constant: Elements at every length.
        bits: Bits in which an element is stored.
        name: What to call the model.
    """

    formula: str | None
    constants: tuple[tuple[str, float], ...]
    table: tuple[tuple[int, int], ...]
    constant: int | None
    bits: float
    name: str

    def __str__(self) -> str:
        """The declaration, as understood."""
        if self.formula is not None:
            given = ", ".join(f"{name} = {value:,.10g}" for name, value in self.constants)
            what = self.formula + (f" with {given}" if given else "")
        elif self.constant is not None:
            what = f"{self.constant:,} at every length"
        else:
            what = "; ".join(f"{size:,} at {length:,} tokens" for length, size in self.table)
        return f"dim z(L) = {what} (elements of {self.bits:g} bits)"

    def elements_at(self, length: int) -> int:
        """dim z after `length` tokens, rounded to whole elements.

        Raises:
            L2MError: the formula gives no finite, non-negative number there, or the table does not reach there.
        """
        if self.constant is not None:
            return self.constant
        if self.formula is not None:
            return evaluate(self.formula, dict(self.constants), length)
        known = [n for n, _ in self.table]
        if not known[0] <= length <= known[-1]:
            raise L2MError(
                f"lengths: {length} is outside the declared table, which gives sizes from {known[0]} to {known[-1]} "
                "tokens"
            )
        return round(float(np.interp(length, known, [size for _, size in self.table])))


def parse_declaration(declaration: Mapping[str, Any]) -> DeclaredState:
    """Check what a user declares of a history state.

    ``{"formula": "2*layers*kv_heads*head_dim*L", "layers": 32, "kv_heads": 8, "head_dim": 128}``,
    ``{"table": {1024: 4194304, 2048: 8388608}}`` or ``{"constant": 3145728}``; optionally ``bits`` per element
    (16 unless given) and ``name``. Every other entry is a named constant of the formula.

    Raises:
        L2MError: naming the entry, its value and what is accepted.
    """
    if not isinstance(declaration, Mapping):
        raise L2MError(
            f"state: {shown(declaration)} declares no state; give a mapping with formula, table or constant"
        )
    given = [key for key in ("formula", "table", "constant") if declaration.get(key) is not None]
    if len(given) != 1:
        found = " and ".join(given) if given else "none of them"
        raise L2MError(f"state: {found} given; give exactly one of formula, table and constant")
    bits = finite_number("bits", declaration.get("bits", 16))
    if not 0 < bits <= 128:
        raise L2MError(
            f"bits: {shown(declaration['bits'])} is not a precision; give the bits of an element, above 0 up to 128"
        )
    others = {str(key): value for key, value in declaration.items() if key not in _SETTINGS}
    name = str(declaration.get("name") or "declared")
    formula = declaration["formula"] if given == ["formula"] else None
    if formula is None and others:
        raise L2MError(
            f"state: unknown entry {shown(next(iter(others)))}; accepted beside {given[0]}: bits, name"
        )
    if formula is not None:
        return DeclaredState(*checked_formula(formula, others), (), None, bits, name)
    if given == ["constant"]:
        return DeclaredState(None, (), (), _whole("constant", declaration["constant"]), bits, name)
    return DeclaredState(None, (), _checked_table(declaration["table"]), None, bits, name)


def declared_history_state(
    declaration: DeclaredState | Mapping[str, Any], lengths: Sequence[int], *, name: str = ""
) -> HistoryState:
    """History state as declared, at the lengths and as far beyond as the declaration reaches.

    Raises:
        L2MError: as `parse_declaration`, or a length where it gives no size.
    """
    declared = declaration if isinstance(declaration, DeclaredState) else parse_declaration(declaration)
    asked = _checked_lengths(lengths)
    at_lengths = np.array([declared.elements_at(n) for n in asked], np.int64)
    probes = {n: int(size) for n, size in zip(asked, at_lengths, strict=True)}
    for n in _probe_lengths(declared):
        # Beyond the lengths asked for a formula may overflow or leave its domain: it is then known up to there.
        with contextlib.suppress(L2MError):
            probes[n] = declared.elements_at(n)
    end = _saturation(declared, probes)
    if end is not None and end not in probes:
        probes[end] = declared.elements_at(end)
    known = np.array(sorted(probes), np.int64)
    sizes = np.array([probes[int(n)] for n in known], np.int64)
    slope = (sizes[-1] - sizes[-2]) / (known[-1] - known[-2]) if end is None and len(known) > 1 else 0.0
    largest = int(sizes[-1]) if end is not None else None
    return HistoryState(
        model=name or declared.name,
        source=DECLARED,
        lengths=np.array(asked, np.int64),
        kinds=("declared",),
        elements=at_lengths[None, :],
        bits=_bits(at_lengths, declared.bits)[None, :],
        probe_lengths=known,
        probe_elements=sizes[None, :],
        probe_bits=_bits(sizes, declared.bits)[None, :],
        layers=(LayerState(None, "declared", float(slope), largest, end, f"{declared.bits:g} bits"),),
        notes=(str(declared),),
    )


def _bits(sizes: Any, bits: float) -> Any:
    return np.array([round(int(size) * bits) for size in sizes], np.int64)


def _probe_lengths(declared: DeclaredState) -> list[int]:
    if declared.table:
        return [length for length, _ in declared.table]
    octaves = int(math.log2(FARTHEST))
    grid = {round(2 ** (step / PER_OCTAVE)) for step in range(octaves * PER_OCTAVE - 1)}
    # The last three lie an octave apart, where the growth in the end is read.
    return sorted({n for n in grid if n < FARTHEST // 4} | {FARTHEST // 4, FARTHEST // 2, FARTHEST})


def _saturation(declared: DeclaredState, probes: dict[int, int]) -> int | None:
    """The length from which the size no longer changes, by bisection between probes."""
    known = sorted(probes)
    final = probes[known[-1]]
    if declared.constant is not None:
        return 1
    if len(known) < 3 or any(probes[n] != final for n in known[-3:]):
        return None
    low, high = 0, next(n for i, n in enumerate(known) if all(probes[m] == final for m in known[i:]))
    below = [n for n in known if n < high]
    if below:
        low = below[-1]
    if declared.table:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if declared.elements_at(middle) == final else (middle, high)
    return high


# --- checking ---------------------------------------------------------------------------------------------------


def _checked_table(table: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(table, Mapping) or not table:
        raise L2MError(
            f"table: {shown(table)} is not a table; give a mapping of lengths to elements, such as {{1024: 65536}}"
        )
    rows = {}
    for key, value in table.items():
        digits = isinstance(key, str) and re.fullmatch(r"[0-9]{1,13}", key.strip())  # JSON has no other keys
        length = _whole("table", int(key) if digits else key)
        if not 0 < length <= FARTHEST or length in rows:
            raise L2MError(
                f"table: length {shown(key)} is given twice or out of range; give whole numbers from 1 to 2^40, once"
            )
        rows[length] = _whole(f"table at {length}", value)
    return tuple(sorted(rows.items()))


def _checked_lengths(lengths: Sequence[int]) -> tuple[int, ...]:
    try:
        given = np.atleast_1d(np.asarray(lengths)).ravel().tolist()
    except (ValueError, OverflowError) as error:
        raise L2MError(f"lengths: {shown(lengths)} are not numbers of tokens; give whole numbers") from error
    values = {_whole("lengths", value) for value in given}
    if not values or min(values) < 1 or max(values) > FARTHEST:
        raise L2MError(
            f"lengths: {shown(sorted(values))} are not numbers of tokens; give whole numbers from 1 to 2^40"
        )
    return tuple(sorted(values))


def _whole(name: str, value: Any) -> int:
    number = finite_number(name, value)
    if number < 0 or number != int(number):
        raise L2MError(f"{name}: {shown(value)} is not a size; give a whole number from 0 to 2^53")
    return int(number)
