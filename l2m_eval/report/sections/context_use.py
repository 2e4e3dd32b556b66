"""The section on context: how effective contexts were found, and the share of information that is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence

from l2m_eval.measurements.context_use import ContextUse
from l2m_eval.report.contents import Figure, Section
from l2m_eval.report.figures.context_use import plot_retention
from l2m_eval.report.figures.files import make_figure
from l2m_eval.report.selection import Group, Selection
from l2m_eval.report.tables import (
    Cell,
    Column,
    Table,
    estimate_cells,
    estimate_columns,
    lean,
    number,
    text,
    with_error,
)
from l2m_eval.results.comparable import corpus_in_words
from l2m_eval.results.run import Results
from l2m_eval.statistics.estimate import Estimate

SHARE = 0.95  # whose context the tables give


def context_section(selection: Selection, groups: Sequence[Group[ContextUse]]) -> Section | None:
    """How the effective contexts of the summary were found, and the share of information that the last tokens keep.

    Args:
        selection: The results.
        groups: Of measurements of context use.
    """
    table = use_table(selection)
    if table is None and not groups:
        return None
    told = (
        "The effective context is the longest length up to which information is shown to grow.",
        *(
            [
                "For the share kept, the model reads the last k tokens before a fixed block of text: the information "
                "that they carry about it, as a share of that of the longest context."
            ]
            if groups
            else []
        ),
    )
    return Section(
        "context-use",
        "How much context a model uses",
        (" ".join(told),),
        tuple(dict.fromkeys(notice for group in groups for notice in group.notices)),
        figures=tuple(_retention_figure(group) for group in groups),
        tables=(*(() if table is None else (table,)), *map(_retention_table, groups)),
    )


def use_table(selection: Selection) -> Table | None:
    """How each effective context was found, and what lies beyond it; None if no result has one."""
    by_model = sorted(selection.results, key=lambda one: selection.numbers[selection.labels[one]])
    rows = [row for one in by_model if (row := _use_row(one, selection.labels[one])) is not None]
    if not rows:
        return None
    columns = (
        Column("model"),
        Column("corpus"),
        Column("measured by"),
        Column("growth up to", number=True),
        Column("longest measured", number=True),
        Column("its end was found"),
        Column("at most this much beyond (nats)", number=True),
        *estimate_columns("needed"),
    )
    return Table(
        "context",
        f"How the effective contexts were found; needed: the context that keeps {100 * SHARE:g} % of the information "
        "(tokens)",
        lean(columns, rows),
        tuple(rows),
    )


def _use_row(one: Results, label: str) -> tuple[Cell, ...] | None:
    if one.block.get("results") or not (one.context_use or any(c.name == "direct" for c in one.bipartite)):
        return None
    effective = one.effective_context()
    if effective is None:
        return None
    needed = _needed(one.context_use) if one.context_use is not None else Estimate(math.nan)
    falls = f"; falls beyond {effective.falls_beyond:,}" if effective.falls_beyond is not None else ""
    end = effective.reason or ("no" if effective.reached else "yes" if effective.grows else "no growth")
    return (
        text(label),
        text(corpus_in_words(one)),
        text("retention" if one.context_use is not None else "growth"),
        number(effective.value, f"{effective.value:,.0f}" if math.isfinite(effective.value) else None),
        number(float(effective.longest), f"{effective.longest:,}"),
        text(end + falls),
        number(effective.remaining),
        *estimate_cells(needed),
    )


def _needed(use: ContextUse) -> Estimate:
    return use.curve.needed.get(SHARE, Estimate(math.nan))


def _retention_figure(group: Group[ContextUse]) -> Figure:
    return make_figure(
        group.name,
        f"Share of the information that the last k tokens carry, on {group.where}",
        [
            "Points with standard errors; the dashed line marks the share whose context the table gives as needed.",
            "A dotted line marks the context that the model of its colour claims.",
        ],
        "Share of the information about a block of text kept by the last k tokens before it, against k on a "
        f"logarithmic axis, with error bars. Series: {', '.join(s.label for s in group.curves)}.",
        lambda ax: plot_retention(list(group.curves), ax, share=SHARE),
        series=[{"label": s.label, **s.curve.to_json()} for s in group.curves],
    )


def _retention_table(group: Group[ContextUse]) -> Table:
    rows = []
    for s in group.curves:
        curve = s.curve.curve
        for i, k in enumerate(curve.contexts):
            if i == 0:
                continue
            rows.append(
                (
                    text(s.label),
                    number(float(k), f"{k:,}"),
                    number(
                        curve.information[i], with_error(curve.information[i], curve.information_error[i])
                    ),
                    number(curve.information_error[i]),
                    number(curve.kept[i], with_error(curve.kept[i], curve.kept_error[i])),
                    number(curve.kept_error[i]),
                    number(curve.bits_per_byte[i]),
                    number(float(curve.documents_each[i])),
                )
            )
    columns = (
        Column("model"),
        Column("k (tokens)", number=True),
        Column("information (nats)", number=True),
        Column("error of information", number=True, shown=False),
        Column("share kept", number=True),
        Column("error of share", number=True, shown=False),
        Column("bits per byte", number=True),
        Column("documents", number=True),
    )
    return Table(
        group.name,
        f"Information that the last k tokens carry, on {group.where}",
        lean(columns, rows, ("documents",)),
        tuple(rows),
        folded=True,
    )
