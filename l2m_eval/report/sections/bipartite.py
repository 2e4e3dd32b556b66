"""Sections on the bipartite curves: what was measured, and whether it is a power law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from l2m_eval.condition.law import ScalingLaw
from l2m_eval.errors import L2MError
from l2m_eval.measurements.curves import BipartiteCurve
from l2m_eval.report.contents import Figure, Section
from l2m_eval.report.figures.curves import lengths_in, plot_bipartite
from l2m_eval.report.figures.files import make_figure
from l2m_eval.report.figures.shapes import draw_residuals, shapes_of
from l2m_eval.report.labelled import Shown, fit_replicates, fitted
from l2m_eval.report.selection import Group, slug
from l2m_eval.report.sentences import distance_from_exact, documents_on_shapes
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
from l2m_eval.statistics.shapes import POWER_LAW, ShapeFit


def bipartite_section(
    groups: Sequence[Group[BipartiteCurve]], references: Sequence[str | ScalingLaw]
) -> Section:
    """Bipartite curves with their fits; the direct estimator, which everything else rests on, first."""
    ordered = sorted(groups, key=lambda group: group.curves[0].curve.estimator != "direct")
    return Section(
        "bipartite",
        "Bipartite mutual information",
        (
            "I(L): the information, in nats, that the first part of a text carries about the second, as the model "
            "expresses it. A model whose curve keeps growing uses what it reads.",
        ),
        tuple(dict.fromkeys(notice for group in ordered for notice in group.notices)),
        figures=tuple(
            _bipartite_figure(group, references if group.unit == "tokens" else ()) for group in ordered
        ),
        tables=(_fits_table(ordered), *(_bipartite_table(group) for group in ordered)),
    )


def _bipartite_figure(group: Group[BipartiteCurve], laws: Sequence[str | ScalingLaw]) -> Figure:
    estimator = {"direct": "direct estimator", "vclub": "vCLUB"}.get(
        group.curves[0].curve.name, group.curves[0].curve.name
    )
    return make_figure(
        group.name,
        f"Mutual information of the two parts of a text, {estimator}, on {group.where}",
        _caption(group),
        f"Mutual information in nats against the total length L in {group.unit}, both logarithmic, with "
        f"error bars and fitted power laws. Series: {', '.join(s.label for s in group.curves)}.",
        lambda ax: plot_bipartite(list(group.curves), ax, unit=group.unit, references=laws),
        series=[_bipartite_series(s, group.unit) for s in group.curves],
    )


def _caption(group: Group[BipartiteCurve]) -> list[str]:
    """What is drawn; the numbers are in the table under the figures."""
    bars = "with standard errors over independent groups of documents"
    exact = "; dotted: exact values" if any(s.curve.exact is not None for s in group.curves) else ""
    if group.unit == "bytes":
        return [f"The curves against the bytes of text that their lengths cover on average, {bars}{exact}."]
    band = all(
        s.results is not None and fit_replicates(s.results, s.curve.name) is not None for s in group.curves
    )
    return [
        f"Points {bars}, and fitted power laws{exact}.",
        "Bands are 95 % bands of the fits, from resampling documents."
        if band
        else "Bands of the fits are drawn where the run kept its documents (--log_samples).",
    ]


def _bipartite_series(s: Shown[BipartiteCurve], unit: str) -> dict[str, Any]:
    c = s.curve
    return {
        "label": s.label,
        "curve": c.name,
        "unit": unit,
        "lengths": lengths_in(c, s.label, unit),
        "mi": c.mi,
        "standard_error": c.standard_error,
        "beta": asdict(c.beta),
        "amplitude": asdict(c.amplitude),
        "exact": c.exact,
    }


def _bipartite_table(group: Group[BipartiteCurve]) -> Table:
    rows = []
    for s in group.curves:
        c = s.curve
        for i, length in enumerate(lengths_in(c, s.label, group.unit)):
            rows.append(
                (
                    text(s.label),
                    number(length, f"{length:,.0f}"),
                    number(c.mi[i], with_error(c.mi[i], c.standard_error[i])),
                    number(c.standard_error[i]),
                    number(None if c.bytes is None else c.bytes[i]),
                    number(None if c.documents is None else float(c.documents[i])),
                    number(None if c.exact is None else c.exact[i]),
                )
            )
    columns = (
        Column("model"),
        Column(f"L ({group.unit})", number=True),
        Column("I (nats)", number=True),
        Column("standard error", number=True, shown=False),
        Column("bytes", number=True, shown=False),
        Column("documents", number=True),
        Column("exact", number=True),
    )
    return Table(
        group.name,
        f"Points of the {group.curves[0].curve.name} curves on {group.where}",
        lean(columns, rows, ("documents",)),
        tuple(rows),
        folded=True,
    )


def _fits_table(groups: Sequence[Group[BipartiteCurve]]) -> Table:
    """Exponents and amplitudes of all bipartite curves, and the documents that they rest on."""
    rows = []
    for group in groups:
        if group.unit != "tokens":
            continue
        for s in group.curves:
            c = s.curve
            away = None if c.exact is None else distance_from_exact(c.mi, c.standard_error, c.exact)
            rows.append(
                (
                    text(s.label),
                    text(group.corpus),
                    text(c.name),
                    *estimate_cells(fitted(s, "beta")),
                    *estimate_cells(c.fit.bend),
                    *estimate_cells(fitted(s, "amplitude")),
                    number(c.mi[-1], with_error(c.mi[-1], c.standard_error[-1])),
                    number(c.lengths[-1], f"{c.lengths[-1]:,.0f}"),
                    number(_documents(s), f"{_documents(s) or 0:,}"),
                    number(float(c.clusters), f"{c.clusters:,}"),
                    text(", ".join(f"{n:,}" for n in c.fit.not_positive)),
                    number(None if c.beta_exact is None else c.beta_exact, f"{c.beta_exact or 0:.3f}"),
                    number(away, f"{away or 0:.1f}"),
                    text(c.fit.method),
                )
            )
    columns = (
        Column("model"),
        Column("corpus"),
        Column("curve"),
        *estimate_columns("β"),
        *estimate_columns("upper half minus β"),
        *estimate_columns("A (nats)", interval=False),
        Column("I at longest L", number=True),
        Column("longest L", number=True),
        Column("documents", number=True),
        Column("groups", number=True),
        Column("not positive at L"),
        Column("β of the exact curve", number=True),
        Column("off by (standard errors)", number=True),
        Column("fit"),
    )
    return Table(
        "fits",
        "Power laws I = A·L^β, L the total length in tokens; β of the upper half of the lengths minus that of all; "
        "“groups” are the independent groups of documents",
        lean(columns, rows, ("corpus", "fit")),
        tuple(rows),
    )


def shapes_section(groups: Sequence[Group[BipartiteCurve]]) -> Section | None:
    """Residuals of the power law and its rivals, one figure per curve of the group's first estimator."""
    figures, notices = [], []
    outcomes: list[tuple[Cell, ...]] = []
    rows: list[tuple[Cell, ...]] = []
    wanted = [g for g in groups if g.unit == "tokens" and g.curves[0].curve.estimator == "direct"]
    for group in wanted or [g for g in groups if g.unit == "tokens"]:
        for s in group.curves:
            try:
                fits = shapes_of(s)
            except L2MError as error:
                notices.append(f"{s.label}, {s.curve.name}: rival shapes are not compared ({error}).")
                continue
            figures.append(_residuals_figure(group, s, fits))
            of = (text(s.label), text(group.corpus), text(s.curve.name))
            outcomes.append((*of, *_outcome(fits)))
            rows += [
                (
                    *of,
                    text(fit.shape),
                    text(fit.formula),
                    number(fit.parameters[0]),
                    number(fit.parameters[1]),
                    number(fit.misfit),
                    number(fit.best_share, f"{100 * fit.best_share:.1f} %"),
                )
                for fit in fits
            ]
    if not figures and not notices:
        return None
    return Section(
        "shapes",
        "Is it a power law?",
        (
            "Residuals of four shapes with two parameters each. The points of a curve share their documents, so "
            "their errors are correlated, and only resampling documents shows how certain a preference is.",
        ),
        tuple(notices),
        figures=tuple(figures),
        tables=(_rivals_table(rows),) if rows else (),
        lead=(_outcomes_table(outcomes),) if rows else (),
        open_figures=4,  # one a model: the table says the same
    )


def _residuals_figure(
    group: Group[BipartiteCurve], s: Shown[BipartiteCurve], fits: tuple[ShapeFit, ...]
) -> Figure:
    return make_figure(
        f"shapes-{group.name}-{s.number}-{slug(s.label)}"[:90].rstrip("-"),
        f"Residuals of the fits: {s.label}, {s.curve.name}, on {group.where}",
        [
            "Residuals of the least-squares fits in standard errors; the band marks two of them.",
            f"{documents_on_shapes(fits).capitalize()}.",
        ],
        f"Residuals in standard errors against the total length L of {s.label}, for a power law, a "
        "logarithm, a straight line and a saturation; a band marks two standard errors.",
        lambda ax: draw_residuals(ax, fits, s.curve.lengths[s.curve.fitted]),
        series=[
            {
                "label": s.label,
                "shape": fit.shape,
                "formula": fit.formula,
                "parameters": fit.parameters,
                "residuals": fit.residuals,
                "misfit": fit.misfit,
                "best_share": fit.best_share,
            }
            for fit in fits
        ],
    )


def _outcome(fits: Sequence[ShapeFit]) -> tuple[Cell, ...]:
    best = min(fits, key=lambda fit: fit.misfit)
    power = next(fit for fit in fits if fit.shape == POWER_LAW)
    return (
        text(best.shape),
        number(power.best_share, f"{100 * power.best_share:.0f} %"),
        number(power.p_value, f"{power.p_value:.2g}"),
        text(documents_on_shapes(fits)),
    )


def _outcomes_table(rows: Sequence[tuple[Cell, ...]]) -> Table:
    columns = (
        Column("model"),
        Column("corpus"),
        Column("curve"),
        Column("fits best"),
        Column("power law best in", number=True),
        Column("its goodness of fit p", number=True),
        Column("conclusion"),
    )
    return Table(
        "shapes",
        "Which shape fits best, in what share of resamples of documents the power law does, and how well it fits",
        lean(columns, rows, ("corpus", "curve")),
        tuple(rows),
    )


def _rivals_table(rows: Sequence[tuple[Cell, ...]]) -> Table:
    columns = (
        Column("model"),
        Column("corpus"),
        Column("curve"),
        Column("shape"),
        Column("formula"),
        Column("a", number=True),
        Column("b", number=True),
        Column("misfit", number=True),
        Column("best in resamples", number=True),
    )
    return Table(
        "rival-shapes",
        "Rival shapes: two parameters each, least squares weighted by 1/error²",
        lean(columns, rows, ("corpus", "curve")),
        tuple(rows),
        folded=True,
    )


def _documents(s: Shown[Any]) -> int | None:
    count = s.results.sample.get("documents") if s.results is not None else None
    return int(count) if isinstance(count, (int, float)) else None
