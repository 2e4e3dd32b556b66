"""Sections on two-point mutual information and on loss by position."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from l2m_eval.estimators.two_point.fit import TwoPointFit
from l2m_eval.measurements.curves import FittedPositionCurve, FittedTwoPointCurve
from l2m_eval.report.contents import Figure, Section
from l2m_eval.report.figures.curves import plot_position_nll, plot_two_point
from l2m_eval.report.figures.files import make_figure
from l2m_eval.report.selection import Group
from l2m_eval.report.sentences import distance_from_exact, in_words
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
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.goodness import REJECTED


def two_point_section(groups: Sequence[Group[FittedTwoPointCurve]]) -> Section:
    """Two-point curves over their noise floor."""
    return Section(
        "two-point",
        "Two-point mutual information",
        (
            "I(d) between single tokens at distance d. It falls with the distance; it says nothing about how whole "
            "parts of a text depend on each other.",
        ),
        tuple(dict.fromkeys(notice for group in groups for notice in group.notices)),
        figures=tuple(_two_point_figure(group) for group in groups),
        tables=(_two_point_fits(groups), *(_two_point_points(group) for group in groups)),
    )


def _subject(group: Group[FittedTwoPointCurve]) -> str:
    return "text that the model writes" if group.curves[0].curve.name.endswith("generated") else "the text"


def _two_point_figure(group: Group[FittedTwoPointCurve]) -> Figure:
    exact = any(s.curve.exact is not None for s in group.curves)
    return make_figure(
        group.name,
        f"Mutual information of two tokens in {_subject(group)}, on {group.where}",
        [
            f"Points with standard errors, and fitted laws{'; dotted: exact values' if exact else ''}.",
            "Values below the shaded floor are indistinguishable from zero.",
        ],
        "Mutual information of two tokens in nats against their distance, both logarithmic, with error bars "
        f"and a shaded noise floor. Series: {', '.join(s.label for s in group.curves)}.",
        lambda ax: plot_two_point(list(group.curves), ax, name=group.curves[0].curve.name),
        series=[
            {
                "label": s.label,
                "curve": s.curve.name,
                "distances": s.curve.distances,
                "mi": s.curve.mi,
                "standard_error": s.curve.standard_error,
                "floor": s.curve.floor,
                "exact": s.curve.exact,
                "fits": [_fit_series(fit) for fit in s.curve.fits],
            }
            for s in group.curves
        ],
    )


_FORMS = {
    "power_law": "A·d^(−α) above the floor",
    "power_law_with_offset_in_logarithms": "A·d^(−α) + c in logarithms, null not subtracted",
    "power_law_with_offset": "A·d^(−α) + c, null not subtracted",
}


def _two_point_fits(groups: Sequence[Group[FittedTwoPointCurve]]) -> Table:
    """Each law of each curve, and how far the curve is above its noise floor."""
    rows = []
    for group in groups:
        for s in group.curves:
            c = s.curve
            away = None if c.exact is None else distance_from_exact(c.mi, c.standard_error, c.exact)
            of = (text(s.label), text(group.corpus), text(_subject(group)))
            about = (
                text(_above_the_floor(c)),
                number(float(c.documents), f"{c.documents:,}"),
                number(float(c.groups), f"{c.groups:,}"),
                number(away, f"{away or 0:.1f}"),
            )
            rows += [(*of, *_law(fit), *about) for fit in c.fits]
    columns = (
        Column("model"),
        Column("corpus"),
        Column("in"),
        Column("law"),
        *estimate_columns("α"),
        *estimate_columns("A (nats)", interval=False),
        Column("c (nats)", number=True),
        Column("goodness of fit p", number=True),
        Column("conclusion"),
        Column("above the noise floor"),
        Column("documents", number=True),
        Column("groups", number=True),
        Column("off by (standard errors)", number=True),
    )
    return Table(
        "two-point-fits",
        "Laws fitted to the two-point curves, and where the curves are above their noise floors",
        lean(columns, rows, ("corpus", "in")),
        tuple(rows),
    )


def _law(fit: TwoPointFit) -> tuple[Cell, ...]:
    failed = bool(fit.reason) or not math.isfinite(fit.exponent.value)
    conclusion = in_words(fit.reason) if failed else _conclusion(fit.p_value)
    offset = fit.offset.value if fit.form != "power_law" else math.nan
    return (
        text(_FORMS.get(fit.form, fit.form)),
        *estimate_cells(Estimate(math.nan) if failed else fit.exponent),
        *estimate_cells(Estimate(math.nan) if failed else fit.amplitude),
        number(math.nan if failed else offset),
        number(math.nan if failed else fit.p_value, f"{fit.p_value:.2g}"),
        text(conclusion),
    )


def _conclusion(p_value: float) -> str:
    """What a goodness of fit says; empty where the run did not ask."""
    if math.isnan(p_value):
        return ""
    return "rejected: describes this range only" if p_value < REJECTED else "not rejected"


def _above_the_floor(c: FittedTwoPointCurve) -> str:
    known = np.isfinite(c.floor)
    below = c.distances[known & (c.mi <= c.floor)]
    if not known.any():
        return "no floor"
    if not len(below):
        return "everywhere"
    if len(below) == (c.distances >= below[0]).sum():
        return f"up to d = {c.distances[c.distances < below[0]].max(initial=0):,.0f}"
    return f"but for d = {', '.join(f'{d:,.0f}' for d in below)}"


def _two_point_points(group: Group[FittedTwoPointCurve]) -> Table:
    return Table(
        group.name,
        f"Points of the two-point curves in {_subject(group)}, on {group.where}",
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


def _fit_series(fit: TwoPointFit) -> dict[str, Any]:
    """A fit in ``report.json``, its exponent under the name that the page gives it."""
    numbers = asdict(fit)
    return {"form": numbers.pop("form"), "alpha": numbers.pop("exponent"), **numbers}


def position_section(groups: Sequence[Group[FittedPositionCurve]]) -> Section:
    """Loss by position, per token and, where bytes are known, per byte."""
    figures: list[Figure] = []
    for group in groups:
        kinds = [("tokens", "token")] if group.unit == "tokens" else []
        # Bytes of a process' made-up words mean nothing.
        if not group.corpus.startswith("process ") and all(_has_bytes(s.curve) for s in group.curves):
            kinds.append(("bytes", "byte"))
        figures += [_position_figure(group, unit, per) for unit, per in kinds]
    return Section(
        "position",
        "Loss by position",
        ("The negative log-likelihood of a token, by how much text the model has read before it.",),
        tuple(dict.fromkeys(notice for group in groups for notice in group.notices)),
        figures=tuple(figures),
        tables=(_losses_table(groups), *(_position_table(group) for group in groups)),
    )


def _position_figure(group: Group[FittedPositionCurve], unit: str, per: str) -> Figure:
    exact = per == "token" and any(s.curve.exact is not None for s in group.curves)
    fitted = per == "token" and any(s.curve.fit is not None and not s.curve.fit.reason for s in group.curves)
    bins = "Bins of positions with standard errors over documents"
    caption = (
        [
            f"{bins}{', and the fitted approach h + B·t^(β−1) as a thin line' if fitted else ''}"
            f"{'; dotted: exact values' if exact else ''}."
        ]
        if per == "token"
        else [
            f"{bins}, in bits per byte against bytes of context, in which different tokenizers can be compared."
        ]
    )
    return make_figure(
        f"{group.name}-per-{per}",
        f"Loss by position, per {per}, on {group.where}",
        caption,
        f"Loss in {'nats per token' if per == 'token' else 'bits per byte'} against the position in "
        f"{unit}, both logarithmic, with error bars. Series: {', '.join(s.label for s in group.curves)}.",
        lambda ax: plot_position_nll(list(group.curves), ax, unit=unit, per=per),
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


def _has_bytes(curve: FittedPositionCurve) -> bool:
    """Whether bytes were counted; a single bin may have none (a first token that is a bare word boundary)."""
    return bool(np.isfinite(curve.byte_position).all() and np.isfinite(curve.bits_per_byte).any())


def _losses_table(groups: Sequence[Group[FittedPositionCurve]]) -> Table:
    """Mean loss, what context gains, and the approach to the entropy rate, of each model."""
    rows = []
    for group in groups:
        for s in group.curves:
            c, fit = s.curve, s.curve.fit
            away = None if c.exact is None else distance_from_exact(c.nll, c.standard_error, c.exact)
            failed = fit is None or bool(fit.reason) or not math.isfinite(fit.exponent.value)
            unknown = Estimate(math.nan)
            rate, exponent = (unknown, unknown) if fit is None or failed else (fit.entropy_rate, fit.exponent)
            p_value = math.nan if fit is None or failed else fit.p_value
            rows.append(
                (
                    text(s.label),
                    text(group.corpus),
                    *(_value(e) for e in (c.overall, c.overall_bits_per_byte, c.context_gain)),
                    *estimate_cells(rate),
                    *estimate_cells(exponent),
                    number(p_value, f"{p_value:.2g}"),
                    text("" if fit is None else in_words(fit.reason) if failed else _conclusion(p_value)),
                    number(float(c.documents), f"{c.documents:,}"),
                    number(float(c.clusters), f"{c.clusters:,}"),
                    number(away, f"{away or 0:.1f}"),
                )
            )
    columns = (
        Column("model"),
        Column("corpus"),
        Column("nats per token", number=True),
        Column("bits per byte", number=True),
        Column("gain from context (nats)", number=True),
        *estimate_columns("h (nats)", interval=False),
        *estimate_columns("β"),
        Column("goodness of fit p", number=True),
        Column("approach"),
        Column("documents", number=True),
        Column("sources", number=True),
        Column("off by (standard errors)", number=True),
    )
    return Table(
        "losses",
        "Mean loss, what context gains, and the approach h + B·t^(β−1) to the entropy rate",
        lean(columns, rows),
        tuple(rows),
    )


def _value(estimate: Estimate) -> Cell:
    return number(estimate.value, with_error(estimate.value, estimate.standard_error))


def _position_table(group: Group[FittedPositionCurve]) -> Table:
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
        f"Loss by position on {group.where}",
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
