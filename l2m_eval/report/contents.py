"""What a report consists of, before it is a page, files and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from l2m_eval.condition.verdict import Verdict
from l2m_eval.report.tables import Table

_MOST_COMMANDS = 4


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
    """A command line and what it is for; `name` is where links to it lead."""

    title: str
    text: str
    name: str = ""


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
    """A part of the page under one heading.

    Attributes:
        name, title: Where links lead, and the heading.
        sentences, notices: Before the figures.
        verdicts: For ``report.json``; a table shows them on the page.
        figures: Opened on request where they are more than `open_figures`.
        tables, commands: After the figures.
        lead: Tables before the figures, beside each other where there is room; in the first section before all else.
        open_figures: As many as the page shows without being asked.
    """

    name: str
    title: str
    sentences: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    verdicts: tuple[LabelledVerdict, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    commands: tuple[Command, ...] = ()
    lead: tuple[Table, ...] = ()
    open_figures: int = 12

    @property
    def folded_commands(self) -> tuple[Command, ...]:
        """Commands that open on request: those that no link leads to, where they are many."""
        unnamed = tuple(command for command in self.commands[:-1] if not command.name)
        return unnamed if len(unnamed) > _MOST_COMMANDS else ()

    @property
    def shown_commands(self) -> tuple[Command, ...]:
        folded = self.folded_commands
        return tuple(command for command in self.commands if command not in folded)


@dataclass(frozen=True)
class Report:
    """Everything that is written.

    Attributes:
        title, subtitle, footer, sections: Of the page.
        data: What the JSON file holds beside figures, tables and verdicts.
        page, data_file: Names of the page and of the JSON file.
        schema: Of the JSON file.
    """

    title: str
    subtitle: str
    footer: str
    sections: tuple[Section, ...]
    data: Mapping[str, Any] = field(default_factory=dict)
    page: str = "report.html"
    data_file: str = "report.json"
    schema: str = "l2m-eval/report/1"

    @property
    def figures(self) -> tuple[Figure, ...]:
        return tuple(figure for section in self.sections for figure in section.figures)

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(table for section in self.sections for table in (*section.lead, *section.tables))

    @property
    def verdicts(self) -> tuple[LabelledVerdict, ...]:
        return tuple(verdict for section in self.sections for verdict in section.verdicts)
