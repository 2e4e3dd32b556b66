"""The table of what was tried names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PAGE = (TESTS.parent / "docs" / "robustness.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`([\w/]+\.py(?:::\w+)+)`", PAGE)))


def functions(file):
    """Names of the test functions of a file, those of classes as CLASS::NAME."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        prefix = f"{node.name}::" if isinstance(node, ast.ClassDef) else ""
        found |= {prefix + one.name for one in inside if isinstance(one, ast.FunctionDef)}
    return found


def test_the_page_names_tests():
    assert len(NAMED) > 60


@pytest.mark.parametrize("file", sorted({name.partition("::")[0] for name in NAMED}))
def test_every_test_that_the_page_names_exists(file):
    named = {name.partition("::")[2] for name in NAMED if name.partition("::")[0] == file}
    assert named <= functions(TESTS / file)


def test_every_case_names_a_test_or_says_that_there_is_none():
    cases = PAGE.partition("## Fuzzing")[0].splitlines()
    rows = [line for line in cases if line.startswith("| ") and not re.match(r"\| (Case|What) ", line)]
    assert len(rows) > 50
    for row in rows:
        last = row.strip("| ").split(" | ")[-1]
        assert re.search(r"::test_\w+`|^the same|^–$", last), row
