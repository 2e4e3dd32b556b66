"""A figure of a report: drawn, kept as files and as a part of the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from l2m_eval.report.contents import Figure
from l2m_eval.report.figures.axes import new_figure
from l2m_eval.report.figures.style import COLUMN_WIDTH, drawing
from l2m_eval.report.figures.svg import inline_svg, png_bytes, svg_text

_HEIGHT = 2.75  # inches, of a figure with two lines in its legend
_LINE = 0.14
_PANEL = 1.5  # of each further panel


def make_figure(
    name: str,
    title: str,
    sentences: Sequence[str],
    alternative: str,
    draw: Callable[[Any], Any],
    *,
    series: Sequence[Mapping[str, Any]] = (),
    panels: int = 1,
) -> Figure:
    """Draw one figure of column width and keep it as files and as a part of the page.

    With more than one of `panels` they stand above each other, and `draw` is given all of them, an array of Axes.
    """
    with drawing():
        height = _HEIGHT + (panels - 1) * _PANEL
        figure, axes = new_figure(COLUMN_WIDTH, height, rows=panels)
        draw(axes)
        lowest = axes if panels == 1 else axes[-1]
        figure.set_figheight(height + _LINE * max(0, _legend_lines(lowest) - 2))
        document = svg_text(figure)
        png = png_bytes(figure)
    inline = inline_svg(document, name, alternative)
    return Figure(name, title, tuple(sentences), alternative, document, png, inline, tuple(series))


def _legend_lines(ax: Any) -> int:
    legend = ax.get_legend()
    if legend is None:
        return 0
    lines = sum(text.get_text().count("\n") + 1 for text in legend.get_texts())
    return -(-lines // legend._ncols)
