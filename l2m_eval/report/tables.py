"""Tables of a report: one content as a part of the page, as CSV with every digit, and as Markdown."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A column's heading; `number` columns are aligned and sorted by value, `shown` ones appear on the page."""

    heading: str
    number: bool = False
    shown: bool = True


@dataclass(frozen=True)
class Cell:
    """What a cell says, and the value behind it where that is a number (NaN where it is not known)."""

    text: str
    value: float | None = None

    @property
    def sorting(self) -> str:
        """The value as the page's sorting reads it; empty where there is none."""
        return "" if self.value is None or math.isnan(self.value) else repr(float(self.value))


@dataclass(frozen=True)
class Table:
    """Rows under headings. `name` is a file name without its ending; `folded` tables open on request."""

    name: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    folded: bool = False

    def shown(self, row: tuple[Cell, ...]) -> Iterator[tuple[Column, Cell]]:
        return ((column, cell) for column, cell in zip(self.columns, row, strict=True) if column.shown)

    def to_csv(self) -> str:
        """Every column, numbers with all their digits; empty where a number is not known."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([column.heading for column in self.columns])
        for row in self.rows:
            writer.writerow(
                [
                    cell.sorting if column.number else _harmless(cell.text)
                    for column, cell in zip(self.columns, row, strict=True)
                ]
            )
        return buffer.getvalue()

    def to_markdown(self) -> str:
        """The columns that the page shows."""
        heads = [column for column in self.columns if column.shown]
        lines = [
            "| " + " | ".join(escape_markdown(column.heading) for column in heads) + " |",
            "| " + " | ".join("---:" if column.number else "---" for column in heads) + " |",
        ]
        for row in self.rows:
            lines.append("| " + " | ".join(escape_markdown(cell.text) for _, cell in self.shown(row)) + " |")
        return f"{escape_markdown(self.caption)}\n\n" + "\n".join(lines) + "\n"


def text(value: object) -> Cell:
    """A cell of words."""
    return Cell(" ".join(str(value).split()))


def number(value: float | None, shown: str | None = None) -> Cell:
    """A cell of a number, shown as `shown` or with four significant digits; a dash where it is not known."""
    known = value is not None and math.isfinite(value)
    as_float = float(value) if value is not None and known else math.nan
    return Cell((shown if shown is not None else f"{as_float:,.4g}") if known else "–", as_float)


def with_error(value: float | None, error: float | None) -> str:
    """``15.9 ± 1.4``: the error with two significant digits, the value to the same place."""
    if value is None or not math.isfinite(value):
        return "–"
    if error is None or not math.isfinite(error) or error <= 0:
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(float(f"{error:.1e}"))))  # 0.0996 rounds to 0.10
    return f"{value:,.{digits}f} ± {error:.{digits}f}"


def escape_markdown(value: str) -> str:
    """Text that Markdown (with HTML in it) shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", value).replace("&", "&amp;")


def _harmless(value: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return "'" + value if value[:1] in tuple("=+-@\t") else value
