"""Rows of any kind of file or dataset to documents: one rule for what has no text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from l2m_eval.errors import L2MError, shown


@dataclass(frozen=True)
class Document:
    """One source document: a book, an article, a row of a file."""

    name: str
    text: str


@dataclass
class LeftOut:
    """What was read and is not measured; counted while documents are read.

    Attributes:
        without_text: Rows whose text is missing, null or empty.
        identical: Documents with the text of an earlier one.
        similar: Documents that share most of their text with an earlier one.
    """

    without_text: int = 0
    identical: int = 0
    similar: int = 0

    @property
    def repeated(self) -> int:
        return self.identical + self.similar

    @property
    def said(self) -> str:
        """What was left out, for a message; empty where nothing was."""
        parts = [
            (self.without_text, "row(s) without text"),
            (self.identical, "document(s) identical to an earlier one"),
            (self.similar, "document(s) nearly identical to an earlier one"),
        ]
        return ", ".join(f"{count:,} {what}" for count, what in parts if count)


def documents_of_rows(
    rows: Iterable[tuple[str, str, Any]], column: str, source: str, left_out: LeftOut
) -> Iterator[Document]:
    """The documents of rows given as (name, place, fields).

    A row whose field is missing, null or empty has no text: it is skipped and counted.

    Raises:
        L2MError: a row that is not a mapping, a field that is not text, or no row that has the field at all.
    """
    known, fields = False, None
    for name, place, row in rows:
        if not isinstance(row, Mapping):
            raise L2MError(
                f"corpus: {source}, {place} has no text field {column!r} (fields: {type(row).__name__}); "
                "set column"
            )
        known = known or column in row
        fields = fields or sorted(map(str, row))
        value = row.get(column)
        if value is None or value == "":
            left_out.without_text += 1
            continue
        if not isinstance(value, str):
            raise L2MError(
                f"column: {column!r} of {source} holds {shown(value)} in {place}, no text; set column to a "
                f"text field (fields: {shown(sorted(map(str, row)))})"
            )
        yield Document(name, encodable(f"{source}, {place}", value))
    if fields is not None and not known:
        raise L2MError(f"corpus: {source} has no text field {column!r} (fields: {shown(fields)}); set column")


def encodable(place: str, value: str) -> str:
    """JSON escapes can spell half a surrogate pair, which is no character and has no UTF-8 form."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise L2MError(
            f"corpus: {place} holds a lone surrogate U+{ord(value[error.start]):04X} at character "
            f"{error.start}, which is not text; remove it"
        ) from error
    return value
