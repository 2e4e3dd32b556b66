"""What a report consists of, before it is a page, files and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from l2m_eval.condition import Verdict
from l2m_eval.report.tables import Table


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        name: Of its files, without ending; lower-case letters, digits, hyphens.
        title: Over it.
        sentences: What it shows, with uncertainty.
        alternative: For those who do not see it: kind of figure, axes, series.
        svg: The document.
        png: At print resolution.
        inline: The SVG as a part of the page.
        series: The numbers drawn, for ``report.json``.
    """

    name: str
    title: str
    sentences: tuple[str, ...]
    alternative: str
    svg: str
    png: bytes
    inline: str
    series: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Command:
    """A command line and what it is for."""

    title: str
    text: str


@dataclass(frozen=True)
class LabelledVerdict:
    """The outcome of a check of one model."""

    label: str
    verdict: Verdict

    @property
    def status(self) -> str:
        return self.verdict.status

    @property
    def rest(self) -> str:
        """The sentence without the status it begins with; the page shows that apart."""
        head, _, tail = self.verdict.sentence.partition(": ")
        return tail if tail and head.lower() == self.status else self.verdict.sentence


@dataclass(frozen=True)
class Section:
    """A part of the page under one heading."""

    name: str
    title: str
    sentences: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    verdicts: tuple[LabelledVerdict, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    commands: tuple[Command, ...] = ()


@dataclass(frozen=True)
class Report:
    """Everything that is written. `data` is what ``report.json`` holds beside figures, tables and verdicts."""

    title: str
    subtitle: str
    footer: str
    sections: tuple[Section, ...]
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(figure for section in self.sections for figure in section.figures)

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(table for section in self.sections for table in section.tables)

    @property
    def verdicts(self) -> tuple[LabelledVerdict, ...]:
        return tuple(verdict for section in self.sections for verdict in section.verdicts)
