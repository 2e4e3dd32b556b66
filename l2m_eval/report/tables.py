"""Tables of a report: one content as a part of the page, as CSV with every digit, and as Markdown."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from l2m_eval.results.headline import Quantity
    from l2m_eval.statistics.estimate import Estimate


@dataclass(frozen=True)
class Column:
    """A column's heading; `number` columns are aligned and sorted by value, `shown` ones appear on the page."""

    heading: str
    number: bool = False
    shown: bool = True


@dataclass(frozen=True)
class Cell:
    """What a cell says.

    Attributes:
        text: As it is shown.
        value: The number behind it where there is one; NaN where it is not known.
        link: Where it leads.
        mark: Class of its look on the page: the status of a verdict.
    """

    text: str
    value: float | None = None
    link: str = ""
    mark: str = ""

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


def lean(
    columns: Sequence[Column], rows: Sequence[tuple[Cell, ...]], constant: Sequence[str] = ("corpus",)
) -> tuple[Column, ...]:
    """Columns of which the page leaves out those that tell nothing; files keep all of them.

    Args:
        columns: Of a table.
        rows: Of the same table.
        constant: Headings that are left out where they say the same in every row.
    """
    shown = []
    for i, column in enumerate(columns):
        told = {row[i].text for row in rows}
        empty = told <= {"–", ""} or (column.heading in constant and len(told) < 2)
        shown.append(replace(column, shown=column.shown and not empty))
    return tuple(shown)


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


def estimate_cells(estimate: Estimate) -> tuple[Cell, Cell, Cell, Cell, Cell]:
    """Value with its error, 95 % interval; for files alone the error and the two ends. See `estimate_columns`."""
    low, high = estimate.interval
    return (
        number(estimate.value, with_error(estimate.value, estimate.standard_error)),
        text(shown_interval(estimate)),
        number(estimate.standard_error),
        number(low),
        number(high),
    )


def estimate_columns(heading: str, *, interval: bool = True) -> tuple[Column, Column, Column, Column, Column]:
    """The columns of `estimate_cells`; the page has the interval where `interval` is set."""
    name = heading.partition(" (")[0]
    return (
        Column(heading, number=True),
        Column(f"{name} (95 %)", shown=interval),
        Column(f"error of {name}", number=True, shown=False),
        Column(f"{name} from", number=True, shown=False),
        Column(f"{name} to", number=True, shown=False),
    )


def shown_value(quantity: Quantity) -> str:
    """A headline number as tables give it: ``15.9 ± 1.4``, whole tokens, ``at least 2,048``."""
    estimate = quantity.estimate
    if not math.isfinite(estimate.value):
        return "–"
    if quantity.unit != "tokens":
        return with_error(estimate.value, estimate.standard_error)
    if quantity.settings.get("growth_shown") is False:
        return "no growth shown"
    bound = "at least " if quantity.at_least else ""
    error = f" ± {estimate.standard_error:,.0f}" if estimate.standard_error > 0 else ""
    return f"{bound}{estimate.value:,.0f}{error}"


def shown_interval(estimate: Estimate) -> str:
    """``0.25 to 0.33``; one end where the other is unbounded, a dash where nothing is known."""
    low, high = (f"{end:.3g}" if abs(end) < 1000 else f"{end:,.0f}" for end in estimate.interval)
    known = [math.isfinite(end) for end in estimate.interval]
    if all(known):
        return "–" if low == high else f"{low} to {high}"
    return f"from {low}" if known[0] else f"up to {high}" if known[1] else "–"


def escape_markdown(value: str) -> str:
    """Text that Markdown (with HTML in it) shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", value).replace("&", "&amp;")


def _harmless(value: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return "'" + value if value[:1] in tuple("=+-@\t") else value
