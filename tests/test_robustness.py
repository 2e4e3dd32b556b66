"""What the pages name exists: the tests of the table of what was tried, the code of the architecture."""

from __future__ import annotations

import ast
import importlib
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


def named_in_the_architecture():
    """Dotted names and files of the package in docs/architecture.md, without attributes of objects."""
    text = (TESTS.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    return sorted(
        set(re.findall(r"`([\w./]+?)/?`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)))
    )


def test_the_code_that_the_architecture_names_exists():
    package = TESTS.parent / "l2m_eval"
    rooms = {file.stem for file in package.iterdir() if not file.name.startswith("_")}
    source = "\n".join(file.read_text(encoding="utf-8") for file in package.rglob("*.py"))
    checked = []
    for name in named_in_the_architecture():
        if "/" in name or name.endswith((".py", ".md")):
            roots = (package, TESTS.parent, *(folder for folder in package.iterdir() if folder.is_dir()))
            assert any((root / name).exists() for root in roots), name
        elif "." in name and name.removeprefix("l2m_eval.").split(".")[0] in rooms:
            found = importlib.import_module("l2m_eval")
            for part in name.removeprefix("l2m_eval.").split("."):
                if not hasattr(found, part):
                    importlib.import_module(f"{found.__name__}.{part}")
                found = getattr(found, part)
        elif re.match(r"[A-Z]\w+", name):
            assert re.search(rf"^(class )?{name.split('.')[0]}\b", source, re.MULTILINE), name
        else:
            continue
        checked.append(name)
    assert len(checked) > 30


def test_every_room_of_the_package_is_in_the_architecture():
    package = TESTS.parent / "l2m_eval"
    table = (TESTS.parent / "docs" / "architecture.md").read_text(encoding="utf-8").partition("\n## ")[0]
    rooms = {f"{one.name}/" if one.is_dir() else one.name for one in package.iterdir()}
    listed = set(re.findall(r"^\| `([\w./]+)` \|", table, re.MULTILINE))
    assert listed == {room for room in rooms if not room.startswith("_") and room != "py.typed"}
