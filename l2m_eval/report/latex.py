"""Tables for papers in LaTeX with booktabs, no wider than a page: symbols for names, long rather than wide."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

_MOST_COLUMNS = 5  # of numbers before models go across
_PAGE = 335.0  # points: the text width of the article class (345), less what the widths may be wrong by
_BETWEEN = 10.0  # points between two columns
# Points of Computer Modern at 8 pt, rather more than less: digits and most lower-case letters; capitals and symbols;
# narrow letters, marks and spaces.
_USUAL, _WIDE, _NARROW = 4.3, 6.9, 3.0
_SLIM = "fijlrst .,:;()[]|/'!-"
# From names of quantities to what papers call them; what is none of these stays as it is named.
_SYMBOLS = (
    (r"(?:direct_)?mi@(\d+)", r"$I(\1)$"),
    (r"vclub_mi@(\d+)", r"$I_{\\mathrm{vCLUB}}(\1)$"),
    (r"direct_beta", r"$\\beta$"),
    (r"vclub_beta", r"$\\beta_{\\mathrm{vCLUB}}$"),
    (r"l2m_margin", r"$\\gamma-\\beta$"),
    (r"effective_context", r"context used"),
    (r"effective_context@retention", r"context used (retention)"),
    (r"claimed_context", r"context claimed"),
    (r"context_needed@0?\.(\d+)", r"context for .\1"),
    (r"bits_per_byte", r"bits per byte"),
    (r"context_gain", r"context gain"),
    (r"two_point_alpha", r"$\\alpha$"),
)
_LETTERS = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "_": r"\_", "&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "−": "$-$", "↑": r"$\uparrow$",
    "↓": r"$\downarrow$", "β": r"$\beta$", "α": r"$\alpha$", "γ": r"$\gamma$", "·": r"$\cdot$", "–": "--",
    "<": r"$<$", ">": r"$>$", "|": r"$|$", '"': "''", "…": r"\dots{}", "“": "``", "”": "''", "’": "'",
}  # fmt: skip


def latex_heading(name: str, unit: str, higher_is_better: bool | None) -> str:
    """What a paper calls a quantity, with its unit and an arrow to the better direction."""
    symbol = latex_text(name)
    for pattern, replacement in _SYMBOLS:
        if re.fullmatch(pattern, name):
            symbol = re.sub(pattern, replacement, name)
    short = latex_text(unit.replace(" per ", "/"))
    told = f" ({short})" if unit and unit != name.replace("_", " ") else ""
    arrow = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}[higher_is_better]
    return symbol + told + arrow


def latex_table(
    caption: str, names: Sequence[str], headings: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    """One float that fits a page: models down where the numbers are few, else models across; in parts if need be.

    Args:
        caption: Plain text.
        names: Of the models, plain text.
        headings: Of the numbers, LaTeX.
        rows: What the cells say, plain text, (models, numbers).
    """
    labels = [latex_text(name) for name in names]
    cells = [[latex_text(cell) for cell in row] for row in rows]
    corner, down, across = "model", labels, list(headings)
    if len(headings) > _MOST_COLUMNS and len(labels) < len(headings):
        corner, down, across = "", list(headings), labels
        cells = [list(column) for column in zip(*cells, strict=True)]
    parts = []
    for part in _parts(down, across, cells):
        lines = [" & ".join([head, *row[part]]) + r" \\" for head, row in zip(down, cells, strict=True)]
        parts.append(
            [
                rf"  \begin{{tabular}}{{l{'r' * len(across[part])}}}",
                r"    \toprule",
                rf"    {' & '.join([corner, *across[part]])} \\",
                r"    \midrule",
                *(f"    {line}" for line in lines),
                r"    \bottomrule",
                r"  \end{tabular}",
            ]
        )
    body = [
        line for number, part in enumerate(parts) for line in ([r"  \par\medskip"] if number else []) + part
    ]
    return "\n".join(
        [
            r"% \usepackage{booktabs}",
            r"\begin{table}",
            r"  \centering\footnotesize\setlength{\tabcolsep}{5pt}",
            rf"  \caption{{{latex_text(caption)}}}",
            *body,
            r"\end{table}",
            "",
        ]
    )


def _parts(down: Sequence[str], across: Sequence[str], cells: Sequence[Sequence[str]]) -> list[slice]:
    """Ranges of columns that fit a page beside the first one."""
    widths = [
        _BETWEEN + max(_width(head), *(_width(row[i]) for row in cells)) for i, head in enumerate(across)
    ]
    room = _PAGE - max(map(_width, down))
    parts, first, used = [], 0, 0.0
    for i, width in enumerate(widths):
        if i > first and used + width > room:
            parts.append(slice(first, i))
            first, used = i, 0.0
        used += width
    return [*parts, slice(first, len(across))]


def _width(latex: str) -> float:
    """About how wide a line of LaTeX is set, points."""
    plain = re.sub(r"\\[a-zA-Z]+", "M", re.sub(r"\\mathrm|[{}$]", "", latex)).replace("\\", "")
    return sum(
        _WIDE if one.isupper() or one in "mw%&@" else _NARROW if one in _SLIM else _USUAL for one in plain
    )


def latex_text(value: str) -> str:
    """Text that pdflatex sets as it is; a letter that its fonts lack is a question mark."""
    value = re.sub(r"(?<![\w-])-(?=\d)", "−", value)
    return "".join(map(_letter, " ".join(value.split())))


def _letter(character: str) -> str:
    if character in _LETTERS:
        return _LETTERS[character]
    if " " <= character < "\x7f":
        return character
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(_LETTERS.get(one, one) for one in plain) or "?"
