"""Sections on the runs themselves: what was measured, settings, versions, commands, warnings."""

from __future__ import annotations

import math
from collections.abc import Sequence

from l2m_eval.report.contents import Command, Section
from l2m_eval.report.reproduce import reproducing_command
from l2m_eval.report.selection import Selection
from l2m_eval.report.tables import Cell, Column, Table, lean, number, text
from l2m_eval.results.comparable import corpus_in_words


def _runs_table(selection: Selection) -> Table:
    """One row per result: who, what, on what, when, how much."""
    rows = []
    for one in selection.results:
        documents = one.sample.get("documents")
        tokens = one.metrics.get("tokens_scored", math.nan)
        count = float(documents) if isinstance(documents, (int, float)) else math.nan
        total = tokens * count
        date = one.run.date
        rows.append(
            (
                text(selection.labels[one]),
                text(one.task),
                text(corpus_in_words(one)),
                number(count, f"{count:,.0f}"),
                number(total, f"{total:,.0f}"),
                number(one.run.seconds, f"{one.run.seconds:,.0f} s"),
                number(None if one.seed is None else float(one.seed), str(one.seed)),
                Cell(date.strftime("%Y-%m-%d") if date else "–", date.timestamp() if date else None),
                text(one.run.dtype or "–"),
            )
        )
    columns = (
        Column("model"),
        Column("task"),
        Column("corpus"),
        Column("documents", number=True),
        Column("tokens scored", number=True),
        Column("wall-clock", number=True),
        Column("seed", number=True),
        Column("date", number=True),
        Column("precision"),
    )
    return Table("results", "What was measured", lean(columns, rows), tuple(rows))


def settings_section(selection: Selection, report_command: str) -> Section:
    """What was measured, its settings and versions, and the commands that reproduce everything."""
    names: dict[str, None] = {}
    for one in selection.results:
        names.update(dict.fromkeys(f"setting {key}" for key in one.settings))
        names.update(dict.fromkeys(f"version {key}" for key in one.versions))
    rows = []
    for name in names:
        kind, _, key = name.partition(" ")
        told: dict[str, list[str]] = {}
        for one in selection.results:
            source = one.settings if kind == "setting" else one.versions
            if key in source:
                value = source[key]
                shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
                if key == "corpus":
                    shown = corpus_in_words(one)
                told.setdefault(shown or "–", []).append(f"{selection.labels[one]}: {one.task}")
        for value, who in told.items():
            shared = len(told) == 1 and len(who) == len(selection.results)
            rows.append((text(kind), text(key), text(value), text("all" if shared else "; ".join(who))))
    table = Table(
        "settings",
        "Settings and versions",
        (Column("kind"), Column("name"), Column("value"), Column("results")),
        tuple(rows),
        folded=True,
    )
    commands = [
        Command(f"{selection.labels[one]}: {one.task}", reproducing_command(one)) for one in selection.results
    ]
    return Section(
        "reproduce",
        "Runs, settings, commands",
        ("Each command measures the same again, from the folder of its run; the last makes this report.",),
        tables=(_runs_table(selection), table),
        commands=(*commands, Command("This report", report_command)),
    )


def warnings_section(selection: Selection, notices: Sequence[str]) -> Section | None:
    """Warnings of the runs, and notices of this report."""
    told = [
        f"{selection.labels[one]}, {one.task}: {warning}"
        for one in selection.results
        for warning in one.warnings
    ]
    for one in selection.left_out:
        told.append(
            f"Older results are left out: {one.run.label}, {one.task}, "
            f"{one.run.date.strftime('%Y-%m-%d %H:%M') if one.run.date else 'without a date'} (--all shows them)."
        )
    told += notices
    if not told:
        return None
    return Section("warnings", "Warnings", notices=tuple(dict.fromkeys(told)))
