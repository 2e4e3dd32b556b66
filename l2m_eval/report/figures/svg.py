"""Figures as files, and as a part of a page that follows the reader's colour scheme."""

from __future__ import annotations

import html
import io
import re
from typing import Any

from l2m_eval.report.figures.style import COLOURS, INK, PALE, drawing

_VARIABLES = {INK: "currentColor", PALE: "var(--pale)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(COLOURS)
}


def svg_text(figure: Any) -> str:
    """The figure as an SVG document, the same bytes for the same figure: no date, no comments."""
    buffer = io.StringIO()
    with drawing():  # identifiers are hashed with its salt
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)  # texts are repeated there beside their outlines
    return re.sub(r"\n\s*\n+", "\n", text)


def png_bytes(figure: Any) -> bytes:
    """The figure as a PNG at print resolution."""
    buffer = io.BytesIO()
    with drawing():
        figure.savefig(buffer, format="png", dpi=300, metadata={"Software": None})
    return buffer.getvalue()


def inline_svg(document: str, name: str, alternative: str) -> str:
    """An SVG document as an element of a page: colours as the page's variables, identifiers its own.

    Args:
        document: From `svg_text`.
        name: Letters, digits and hyphens; several figures of a page need different ones, since outlines of letters
            are referred to by identifiers that are alike in all figures.
        alternative: What the figure shows, for those who do not see it.
    """
    element = document[document.index("<svg") :].strip()
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', element)
    element = re.sub(r'href="#([^"]+)"', rf'href="#{name}-\1"', element)
    element = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", element)
    for colour, variable in _VARIABLES.items():
        element = element.replace(colour, variable)
    # The background is the page's own.
    element = re.sub(
        r'(<g id="[^"]*patch_1">\s*<path [^>]*style=")[^"]*"', r'\1fill: none"', element, count=1
    )
    element = re.sub(r"fill: #ffffff", "fill: none", element)
    box = re.search(r'viewBox="([^"]+)"', element)
    assert box is not None  # matplotlib always writes one
    start = (
        f'<svg viewBox="{box[1]}" xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'role="img" aria-label="{html.escape(" ".join(alternative.split()))}">'
    )
    return start + element[element.index(">") + 1 :]  # its size is the style sheet's matter
