"""A figure of a report: drawn, kept as files and as a part of the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from l2m_eval.report.axes import new_figure
from l2m_eval.report.contents import Figure
from l2m_eval.report.style import COLUMN_WIDTH, drawing
from l2m_eval.report.svg import inline_svg, png_bytes, svg_text

_HEIGHT = 2.75  # inches, of a figure with two entries in its legend


def make_figure(
    name: str,
    title: str,
    sentences: Sequence[str],
    alternative: str,
    draw: Callable[[Any], Any],
    *,
    entries: int = 2,
    series: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """Draw one figure of column width and keep it as files and as a part of the page."""
    with drawing():
        figure, ax = new_figure(COLUMN_WIDTH, _HEIGHT + 0.14 * max(0, entries - 2))
        draw(ax)
        document = svg_text(figure)
        png = png_bytes(figure)
    inline = inline_svg(document, name, alternative)
    return Figure(name, title, tuple(sentences), alternative, document, png, inline, tuple(series))
