"""Statements about a history state: checked, computed, echoed, never executed."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from l2m_eval.errors import L2MError
from l2m_eval.history_state import history_state_size, parse_declaration


def size(formula, length=8, **constants):
    return parse_declaration({"formula": formula, **constants}).elements_at(length)


def test_a_formula_with_named_constants_is_computed_and_echoed():
    state = history_state_size(
        {"formula": "2*layers*kv_heads*head_dim*L", "layers": 32, "kv_heads": 8, "head_dim": 128, "bits": 8},
        [1, 10],
    )
    assert state.source == "declared"
    assert state.total.tolist() == [65536, 655360]
    assert state.total_bits.tolist() == [8 * 65536, 8 * 655360]
    assert "2*layers*kv_heads*head_dim*L with layers = 32, kv_heads = 8, head_dim = 128" in state.notes[0]


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("L", 8), ("2**3*L", 64), ("L // 3", 2), ("L % 5", 3), ("L / 3", 3), ("min(L, 5) + max(1, 2, 3)", 8),
        ("ceil(L/3) + floor(L/3)", 5), ("sqrt(2*L)", 4), ("log2(L)", 3), ("-(-L)", 8), (" 4 * (L + 1) ", 36),
    ],
)  # fmt: skip
def test_arithmetic(formula, value):
    assert size(formula) == value


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os')", "L.real", "[L]", "L if L else 1", "lambda: 1", "L and 1", "L < 3", "'a'*L", "True*L",
        "L[0]", "(L := 3)", "open('x')", "min(*[1,2])", "min(L, key=1)", "f'{L}'", "1j*L", "print", "abs(L)", "L; L",
        "", " ", "2**", "x*L", "9**9**9", "10**400", "1e999", "-L", "L - 100", "L/0", "(-8)**0.5*L", "log(0*L)",
        "1/(L-1)", "(" * 300 + "L" + ")" * 300, "-" * 450 + "L", "L+" * 240 + "L", "L" * 600, "\x00",
        "2**(10**9)", "L**L**L",
    ],
)  # fmt: skip
def test_what_is_no_size_is_refused_in_one_line(formula):
    with pytest.raises(L2MError) as error:
        history_state_size({"formula": formula}, [8, 1024])
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(("formula", "lengths"))


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ({}, "none of them given"),
        ({"formula": "L", "constant": 3}, "formula and constant given"),
        ({"constant": -1}, "constant: -1"),
        ({"constant": 1.5}, "constant: 1.5"),
        ({"constant": float("inf")}, "constant"),
        ({"constant": True}, "constant: True"),
        ({"constant": 3, "layers": 2}, "unknown entry 'layers'"),
        ({"formula": "L", "layers": 2}, "layers: not in the formula"),
        ({"formula": "2*n*L", "n": "2"}, "n: '2' is not a number"),
        ({"formula": "2*n*L", "n": float("nan")}, "n: nan"),
        ({"formula": "L", "L": 2}, "L: cannot name a constant"),
        ({"formula": "L", "bits": 0}, "bits: 0"),
        ({"formula": "L", "bits": "many"}, "bits: 'many'"),
        ({"formula": 3}, "formula: 3"),
        ({"table": {}}, "table"),
        ({"table": [1, 2]}, "table"),
        ({"table": {"a": 1}}, "table"),
        ({"table": {0: 1}}, "table: length 0"),
        ({"table": {4: 1, "4": 2}}, "given twice"),
        ({"table": {4: -1}}, "table at 4"),
        (["formula"], "declares no state"),
    ],
)
def test_the_entry_and_what_is_accepted_are_named(statement, complaint):
    with pytest.raises(L2MError, match=complaint):
        parse_declaration(statement)


def test_a_table_is_read_between_its_lengths_and_never_beyond():
    declared = parse_declaration({"table": {"10": 100, 20: 200}})
    assert [declared.elements_at(n) for n in (10, 15, 20)] == [100, 150, 200]
    with pytest.raises(L2MError, match="outside the declared table"):
        declared.elements_at(21)


def test_a_formula_may_leave_its_domain_beyond_the_lengths_asked_for():
    state = history_state_size({"formula": "1000 - L"}, [10, 100])
    assert state.total.tolist() == [990, 900]
    assert state.probe_lengths[-1] <= 1000


numbers = st.one_of(st.integers(0, 10**6), st.floats(0, 1e6, allow_nan=False).map(lambda x: round(x, 3)))
expressions = st.recursive(
    st.one_of(numbers.map(str), st.just("L"), st.just("n")),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]), inner).map(
            lambda t: "({}{}{})".format(*t)
        ),
        st.tuples(st.sampled_from(["min", "max"]), inner, inner).map(lambda t: "{}({},{})".format(*t)),
        st.tuples(st.sampled_from(["floor", "ceil", "sqrt", "log2"]), inner).map(
            lambda t: "{}({})".format(*t)
        ),
    ),
    max_leaves=8,
)


@given(expressions, st.integers(1, 4096))
@settings(max_examples=300)
def test_any_expression_has_a_size_as_python_would_compute_it_or_is_refused(formula, length):
    """The reference is Python itself, which these generated expressions are harmless for once ours accepts them."""
    try:
        ours = size(formula, length, **({"n": 3} if "n" in formula.replace("min", "") else {}))
    except L2MError:
        return
    names = {
        "L": length,
        "n": 3,
        "floor": math.floor,
        "ceil": math.ceil,
        "sqrt": math.sqrt,
        "log2": math.log2,
    }
    assert ours == round(eval(formula, {"__builtins__": {"min": min, "max": max}}, names))


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_any_text_is_a_size_or_an_error_of_ours(text):
    message = ""
    try:
        assert 0 <= size(text) <= 2**53
    except L2MError as error:
        message = str(error)
    assert "\n" not in message
