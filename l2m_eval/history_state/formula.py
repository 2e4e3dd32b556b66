"""History states that a user states: a formula, a table or a constant, checked and echoed.

Formulas are parsed with Python's own grammar and computed here, node by node; nothing is ever executed.
"""

from __future__ import annotations

import ast
import contextlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from l2m_eval.errors import L2MError, shown
from l2m_eval.history_state.state import STATED, HistoryState, LayerState

# Sizes above this are not exact as floating-point numbers, and no state comes near it.
LARGEST_SIZE = 2**53
LONGEST_FORMULA, DEEPEST_FORMULA = 500, 40
# A formula is looked at up to here to see how it grows; eight lengths an octave keep interpolation within 0.1 %.
FARTHEST, PER_OCTAVE = 2**40, 8

_BINARY: dict[type[ast.operator], tuple[str, Callable[[Any, Any], Any]]] = {
    ast.Add: ("+", lambda a, b: a + b),
    ast.Sub: ("-", lambda a, b: a - b),
    ast.Mult: ("*", lambda a, b: a * b),
    ast.Div: ("/", lambda a, b: a / b),
    ast.FloorDiv: ("//", lambda a, b: a // b),
    ast.Mod: ("%", lambda a, b: a % b),
    ast.Pow: ("**", lambda a, b: _power(a, b)),
}
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "min": min,
    "max": max,
    "floor": math.floor,
    "ceil": math.ceil,
    "sqrt": math.sqrt,
    "log": math.log,
    "log2": math.log2,
}
_ACCEPTED = "numbers, L, named constants, + - * / // % **, parentheses, min max floor ceil sqrt log log2"
_SETTINGS = ("formula", "table", "constant", "bits", "name")


@dataclass(frozen=True)
class StateStatement:
    """A checked statement of dim z(L), in elements; exactly one of formula, table and constant is given.

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
        """The statement, as understood."""
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
            return _evaluate(self.formula, dict(self.constants), length)
        known = [n for n, _ in self.table]
        if not known[0] <= length <= known[-1]:
            raise L2MError(
                f"lengths: {length} is outside the stated table; it gives sizes from {known[0]} to {known[-1]} tokens"
            )
        return round(float(np.interp(length, known, [size for _, size in self.table])))


def parse_statement(statement: Mapping[str, Any]) -> StateStatement:
    """Check what a user states about a history state.

    ``{"formula": "2*layers*kv_heads*head_dim*L", "layers": 32, "kv_heads": 8, "head_dim": 128}``,
    ``{"table": {1024: 4194304, 2048: 8388608}}`` or ``{"constant": 3145728}``; optionally ``bits`` per element
    (16 unless given) and ``name``. Every other entry is a named constant of the formula.

    Raises:
        L2MError: naming the entry, its value and what is accepted.
    """
    if not isinstance(statement, Mapping):
        raise L2MError(
            f"state: {shown(statement)} is no statement; give a mapping with formula, table or constant"
        )
    given = [key for key in ("formula", "table", "constant") if statement.get(key) is not None]
    if len(given) != 1:
        found = " and ".join(given) if given else "none of them"
        raise L2MError(f"state: {found} given; give exactly one of formula, table and constant")
    bits = _number("bits", statement.get("bits", 16))
    if not 0 < bits <= 128:
        raise L2MError(
            f"bits: {shown(statement['bits'])} is no precision; give the bits of an element, above 0 up to 128"
        )
    others = {str(key): value for key, value in statement.items() if key not in _SETTINGS}
    name = str(statement.get("name") or "stated")
    formula = statement["formula"] if given == ["formula"] else None
    if formula is None and others:
        raise L2MError(
            f"state: unknown entry {shown(next(iter(others)))}; accepted beside {given[0]}: bits, name"
        )
    if formula is not None:
        return StateStatement(*_checked_formula(formula, others), (), None, bits, name)
    if given == ["constant"]:
        return StateStatement(None, (), (), _whole("constant", statement["constant"]), bits, name)
    return StateStatement(None, (), _checked_table(statement["table"]), None, bits, name)


def stated_history_state(
    statement: StateStatement | Mapping[str, Any], lengths: Sequence[int], *, name: str = ""
) -> HistoryState:
    """History state as stated, at the lengths and as far beyond as the statement reaches.

    Raises:
        L2MError: as `parse_statement`, or a length where the statement gives no size.
    """
    stated = statement if isinstance(statement, StateStatement) else parse_statement(statement)
    asked = _checked_lengths(lengths)
    at_lengths = np.array([stated.elements_at(n) for n in asked], np.int64)
    probes = {n: int(size) for n, size in zip(asked, at_lengths, strict=True)}
    for n in _probe_lengths(stated):
        # Beyond the lengths asked for a formula may overflow or leave its domain: it is then known up to there.
        with contextlib.suppress(L2MError):
            probes[n] = stated.elements_at(n)
    end = _saturation(stated, probes)
    if end is not None and end not in probes:
        probes[end] = stated.elements_at(end)
    known = np.array(sorted(probes), np.int64)
    sizes = np.array([probes[int(n)] for n in known], np.int64)
    slope = (sizes[-1] - sizes[-2]) / (known[-1] - known[-2]) if end is None and len(known) > 1 else 0.0
    largest = int(sizes[-1]) if end is not None else None
    return HistoryState(
        model=name or stated.name,
        source=STATED,
        lengths=np.array(asked, np.int64),
        kinds=("stated",),
        elements=at_lengths[None, :],
        bits=_bits(at_lengths, stated.bits)[None, :],
        probe_lengths=known,
        probe_elements=sizes[None, :],
        probe_bits=_bits(sizes, stated.bits)[None, :],
        layers=(LayerState(None, "stated", float(slope), largest, end, f"{stated.bits:g} bits"),),
        notes=(str(stated),),
    )


def _bits(sizes: Any, bits: float) -> Any:
    return np.array([round(int(size) * bits) for size in sizes], np.int64)


def _probe_lengths(stated: StateStatement) -> list[int]:
    if stated.table:
        return [length for length, _ in stated.table]
    octaves = int(math.log2(FARTHEST))
    grid = {round(2 ** (step / PER_OCTAVE)) for step in range(octaves * PER_OCTAVE - 1)}
    # The last three lie an octave apart, where the growth in the end is read.
    return sorted({n for n in grid if n < FARTHEST // 4} | {FARTHEST // 4, FARTHEST // 2, FARTHEST})


def _saturation(stated: StateStatement, probes: dict[int, int]) -> int | None:
    """The length from which the size no longer changes, by bisection between probes."""
    known = sorted(probes)
    final = probes[known[-1]]
    if stated.constant is not None:
        return 1
    if len(known) < 3 or any(probes[n] != final for n in known[-3:]):
        return None
    low, high = 0, next(n for i, n in enumerate(known) if all(probes[m] == final for m in known[i:]))
    below = [n for n in known if n < high]
    if below:
        low = below[-1]
    if stated.table:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if stated.elements_at(middle) == final else (middle, high)
    return high


# --- checking ---------------------------------------------------------------------------------------------------


def _checked_formula(formula: Any, constants: dict[str, Any]) -> tuple[str, tuple[tuple[str, float], ...]]:
    if not isinstance(formula, str) or not formula.strip():
        raise L2MError(f"formula: {shown(formula)} is no formula; give an expression of {_ACCEPTED}")
    values = {}
    for name, value in constants.items():
        if name == "L" or not name.isidentifier() or name in FUNCTIONS:
            raise L2MError(
                f"{name}: cannot name a constant; give a plain name other than L and {', '.join(FUNCTIONS)}"
            )
        values[name] = _number(name, value)
    tree = _parse(formula)
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - set(FUNCTIONS)
    unused = [name for name in values if name not in used]
    if unused:
        raise L2MError(
            f"{unused[0]}: not in the formula {_short(formula)}; accepted beside it: its own names "
            f"({', '.join(sorted(used - {'L'})) or 'it has none'}), bits, name"
        )
    _compute(tree.body, {**values, "L": 1}, formula, 0)  # unknown names and nodes show at any length
    return " ".join(formula.split()), tuple(values.items())


def _checked_table(table: Any) -> tuple[tuple[int, int], ...]:
    if not isinstance(table, Mapping) or not table:
        raise L2MError(
            f"table: {shown(table)} is no table; give a mapping of lengths to elements, for example {{1024: 65536}}"
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
        raise L2MError(f"lengths: {shown(lengths)} are no numbers of tokens; give whole numbers") from error
    values = {_whole("lengths", value) for value in given}
    if not values or min(values) < 1 or max(values) > FARTHEST:
        raise L2MError(
            f"lengths: {shown(sorted(values))} are no numbers of tokens; give whole numbers from 1 to 2^40"
        )
    return tuple(sorted(values))


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise L2MError(f"{name}: {shown(value)} is no number; give a finite number")
    if abs(value) > LARGEST_SIZE or not math.isfinite(value):
        raise L2MError(f"{name}: {shown(value)} is out of range; give a finite number up to 2^53")
    return value


def _whole(name: str, value: Any) -> int:
    number = _number(name, value)
    if number < 0 or number != int(number):
        raise L2MError(f"{name}: {shown(value)} is no size; give a whole number from 0 to 2^53")
    return int(number)


# --- computing --------------------------------------------------------------------------------------------------


def _evaluate(formula: str, constants: dict[str, float], length: int) -> int:
    value = _compute(_parse(formula).body, {**constants, "L": length}, formula, 0)
    if value < 0:
        raise L2MError(
            f"formula: {_short(formula)} is {value:,.6g} at L = {length}; a size cannot be negative"
        )
    if value > LARGEST_SIZE:
        raise L2MError(f"formula: {_short(formula)} overflows at L = {length}; sizes up to 2^53 are accepted")
    return round(value)


def _parse(formula: str) -> ast.Expression:
    if len(formula) > LONGEST_FORMULA:
        raise L2MError(f"formula: {len(formula)} characters; give at most {LONGEST_FORMULA}")
    try:
        return ast.parse(formula.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError) as error:
        raise L2MError(f"formula: {_short(formula)} is no expression; give one of {_ACCEPTED}") from error


def _compute(node: ast.expr, names: dict[str, float], formula: str, depth: int) -> float:
    """The value of one node; every intermediate value is finite and of moderate size."""
    if depth > DEEPEST_FORMULA:
        raise L2MError(
            f"formula: {_short(formula)} is nested too deeply; give at most {DEEPEST_FORMULA} levels"
        )

    def refuse(what: str) -> NoReturn:
        raise L2MError(f"formula: {what} in {_short(formula)} is not accepted; give {_ACCEPTED}")

    value: Any
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
            refuse(repr(node.value)[:40])
        value = node.value
    elif isinstance(node, ast.Name):
        if node.id not in names:
            known = ", ".join(sorted(names))
            raise L2MError(
                f"formula: unknown name {node.id!r} in {_short(formula)}; give its value, or use {known}"
            )
        value = names[node.id]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.UAdd, ast.USub)):
        operand = _compute(node.operand, names, formula, depth + 1)
        value = -operand if isinstance(node.op, ast.USub) else operand
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        symbol, operation = _BINARY[type(node.op)]
        left = _compute(node.left, names, formula, depth + 1)
        right = _compute(node.right, names, formula, depth + 1)
        value = _tried(operation, (left, right), symbol, names["L"], formula)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FUNCTIONS:
        name = node.func.id
        wanted = 2 if name in ("min", "max") else 1
        starred = any(isinstance(a, ast.Starred) for a in node.args)
        if node.keywords or starred or len(node.args) < wanted or (wanted == 1 and len(node.args) > 1):
            refuse(f"{name} with these arguments")
        arguments = tuple(_compute(argument, names, formula, depth + 1) for argument in node.args)
        value = _tried(FUNCTIONS[name], arguments, name, names["L"], formula)
    else:
        refuse(type(node).__name__.lower())
    if isinstance(value, complex) or not _moderate(value):
        raise L2MError(
            f"formula: {_short(formula)} overflows or is undefined at L = {names['L']}; sizes up to 2^53 are accepted"
        )
    return value


def _tried(
    operation: Callable[..., Any], values: tuple[float, ...], symbol: str, length: float, formula: str
) -> Any:
    try:
        return operation(*values)
    except (ArithmeticError, ValueError) as error:
        raise L2MError(
            f"formula: {symbol} is undefined or overflows at L = {length} in {_short(formula)}; "
            "give a formula that is finite at every length"
        ) from error


def _power(base: float, exponent: float) -> Any:
    # Whole numbers have no largest value in Python: a tower of powers would never end.
    if abs(exponent) * math.log2(max(abs(base), 2)) > 1000:
        raise OverflowError
    return base**exponent


def _moderate(value: float) -> bool:
    return abs(value) < 1e200 if isinstance(value, int) else math.isfinite(value)


def _short(formula: str) -> str:
    text = " ".join(formula.split())
    return repr(text if len(text) <= 60 else text[:57] + "...")
