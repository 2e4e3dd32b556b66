"""The section on divergence from a known process."""

from __future__ import annotations

from collections.abc import Sequence

from l2m_eval.measurements.kl import KLCurve
from l2m_eval.report.contents import Section
from l2m_eval.report.figures.files import make_figure
from l2m_eval.report.figures.kl import plot_kl
from l2m_eval.report.selection import Group
from l2m_eval.report.tables import (
    Column,
    Table,
    estimate_cells,
    estimate_columns,
    lean,
    number,
    text,
    with_error,
)


def kl_section(groups: Sequence[Group[KLCurve]]) -> Section:
    """KL(p ‖ q) of models against the process that the text is drawn from."""
    figures = [
        make_figure(
            group.name,
            f"Divergence from the process, on {group.where}",
            ["Bins of positions with standard errors over documents; zero would be the process itself."],
            "Divergence in nats per token against the position, in bins of doubling length, with error bars. "
            f"Series: {', '.join(s.label for s in group.curves)}.",
            lambda ax, group=group: plot_kl(list(group.curves), ax),  # type: ignore[misc]
            series=[{"label": s.label, **s.curve.to_json()} for s in group.curves],
        )
        for group in groups
    ]
    return Section(
        "kl",
        "Divergence from the process",
        (
            "How far the model's predictions are from the true ones: zero for the process itself. A state of fixed "
            "size pays for what it cannot hold.",
        ),
        tuple(dict.fromkeys(notice for group in groups for notice in group.notices)),
        figures=tuple(figures),
        tables=(_overall_table(groups), *map(_bins_table, groups)),
    )


def _overall_table(groups: Sequence[Group[KLCurve]]) -> Table:
    rows = [
        (
            text(s.label),
            text(group.corpus),
            *estimate_cells(s.curve.overall),
            number(float(s.curve.documents), f"{s.curve.documents:,}"),
        )
        for group in groups
        for s in group.curves
    ]
    columns = (
        Column("model"),
        Column("corpus"),
        *estimate_columns("KL (nats per token)"),
        Column("documents", number=True),
    )
    return Table("divergences", "Mean divergence over all positions", lean(columns, rows), tuple(rows))


def _bins_table(group: Group[KLCurve]) -> Table:
    return Table(
        group.name,
        f"Divergence by position, on {group.where}",
        (
            Column("model"),
            Column("positions"),
            Column("KL (nats per token)", number=True),
            Column("standard error", number=True, shown=False),
        ),
        tuple(
            (
                text(s.label),
                text(f"{b.first:,}–{b.last:,}"),
                number(s.curve.kl[i], with_error(s.curve.kl[i], s.curve.standard_error[i])),
                number(s.curve.standard_error[i]),
            )
            for s in group.curves
            for i, b in enumerate(s.curve.bins)
        ),
        folded=True,
    )
