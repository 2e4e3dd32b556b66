"""The section on smaller states: what they keep, and how much of the state is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from l2m_eval.condition.measured import size_in_words
from l2m_eval.measurements.curves import BipartiteCurve
from l2m_eval.measurements.smaller_state import StateCurve
from l2m_eval.report.contents import Figure, Section
from l2m_eval.report.figures.files import make_figure
from l2m_eval.report.figures.smaller_state import families_of, plot_kept_information, plot_needed_state
from l2m_eval.report.labelled import Shown
from l2m_eval.report.selection import Group, slug
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


def smaller_state_section(
    groups: Sequence[Group[StateCurve]], bipartite: Sequence[Group[BipartiteCurve]]
) -> Section:
    """What smaller states keep of the information, by their size, and the size that keeps a share of it.

    Args:
        groups: Measurements of smaller states, by corpus.
        bipartite: Bipartite curves of the report, whose exponents are drawn beside the needed state.
    """
    beta = {
        s.label: s.curve.beta.value
        for group in bipartite
        for s in group.curves
        if s.curve.estimator == "direct" and group.unit == "tokens"
    }
    figures = [
        figure
        for group in groups
        for s in group.curves
        if families_of(s.curve)
        for figure in _figures(group, s, beta)
    ]
    return Section(
        "smaller-state",
        "Information through a smaller state",
        (
            "The model reads a text, its state is made smaller, and the text that follows is scored behind it: the "
            "information that is left, as a share of that with the whole state of the same documents.",
        ),
        tuple(dict.fromkeys(notice for group in groups for notice in group.notices)),
        figures=tuple(figures),
        tables=tuple(
            table for group in groups for table in (_needed_table(group), _kept_table(group)) if table.rows
        ),
    )


def _figures(group: Group[StateCurve], s: Shown[StateCurve], beta: dict[str, float]) -> list[Figure]:
    curve, name = s.curve, f"{group.name}-{slug(s.label)}"
    ways = ", ".join(families_of(curve))
    found = [
        make_figure(
            f"{name}-kept",
            f"Information kept by smaller states of {s.label}, on {group.where}",
            [
                f"Dashed: {100 * curve.keep:g} % kept. The last point of each line is the whole state; a state far "
                "below zero, worse than no context, is not shown."
            ],
            "Share of the information that is kept against the size of the state on a logarithmic axis, with error "
            f"bars, one panel for each of the lengths {', '.join(f'{n:,}' for n in curve.lengths)}. Series: {ways}.",
            lambda axes: plot_kept_information({s.label: curve}, axes),
            panels=len(curve.lengths),
            series=[{"label": s.label, **curve.to_json()}],
        )
    ]
    known = any(np.isfinite(size.value) for needed in curve.needed.values() for size in needed.sizes)
    if known and len(curve.lengths) > 1:
        found.append(
            make_figure(
                f"{name}-needed",
                f"The state that {s.label} needs for {100 * curve.keep:g} % of its information, on {group.where}",
                [
                    "Bars are 95 % intervals. Dotted: the growth of the information, to be compared with in slope "
                    "alone."
                ],
                "Size of the state that keeps the share against the total length, both logarithmic, beside the whole "
                f"state and the growth of the information. Series: {ways}.",
                lambda ax: plot_needed_state({s.label: curve}, ax, beta=beta),
                series=[{"label": s.label, **curve.to_json()}],
            )
        )
    return found


def _needed_table(group: Group[StateCurve]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for s in group.curves:
        for family, needed in s.curve.needed.items():
            for at, length in enumerate(s.curve.lengths):
                size, whole = needed.sizes[at], float(s.curve.bits[at])
                rows.append(
                    (
                        text(s.label),
                        number(float(length), f"{length:,}"),
                        text(family),
                        *estimate_cells(needed.amounts[at]),
                        number(
                            size.value / 8, size_in_words(size.value) if math.isfinite(size.value) else None
                        ),
                        number(whole / 8, size_in_words(whole) if math.isfinite(whole) else None),
                        number(
                            needed.size_exponent.value,
                            with_error(needed.size_exponent.value, needed.size_exponent.standard_error),
                        ),
                    )
                )
    columns = (
        Column("model"),
        Column("L (tokens)", number=True),
        Column("way"),
        *estimate_columns("needed (its unit)"),
        Column("size (bytes)", number=True),
        Column("of (bytes)", number=True),
        Column("δ of the size", number=True),
    )
    shares = " or ".join(sorted({f"{100 * s.curve.keep:g} %" for s in group.curves}))
    return Table(
        f"{group.name}-needed",
        f"The smallest state that keeps {shares} of the information, on {group.where}",
        lean(columns, rows),
        tuple(rows),
    )


def _kept_table(group: Group[StateCurve]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for s in group.curves:
        for at, length in enumerate(s.curve.lengths):
            of_length = (text(s.label), number(float(length), f"{length:,}"))
            mi, error = float(s.curve.mi[at]), float(s.curve.standard_error[at])
            rows.append((*of_length, text(f"whole: {with_error(mi, error)} nats"), *_size(float(s.curve.bits[at])),
                         number(1.0), number(math.nan), number(0.0), number(math.nan)))  # fmt: skip
            for way in s.curve.ways:
                found = way.found
                pairs = ((found.kept[at], found.kept_error[at]), (found.lost[at], found.lost_error[at]))
                cells = [
                    cell
                    for value, error in pairs
                    for cell in (number(value, with_error(value, error)), number(error))
                ]
                rows.append((*of_length, text(way.name), *_size(float(way.bits[at])), *cells))
    return Table(
        f"{group.name}-kept",
        f"What smaller states keep, on {group.where}",
        (
            Column("model"),
            Column("L (tokens)", number=True),
            Column("state"),
            Column("size (bytes)", number=True),
            Column("share kept", number=True),
            Column("error of share", number=True, shown=False),
            Column("lost (nats)", number=True),
            Column("error of lost", number=True, shown=False),
        ),
        tuple(rows),
        folded=True,
    )


def _size(bits: float) -> tuple[Cell]:
    return (number(bits / 8, size_in_words(bits) if math.isfinite(bits) else None),)
