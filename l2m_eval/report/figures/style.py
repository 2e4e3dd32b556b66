"""How every figure looks: column width, and series that all kinds of colour vision can distinguish.

Series differ in colour, marker and line style together, so that a figure can be read in greyscale, too.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

COLUMN_WIDTH = 3.3  # inches; a figure is made for one column of a two-column paper
# Okabe and Ito (2008), without black, which is the ink, and yellow, which vanishes on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
LINES: tuple[Any, ...] = ("-", "--", "-.", (0, (5, 1.5, 1, 1.5, 1, 1.5)), ":")
INK = "#1a1a1a"
PALE = "#8c8c8c"  # grid lines, noise floors
LONGEST_LABEL = 34

RC: dict[str, Any] = {
    "figure.figsize": (COLUMN_WIDTH, 2.6),
    "figure.dpi": 100,
    "savefig.dpi": 300,
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same figure everywhere
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "errorbar.capsize": 1.8,
    "axes.linewidth": 0.7,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": PALE,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "svg.hashsalt": "l2m-eval",
    "svg.fonttype": "path",
    "figure.constrained_layout.use": True,
}


@dataclass(frozen=True)
class Series:
    """How one series is drawn."""

    colour: str
    marker: str
    line: Any

    @property
    def errorbar(self) -> dict[str, Any]:
        """For `Axes.errorbar`: the error bars solid, whatever the line between the points."""
        return {"color": self.colour, "marker": self.marker, "linestyle": self.line, "elinewidth": 0.8}


def series(number: int) -> Series:
    """The look of the series with this number; markers and colours have no common period below 42."""
    return Series(COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)], LINES[number % len(LINES)])


def literal(text: str, longest: int = LONGEST_LABEL) -> str:
    """Text as matplotlib shall show it: no mathematics, no line breaks, not left out of a legend, not too long."""
    plain = " ".join("".join(c if c.isprintable() else " " for c in text).split()) or "?"
    if len(plain) > longest:
        keep = longest - 1
        plain = f"{plain[: keep // 2]}…{plain[-(keep - keep // 2) :]}"
    escaped = plain.replace("$", r"\$")
    # A leading underscore hides a legend entry; a word joiner, which has no width, is put before it.
    return "\N{ZERO WIDTH SPACE}" + escaped if escaped.startswith("_") else escaped


def minus_signs(text: str) -> str:
    """Text whose negative numbers have minus signs, not hyphens, at which a line may end."""
    return re.sub(r"(?<![\w−-])-(?=\d)", "−", text.replace("γ - β", "γ − β"))


def large_number(value: float) -> str:
    """``12,345``, and ``6.9·10²⁰`` from ten millions on."""
    if value < 1e7:
        return f"{value:,.0f}"
    mantissa, _, exponent = f"{value:.1e}".partition("e+")
    return f"{mantissa}·10{str(int(exponent)).translate(str.maketrans('0123456789', '⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def entry(label: str, detail: str) -> str:
    """A legend entry of a label and what was found; on two lines where one is too long for a column."""
    detail = minus_signs(detail)
    if not label:
        return detail
    name = literal(label)
    return f"{name}, {detail}" if len(name) + len(detail) <= 46 else f"{name},\n{detail}"


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib's settings for the figures of this package; the caller's are restored afterwards."""
    import matplotlib

    with matplotlib.rc_context(RC), warnings.catch_warnings():
        # A name in letters that the font lacks is drawn as boxes; tables and texts of the page have it as it is.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font", UserWarning)
        yield
