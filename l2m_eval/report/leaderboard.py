"""A leaderboard: entries ranked by one number, checked against their own documents, incomparable ones apart."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from l2m_eval import __version__
from l2m_eval.errors import L2MError
from l2m_eval.report.comparison import Standing, standings
from l2m_eval.report.contents import Command, Report, Section
from l2m_eval.report.reproduce import changed_settings, reproducing_command
from l2m_eval.report.selection import select, slug
from l2m_eval.report.tables import Cell, Column, Table, number, shown_interval, shown_value, text
from l2m_eval.results.comparable import require_same_documents, same_tokenizer
from l2m_eval.results.difference import paired_estimate, require_same_settings
from l2m_eval.results.headline import Quantity, missing, named_quantity
from l2m_eval.results.run import Results
from l2m_eval.results.verified import DIFFERS, Verified, verify
from l2m_eval.statistics.estimate import Estimate

_MOST_PAIRED = 24  # entries that are all compared with each other: 276 pairs; beyond, intervals are compared


@dataclass(frozen=True, eq=False)
class Entry:
    """One model on a leaderboard."""

    label: str
    quantity: Quantity
    checked: Verified

    @property
    def name(self) -> str:
        """Of its place on the page."""
        return f"entry-{slug(self.label)}"


@dataclass(eq=False)
class Board:
    """Entries that are compared with each other, and why they are apart from those of the first board."""

    entries: list[Entry] = field(default_factory=list)
    reason: str = ""


def boards_of(
    results: Sequence[Results], name: str
) -> tuple[list[Board], list[Entry], list[tuple[str, str]]]:
    """Boards, entries that are not what their documents say, and models without the number, with the reason.

    Raises:
        L2MError: none of the results has the number, or it has no direction.
    """
    selection = select(results)
    entries, without = [], []
    for label in selection.numbers:
        of_model = [one for one in selection.results if selection.labels[one] == label]
        quantities = []
        for corpus_results in _by_corpus(of_model):
            try:
                quantities.append(named_quantity(corpus_results, name))
            except L2MError:
                continue
        if not quantities:
            without.append((label, missing(of_model, name)))
        entries += [Entry(label, quantity, verify(quantity.results)) for quantity in quantities]
    if not entries:
        raise L2MError(f"quantity: {without[0][1]}")
    if entries[0].quantity.higher_is_better is None:
        raise L2MError(
            f"quantity: neither more nor less of {entries[0].quantity.name!r} is better as such; rank by another"
        )
    refused = [one for one in entries if one.checked.status == DIFFERS]
    boards: list[Board] = []
    for entry in entries:
        if entry in refused:
            continue
        reason = ""
        for board in boards:
            apart = _apart(entry.quantity, board.entries[0].quantity)
            if not apart:
                board.entries.append(entry)
                break
            reason = reason or apart
        else:
            boards.append(Board([entry], reason))
    return boards, refused, without


def _by_corpus(results: Sequence[Results]) -> list[list[Results]]:
    found: dict[str, list[Results]] = {}
    for one in results:
        found.setdefault(json.dumps([one.corpus, one.settings.get("process")], default=str), []).append(one)
    return list(found.values())


def _apart(ours: Quantity, theirs: Quantity) -> str:
    """Why two numbers are not compared; empty where they are."""
    if ours.name != theirs.name:
        return f"{ours.name} is not {theirs.name}"
    try:
        require_same_documents(ours.results, theirs.results)
        require_same_settings(ours, theirs)
    except L2MError as error:
        return str(error)
    curve = next((c.name for c in ours.results.bipartite if ours.name.startswith(f"{c.name}_")), None)
    if curve is not None and same_tokenizer(ours.results, theirs.results, curve) is False:
        return (
            f"other tokenizer than {theirs.results.run.label}: lengths in tokens cover other text; "
            "bits_per_byte compares them"
        )
    return ""


def ranked(board: Board) -> list[tuple[Standing, Entry]]:
    """Best first; one is ahead of another only where the interval of their paired difference excludes zero."""
    entries = {_key(entry): entry for entry in board.entries}
    differences: dict[tuple[str, str], Estimate] = {}
    if len(entries) <= _MOST_PAIRED:
        for (a, first), (b, second) in itertools.combinations(entries.items(), 2):
            differences[a, b] = paired_estimate(first.quantity, second.quantity)[0]
    rows = standings(
        list(entries),
        [entry.quantity.estimate for entry in entries.values()],
        differences,
        larger_is_better=bool(board.entries[0].quantity.higher_is_better),
    )
    return [(row, entries[row.label]) for row in rows]


def _key(entry: Entry) -> str:
    return f"{entry.label} {entry.quantity.results.run.path} {entry.quantity.results.task}"


# --- the page ---------------------------------------------------------------------------------------------------


def make_leaderboard(results: Sequence[Results], name: str, *, title: str, command: str) -> Report:
    """The leaderboard as a page with its tables and data.

    Raises:
        L2MError: as `boards_of`.
    """
    boards, refused, without = boards_of(results, name)
    sections, data = [], []
    first = boards[0].entries[0].quantity if boards else refused[0].quantity
    for position, board in enumerate(boards, 1):
        rows = ranked(board)
        section_name = "leaderboard" if position == 1 else f"leaderboard-{position}"
        data += [_data(row, entry, section_name) for row, entry in rows]
        sections.append(_section(section_name, board, rows))
    if refused:
        sections.append(_refused_section(refused))
        data += [_data(None, entry, "") for entry in refused]
    if without:
        told = tuple(f"{label}: {reason}." for label, reason in without)
        sections.append(Section("without", "Without this number", notices=told))
    sections.append(_commands_section([*(e for b in boards for e in b.entries), *refused], command))
    better = "More is better." if first.higher_is_better else "Less is better."
    return Report(
        title,
        f"{first.title}{f' ({first.unit})' if first.unit and first.unit not in first.title else ''}. {better}",
        f"Made by l2m-eval {__version__} from {len(data)} entries.",
        tuple(sections),
        {
            "quantity": first.name,
            "unit": first.unit,
            "higher_is_better": first.higher_is_better,
            "entries": data,
        },
        page="index.html",
        data_file="leaderboard.json",
        schema="l2m-eval/leaderboard/1",
    )


def _section(name: str, board: Board, rows: Sequence[tuple[Standing, Entry]]) -> Section:
    quantity = board.entries[0].quantity
    count = {entry.quantity.documents for entry in board.entries}
    documents = f"{next(iter(count)):,} documents" if len(count) == 1 and None not in count else "documents"
    sentences = (
        "A model ranks above another only if the 95 % interval of their difference on the same documents excludes "
        "zero; otherwise they share places.",
    )
    return Section(
        name,
        f"{quantity.name} on {quantity.corpus}, {documents}",
        sentences,
        notices=(f"Not compared with the first table: {board.reason}.",) if board.reason else (),
        tables=(
            Table(
                name,
                f"{quantity.title} on {quantity.corpus}",
                (
                    Column("place", number=True),
                    Column("model"),
                    Column("value", number=True),
                    Column("standard error", number=True, shown=False),
                    Column("95 % interval"),
                    Column("documents", number=True),
                    Column("date", number=True),
                    Column("backend"),
                    Column("checked"),
                ),
                tuple(_row(row, entry) for row, entry in rows),
            ),
        ),
    )


def _row(row: Standing, entry: Entry) -> tuple[Cell, ...]:
    one, estimate = entry.quantity.results, entry.quantity.estimate
    date = one.run.date
    return (
        number(row.best, row.place),
        Cell(entry.label, link=f"#{entry.name}"),
        number(estimate.value, shown_value(entry.quantity)),
        number(estimate.standard_error),
        text(shown_interval(estimate)),
        number(entry.quantity.documents, f"{entry.quantity.documents or 0:,}"),
        Cell(date.strftime("%Y-%m-%d") if date else "–", date.timestamp() if date else None),
        text(one.run.backend or "–"),
        text(entry.checked),
    )


def _refused_section(refused: Sequence[Entry]) -> Section:
    rows = [
        (Cell(e.label, link=f"#{e.name}"), text(e.quantity.results.task), text(e.checked)) for e in refused
    ]
    return Section(
        "refused",
        "Not what their documents say",
        (
            "Numbers computed anew from the samples log differ from those of the results file: these have no place.",
        ),
        tables=(
            Table(
                "refused",
                "Entries without a place",
                tuple(map(Column, ("model", "task", "what differs"))),
                tuple(rows),
            ),
        ),
    )


def _commands_section(entries: Sequence[Entry], command: str) -> Section:
    rows = []
    for entry in entries:
        one = entry.quantity.results
        told = {
            **changed_settings(one),
            "seed": one.seed,
            "revision": one.run.revision,
            "dtype": one.run.dtype,
        }
        for key, value in {**told, **{f"version {k}": v for k, v in one.versions.items()}}.items():
            if value not in (None, ""):
                shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                rows.append((text(entry.label), text(key), text(shown)))
    table = Table(
        "settings",
        "Settings and versions",
        tuple(map(Column, ("model", "setting", "value"))),
        tuple(rows),
        folded=True,
    )
    commands = tuple(Command(e.label, reproducing_command(e.quantity.results), e.name) for e in entries)
    return Section(
        "commands",
        "Settings and commands",
        ("Each command measures the same again, from the folder of its run; the last makes this page.",),
        tables=(table,),
        commands=(*commands, Command("This page", command)),
    )


def _data(row: Standing | None, entry: Entry, board: str) -> dict[str, Any]:
    one = entry.quantity.results
    return {
        "model": entry.label,
        "board": board,
        "place": None if row is None else [row.best, row.worst],
        **entry.quantity.estimate.to_json(),
        "at_least": entry.quantity.at_least,
        "documents": entry.quantity.documents,
        "task": one.task,
        "corpus": entry.quantity.corpus,
        "checked": entry.checked.status,
        "findings": list(entry.checked.findings),
        "settings": one.settings,
        "versions": one.versions,
        "command": reproducing_command(one),
    }
