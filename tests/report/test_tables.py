"""Tables: every digit in CSV, the same cells in Markdown, and no text that does something."""

import csv
import io

import pytest

from l2m_eval.report.tables import Column, Table, escape_markdown, number, text, with_error

TABLE = Table(
    "t",
    "A | caption",
    (Column("model"), Column("value", number=True), Column("error", number=True, shown=False)),
    (
        (text("a|b"), number(1 / 3, with_error(1 / 3, 0.0123)), number(0.0123)),
        (text("=SUM(A1)"), number(None), number(float("nan"))),
    ),
)


def test_csv_keeps_every_digit_and_leaves_unknown_numbers_empty():
    head, first, second = csv.reader(io.StringIO(TABLE.to_csv()))
    assert head == ["model", "value", "error"]
    assert float(first[1]) == 1 / 3
    assert second[1:] == ["", ""]


def test_a_spreadsheet_sees_no_formula():
    assert list(csv.reader(io.StringIO(TABLE.to_csv())))[2][0] == "'=SUM(A1)"


def test_markdown_shows_the_columns_of_the_page_and_its_text_stays_in_its_cell():
    lines = TABLE.to_markdown().splitlines()
    assert lines[0] == r"A \| caption"
    assert lines[2] == "| model | value |"
    assert lines[4] == r"| a\|b | 0.333 ± 0.012 |"
    assert lines[5] == "| =SUM(A1) | – |"


@pytest.mark.parametrize(
    ("value", "error", "shown"),
    [
        (15.8679, 1.412, "15.9 ± 1.4"),
        (0.254, 0.0996, "0.25 ± 0.10"),
        (12345.6, 123.4, "12,346 ± 123"),
        (2.0, float("nan"), "2"),
        (2.5, 0.0, "2.5"),
        (float("nan"), 1.0, "–"),
        (3.0, 1.96, "3.0 ± 2.0"),
    ],
)
def test_an_error_has_two_digits_and_the_value_ends_where_it_does(value, error, shown):
    assert with_error(value, error) == shown


def test_markdown_in_a_name_is_shown_not_obeyed():
    assert escape_markdown("<b>[x](y)*`") == r"\<b\>\[x\](y)\*\`"
