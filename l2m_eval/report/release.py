"""A release checklist as Markdown for a pull request, JUnit XML for CI, and JSON (``l2m-eval/release/1``)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from l2m_eval import __version__
from l2m_eval.report.tables import Column, Table, text
from l2m_eval.results.policy import FAIL, OPEN, PASS, Outcome, exit_code

SCHEMA = "l2m-eval/release/1"
_WORDS = {0: "Released: every requirement is met", 1: "Not released", 2: "Inconclusive"}
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def release_markdown(model: str, outcomes: Sequence[Outcome]) -> str:
    """A heading, a sentence and a table."""
    counts = {status: sum(one.status == status for one in outcomes) for status in (PASS, FAIL, OPEN)}
    table = Table(
        "release",
        f"{_WORDS[exit_code(outcomes)]}: {counts[PASS]} met, {counts[FAIL]} missed, {counts[OPEN]} inconclusive.",
        (Column("requirement"), Column("outcome"), Column("numbers")),
        tuple((text(one.name), text(one.status), text(one.sentence)) for one in outcomes),
    )
    heading = Table("", f"Release checklist of {model}", (), ()).to_markdown().splitlines()[0]
    return f"## {heading}\n\n{table.to_markdown()}"


def release_junit(model: str, outcomes: Sequence[Outcome]) -> str:
    """One test case a requirement: missed is a failure, open an error, since neither lets a release pass."""
    suite = ElementTree.Element(
        "testsuite",
        name=_xml(f"l2m-eval release {model}"),
        tests=str(len(outcomes)),
        failures=str(sum(one.status == FAIL for one in outcomes)),
        errors=str(sum(one.status == OPEN for one in outcomes)),
    )
    for one in outcomes:
        case = ElementTree.SubElement(suite, "testcase", name=_xml(one.name), classname=_xml(model))
        if one.status == PASS:
            ElementTree.SubElement(case, "system-out").text = _xml(one.sentence)
        else:
            kind = "failure" if one.status == FAIL else "error"
            ElementTree.SubElement(case, kind, message=_xml(one.sentence), type=one.status)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"
    )


def release_json(model: str, outcomes: Sequence[Outcome]) -> str:
    """Schema ``l2m-eval/release/1``; null for what is not known."""
    data: dict[str, Any] = {
        "schema": SCHEMA,
        "l2m_eval": __version__,
        "model": model,
        "exit_code": exit_code(outcomes),
        "requirements": [
            {
                "name": one.name,
                "status": one.status,
                "sentence": one.sentence,
                "unit": one.unit,
                **one.estimate.to_json(),
            }
            for one in outcomes
        ],
    }
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _xml(value: str) -> str:
    """Without what XML has no way to write."""
    return _NOT_XML.sub("�", value)
