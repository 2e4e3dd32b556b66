"""Formulas of a length, as users write them: checked and computed, never executed.

They are parsed with Python's own grammar and computed here, node by node.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from l2m_eval.errors import L2MError, shown

# Sizes above this are not exact as floating-point numbers, and no state comes near it.
LARGEST_SIZE = 2**53
LONGEST_FORMULA, DEEPEST_FORMULA = 500, 40

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


def checked_formula(formula: Any, constants: Mapping[str, Any]) -> tuple[str, tuple[tuple[str, float], ...]]:
    """A formula in L and named constants, with one space between its words, and the constants.

    Raises:
        L2MError: naming what is not accepted.
    """
    if not isinstance(formula, str) or not formula.strip():
        raise L2MError(f"formula: {shown(formula)} is not a formula; give an expression of {_ACCEPTED}")
    values = {}
    for name, value in constants.items():
        if name == "L" or not name.isidentifier() or name in FUNCTIONS:
            raise L2MError(
                f"{name}: cannot name a constant; give a plain name other than L and {', '.join(FUNCTIONS)}"
            )
        values[name] = finite_number(name, value)
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


def finite_number(name: str, value: Any) -> float:
    """The number.

    Raises:
        L2MError: it is none, or none that a size is computed from.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise L2MError(f"{name}: {shown(value)} is not a number; give a finite number")
    if abs(value) > LARGEST_SIZE or not math.isfinite(value):
        raise L2MError(f"{name}: {shown(value)} is out of range; give a finite number up to 2^53")
    return value


def evaluate(formula: str, constants: Mapping[str, float], length: int) -> int:
    """A checked formula at a length, rounded to whole elements.

    Raises:
        L2MError: it is negative, undefined or larger than `LARGEST_SIZE` there.
    """
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
        raise L2MError(f"formula: {_short(formula)} is not an expression; give one of {_ACCEPTED}") from error


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
