"""The first screen: one row a model with what to conclude, and sentences that can be quoted."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState
from l2m_eval.history_state.state import state_growth
from l2m_eval.report.comparison import standings
from l2m_eval.report.contents import LabelledVerdict
from l2m_eval.report.selection import Selection
from l2m_eval.report.tables import Cell, Column, Table, lean, number, shown_value, text
from l2m_eval.results.comparable import same_tokenizer
from l2m_eval.results.difference import compare_quantity
from l2m_eval.results.headline import RETENTION, Quantity, quantities_of
from l2m_eval.results.run import Results
from l2m_eval.statistics.estimate import Estimate

_NEEDED = "context_needed@0.95"
_MOST_PAIRED = 12  # models that are all compared with each other; beyond, their intervals are
_MOST_TOLD = 6  # models whose numbers one sentence lists


Row = tuple[str, str, Mapping[str, Quantity], tuple[Results, ...]]  # label, corpus, by column, results


def summary_table(
    rows: Sequence[Row], states: Mapping[str, HistoryState], verdicts: Sequence[LabelledVerdict]
) -> Table:
    """One row for each model and corpus: claims, uses, needs, β, I, bits a byte, state, verdict."""
    found = {v.label: v for v in reversed(verdicts) if v.verdict.check == "single-model"}
    cells = []
    for label, corpus, named, _ in rows:
        state = states.get(label)
        verdict = found.get(label)
        row: list[Cell] = [text(label), text(corpus)]
        for column in ("claimed", "uses", "needs", "beta", "mi", "bits"):
            quantity = named.get(column)
            row.append(
                number(None) if quantity is None else number(quantity.estimate.value, shown_value(quantity))
            )
        row.append(text("–" if state is None else state_growth(state).sentence.partition(":")[0]))
        row.append(Cell("–") if verdict is None else Cell(verdict.status, mark=verdict.status))
        cells.append(tuple(row))
    columns = (
        Column("model"),
        Column("corpus"),
        Column("claims", number=True),
        Column("uses", number=True),
        Column("needs for 95 %", number=True),
        Column("β", number=True),
        Column("I (nats)", number=True),
        Column("bits a byte", number=True),
        Column("state"),
        Column("verdict"),
    )
    return Table(
        "summary",
        "What to conclude. Lengths in tokens; the information I at the longest length measured",
        lean(columns, cells),
        tuple(cells),
    )


def summary_rows(selection: Selection) -> list[Row]:
    """The headline numbers of each model on each corpus, by the columns of the summary."""
    rows: list[Row] = []
    for label in selection.numbers:
        of_model = tuple(one for one in selection.results if selection.labels[one] == label)
        by_corpus: dict[str, dict[str, Quantity]] = {}
        for quantity in quantities_of(of_model):
            column = _column(quantity)
            if column:
                named = by_corpus.setdefault(quantity.corpus, {})
                if column not in named or _measured_to(quantity) > _measured_to(named[column]):
                    named[column] = quantity
        for corpus, named in by_corpus.items():
            rows.append((label, corpus, named, of_model))
    return rows


def _measured_to(quantity: Quantity) -> int:
    """The longest length that an effective context could have been; 0 for other numbers."""
    longest = quantity.settings.get("longest_tokens")
    return longest if isinstance(longest, int) else 0


def _column(quantity: Quantity) -> str:
    kind = quantity.name.partition("@")[0]
    if quantity.name in (_NEEDED, "effective_context", f"effective_context{RETENTION}"):
        return "needs" if quantity.name == _NEEDED else "uses"
    known = {"claimed_context": "claimed", "direct_beta": "beta", "direct_mi": "mi", "bits_per_byte": "bits"}
    return known.get(kind, "")


def summary_sentences(rows: Sequence[Row]) -> list[str]:
    """At most three: which context is used, who passes on most, who predicts best; ties by paired intervals."""
    corpora = list(dict.fromkeys(corpus for _, corpus, _, _ in rows))
    corpus = max(corpora, key=lambda c: sum(row[1] == c for row in rows), default="")
    here = [row for row in rows if row[1] == corpus]
    sentences = []
    uses = [(label, named["uses"]) for label, _, named, _ in here if "uses" in named]
    if uses:
        alike: dict[str, list[str]] = {}
        for label, quantity in uses:
            alike.setdefault(_used(quantity), []).append(label)
        told = [
            f"{'each of ' if len(labels) > 1 else ''}{_listed(labels)} {used}"
            for used, labels in alike.items()
        ]
        sentences.append(f"On {corpus}, {_listed(told, '; ')}.")
    for column, name, what in (
        ("mi", "mi", "passes on the most information from one half of a text to the other"),
        ("bits", "bits_per_byte", "predicts the text best"),
    ):
        measured = [(label, named[column], results) for label, _, named, results in here if column in named]
        if measured:
            sentences.append(_best(measured, name, what))
    return sentences


def _used(quantity: Quantity) -> str:
    if quantity.settings.get("growth_shown") is False:
        return f"shows no growth of information beyond {quantity.estimate.value:,.0f} tokens"
    longest = quantity.settings.get("longest_tokens")
    of = f" of the {longest:,} tokens measured" if isinstance(longest, int) else " tokens"
    return f"uses at least {quantity.estimate.value:,.0f}{of}"


def _best(measured: Sequence[tuple[str, Quantity, tuple[Results, ...]]], name: str, what: str) -> str:
    """Who is ahead of all others, or which of them cannot be told apart."""
    larger = bool(measured[0][1].higher_is_better)
    measured = sorted(measured, key=lambda one: one[1].estimate.value, reverse=larger)
    numbers = [f"{label}: {shown_value(q)}" for label, q, _ in measured]
    first = measured[0][1]
    unit = f"{first.unit} at L = {first.name.partition('@')[2]}" if "@" in first.name else first.unit
    told = f"{_listed(numbers, '; ')} ({unit})"
    if len(measured) == 1:
        label, quantity, _ = measured[0]
        if name == "mi":
            where = f" (L = {int(quantity.name.partition('@')[2]):,})" if "@" in quantity.name else ""
            return (
                f"{label} passes on {shown_value(quantity)} nats from one half of a text to the other{where}."
            )
        return f"{label} needs {shown_value(quantity)} bits per byte of the text."
    if len({q.name for _, q, _ in measured}) > 1:
        return f"The longest lengths differ, so that these do not compare: {_listed(numbers, '; ')} nats."
    labels = [label for label, _, _ in measured]
    pairs = itertools.combinations(measured, 2) if len(measured) <= _MOST_PAIRED else ()
    differences: dict[tuple[str, str], Estimate] = {}
    for (a, _, ours), (b, _, theirs) in pairs:
        try:
            compared = compare_quantity(ours, theirs, name)
        except L2MError:
            return f"Not compared with each other, since documents or tokenizers differ: {told}."
        differences[a, b] = compared.difference
        if compared.at:
            told = f"{_listed(numbers, '; ')} ({unit} tokens of each, compared at equal bytes of text)"
    if not differences and _tokenizers_differ([quantity for _, quantity, _ in measured]):
        return f"Not compared with each other, since tokenizers differ: {told}."
    estimates = [q.estimate for _, q, _ in measured]
    if not all(math.isfinite(e.standard_error) for e in estimates):
        return f"Without errors, so that no model is ahead: {told}."
    rows = standings(labels, estimates, differences, larger_is_better=larger)
    leading = [row.label for row in rows if row.best == 1]
    if len(leading) > _MOST_TOLD:
        return f"These documents do not tell which of {len(leading)} models {what}: {told}."
    if len(leading) == 1:
        return f"{leading[0]} {what}: {told}."
    return f"These documents do not tell which of {_listed(leading)} {what}: {told}."


def _tokenizers_differ(quantities: Sequence[Quantity]) -> bool:
    """Whether information at one length in tokens is about other text in one of the models."""
    first, *others = quantities
    curve = first.name.partition("_mi@")[0]
    return "_mi@" in first.name and any(
        same_tokenizer(first.results, other.results, curve) is False for other in others
    )


def _listed(parts: Sequence[str], separator: str = ", ") -> str:
    """The parts in a sentence; beyond a few, how many more there are."""
    if len(parts) > _MOST_TOLD:
        return f"{separator.join(parts[:_MOST_TOLD])}{separator}and {len(parts) - _MOST_TOLD} more"
    return (
        separator.join(parts)
        if separator != ", " or len(parts) < 2
        else (f"{', '.join(parts[:-1])} and {parts[-1]}")
    )
