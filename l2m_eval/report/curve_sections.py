"""Sections on two-point mutual information and on loss by position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from l2m_eval.report.contents import Figure, Section
from l2m_eval.report.drawn import make_figure
from l2m_eval.report.figures import plot_position_nll, plot_two_point
from l2m_eval.report.selection import Group
from l2m_eval.report.tables import Column, Table, number, text, with_error
from l2m_eval.report.words import position_sentence, two_point_sentence
from l2m_eval.saved_curves import SavedPositionCurve, SavedTwoPointCurve


def two_point_section(groups: Sequence[Group[SavedTwoPointCurve]]) -> Section:
    """Two-point curves over their noise floor."""
    figures: list[Figure] = []
    tables: list[Table] = []
    notices: list[str] = []
    for group in groups:
        notices += group.notices
        generated = group.curves[0].curve.name.endswith("generated")
        subject = "text that the model writes" if generated else "the text"
        figures.append(
            make_figure(
                group.name,
                f"Mutual information of two tokens in {subject}, on {group.corpus}",
                [
                    *(two_point_sentence(s) for s in group.curves),
                    "Below the shaded floor a value cannot be told from 0.",
                ],
                "Mutual information of two tokens in nats against their distance, both logarithmic, with error bars "
                f"and a shaded noise floor. Series: {', '.join(s.label for s in group.curves)}.",
                lambda ax, group=group: plot_two_point(list(group.curves), ax),  # type: ignore[misc]
                entries=len(group.curves) + 1 + any(s.curve.exact is not None for s in group.curves),
                series=[
                    {
                        "label": s.label,
                        "curve": s.curve.name,
                        "distances": s.curve.distances,
                        "mi": s.curve.mi,
                        "standard_error": s.curve.standard_error,
                        "floor": s.curve.floor,
                        "exact": s.curve.exact,
                        "fits": [asdict(fit) for fit in s.curve.fits],
                    }
                    for s in group.curves
                ],
            )
        )
        tables.append(
            Table(
                group.name,
                f"Points of the two-point curves in {subject}, on {group.corpus}",
                (
                    Column("model"),
                    Column("d (tokens)", number=True),
                    Column("I (nats)", number=True),
                    Column("standard error", number=True, shown=False),
                    Column("noise floor", number=True),
                    Column("uncorrected", number=True),
                    Column("null", number=True),
                    Column("pairs", number=True),
                ),
                tuple(
                    (
                        text(s.label),
                        number(d, f"{d:,.0f}"),
                        number(s.curve.mi[i], with_error(s.curve.mi[i], s.curve.standard_error[i])),
                        number(s.curve.standard_error[i]),
                        number(s.curve.floor[i]),
                        number(s.curve.uncorrected[i]),
                        number(s.curve.null[i]),
                        number(s.curve.pairs[i], f"{s.curve.pairs[i]:,.0f}"),
                    )
                    for s in group.curves
                    for i, d in enumerate(s.curve.distances)
                ),
                folded=True,
            )
        )
    return Section(
        "two-point",
        "Two-point mutual information",
        (
            "I(d) between single tokens at distance d. It falls with the distance; it says nothing about how whole "
            "parts of a text depend on each other.",
        ),
        tuple(dict.fromkeys(notices)),
        figures=tuple(figures),
        tables=tuple(tables),
    )


def position_section(groups: Sequence[Group[SavedPositionCurve]]) -> Section:
    """Loss by position, per token and, where bytes are known, per byte."""
    figures: list[Figure] = []
    tables: list[Table] = []
    notices: list[str] = []
    for group in groups:
        notices += group.notices
        names = ", ".join(s.label for s in group.curves)
        kinds = [("tokens", "token")] if group.unit == "tokens" else []
        # Bytes of a process' made-up words mean nothing.
        if not group.corpus.startswith("process ") and all(_has_bytes(s.curve) for s in group.curves):
            kinds.append(("bytes", "byte"))
        for unit, per in kinds:
            figures.append(
                make_figure(
                    f"{group.name}-per-{per}",
                    f"Loss by position, per {per}, on {group.corpus}",
                    [position_sentence(s) for s in group.curves] if (unit, per) == kinds[0] else [
                        "The same in bits per byte against bytes of context, in which different tokenizers compare."
                    ],
                    f"Loss in {'nats per token' if per == 'token' else 'bits per byte'} against the position in "
                    f"{unit}, both logarithmic, with error bars. Series: {names}.",
                    lambda ax, group=group, unit=unit, per=per: plot_position_nll(  # type: ignore[misc]
                        list(group.curves), ax, unit=unit, per=per
                    ),
                    entries=len(group.curves) + any(s.curve.exact is not None for s in group.curves),
                    series=[
                        {
                            "label": s.label,
                            "first": s.curve.first,
                            "last": s.curve.last,
                            "nll": s.curve.nll,
                            "standard_error": s.curve.standard_error,
                            "bits_per_byte": s.curve.bits_per_byte,
                            "bits_per_byte_error": s.curve.bits_per_byte_error,
                            "byte_position": s.curve.byte_position,
                            "exact": s.curve.exact,
                        }
                        for s in group.curves
                    ],
                )
            )  # fmt: skip
        tables.append(_position_table(group))
    return Section(
        "position",
        "Loss by position",
        ("The negative log-likelihood of a token, by how much text the model has read before it.",),
        tuple(dict.fromkeys(notices)),
        figures=tuple(figures),
        tables=tuple(tables),
    )


def _has_bytes(curve: SavedPositionCurve) -> bool:
    return bool(np.isfinite(curve.byte_position).all() and np.isfinite(curve.bits_per_byte).all())


def _position_table(group: Group[SavedPositionCurve]) -> Table:
    rows = []
    for s in group.curves:
        c = s.curve
        for i, name in enumerate(c.names):
            rows.append(
                (
                    text(s.label),
                    number(c.first[i], name.replace("-", "–")),
                    number(c.last[i]),
                    number(c.nll[i], with_error(c.nll[i], c.standard_error[i])),
                    number(c.standard_error[i]),
                    number(c.bits_per_byte[i], with_error(c.bits_per_byte[i], c.bits_per_byte_error[i])),
                    number(c.bits_per_byte_error[i]),
                    number(c.byte_position[i], f"{c.byte_position[i]:,.0f}"),
                )
            )
    return Table(
        group.name,
        f"Loss by position on {group.corpus}",
        (
            Column("model"),
            Column("positions", number=True),
            Column("last position", number=True, shown=False),
            Column("nats per token", number=True),
            Column("standard error", number=True, shown=False),
            Column("bits per byte", number=True),
            Column("bits per byte error", number=True, shown=False),
            Column("byte position", number=True),
        ),
        tuple(rows),
        folded=True,
    )
