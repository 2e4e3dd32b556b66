"""Sections on the bipartite curves: what was measured, and whether it is a power law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from l2m_eval.condition import ScalingLaw
from l2m_eval.errors import L2MError
from l2m_eval.report.contents import Figure, Section
from l2m_eval.report.drawn import make_figure
from l2m_eval.report.figures import lengths_in, plot_bipartite
from l2m_eval.report.selection import Group, slug
from l2m_eval.report.shape_figure import draw_residuals, shapes_of
from l2m_eval.report.shown import Shown, fit_replicates, fitted
from l2m_eval.report.tables import Column, Table, number, text, with_error
from l2m_eval.report.words import bipartite_sentence, shapes_sentence
from l2m_eval.saved_curves import SavedBipartiteCurve


def bipartite_section(
    groups: Sequence[Group[SavedBipartiteCurve]], references: Sequence[str | ScalingLaw]
) -> Section:
    """Bipartite curves with their fits."""
    figures: list[Figure] = []
    tables: list[Table] = []
    notices: list[str] = []
    for group in groups:
        notices += group.notices
        estimator = {"direct": "direct estimator", "vclub": "vCLUB"}.get(
            group.curves[0].curve.name, group.curves[0].curve.name
        )
        names = ", ".join(s.label for s in group.curves)
        laws = references if group.unit == "tokens" else ()
        band = all(
            s.results is not None and fit_replicates(s.results, s.curve.name) is not None
            for s in group.curves
        )
        sentences = [bipartite_sentence(s, _documents(s)) for s in group.curves]
        sentences.append(
            "Error bars are standard errors over independent groups of documents; "
            + (
                "bands are 95 % bands of the fits from resampling documents."
                if band
                else "bands of the fits are drawn where the run kept its documents (--log_samples)."
            )
        )
        figures.append(
            make_figure(
                group.name,
                f"Mutual information of the two parts of a text, {estimator}, on {group.corpus}",
                sentences,
                f"Mutual information in nats against the total length L in {group.unit}, both logarithmic, with "
                f"error bars and fitted power laws. Series: {names}.",
                lambda ax, group=group, laws=laws: plot_bipartite(  # type: ignore[misc]
                    list(group.curves), ax, unit=group.unit, references=laws
                ),
                entries=len(group.curves) + len(laws) + any(s.curve.exact is not None for s in group.curves),
                series=[_bipartite_series(s, group.unit) for s in group.curves],
            )
        )
        tables.append(_bipartite_table(group))
    return Section(
        "bipartite",
        "Bipartite mutual information",
        (
            "I(L): how many nats the first part of a text tells about the second, as the model expresses it. "
            "A curve that keeps growing uses what it reads.",
        ),
        tuple(dict.fromkeys(notices)),
        figures=tuple(figures),
        tables=tuple(tables),
    )


def _bipartite_series(s: Shown[SavedBipartiteCurve], unit: str) -> dict[str, Any]:
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


def _bipartite_table(group: Group[SavedBipartiteCurve]) -> Table:
    exact = any(s.curve.exact is not None for s in group.curves)
    rows = []
    for s in group.curves:
        c = s.curve
        for i, length in enumerate(lengths_in(c, s.label, group.unit)):
            row = [
                text(s.label),
                number(length, f"{length:,.0f}"),
                number(c.mi[i], with_error(c.mi[i], c.standard_error[i])),
                number(c.standard_error[i]),
                number(None if c.bytes is None else c.bytes[i]),
            ]
            rows.append(tuple(row + ([number(None if c.exact is None else c.exact[i])] if exact else [])))
    columns = [
        Column("model"),
        Column(f"L ({group.unit})", number=True),
        Column("I (nats)", number=True),
        Column("standard error", number=True, shown=False),
        Column("bytes", number=True, shown=False),
    ]
    name = group.curves[0].curve.name
    return Table(
        group.name,
        f"Points of the {name} curves on {group.corpus}",
        tuple(columns + ([Column("exact", number=True)] if exact else [])),
        tuple(rows),
        folded=True,
    )


def fits_table(groups: Sequence[Group[SavedBipartiteCurve]]) -> Table:
    """Exponents and amplitudes of all bipartite curves."""
    rows = []
    for group in groups:
        if group.unit != "tokens":
            continue
        for s in group.curves:
            c, beta, amplitude = s.curve, fitted(s, "beta"), fitted(s, "amplitude")
            rows.append(
                (
                    text(s.label),
                    text(group.corpus),
                    text(c.name),
                    number(beta.value, with_error(beta.value, beta.standard_error)),
                    number(beta.standard_error),
                    number(beta.interval[0], f"{beta.interval[0]:.3f}"),
                    number(beta.interval[1], f"{beta.interval[1]:.3f}"),
                    number(amplitude.value, with_error(amplitude.value, amplitude.standard_error)),
                    number(c.mi[-1], with_error(c.mi[-1], c.standard_error[-1])),
                    number(c.lengths[-1], f"{c.lengths[-1]:,.0f}"),
                    text(c.fit),
                )
            )
    return Table(
        "fits",
        "Power laws I = A·L^β, L the total length in tokens, and the longest length measured",
        (
            Column("model"),
            Column("corpus"),
            Column("curve"),
            Column("β", number=True),
            Column("standard error", number=True, shown=False),
            Column("from (95 %)", number=True),
            Column("to", number=True),
            Column("A (nats)", number=True),
            Column("I at longest L", number=True),
            Column("longest L", number=True),
            Column("fit"),
        ),
        tuple(rows),
    )


def shapes_section(groups: Sequence[Group[SavedBipartiteCurve]]) -> Section | None:
    """Residuals of the power law and its rivals, one figure per curve of the group's first estimator."""
    figures, rows, notices = [], [], []
    wanted = [g for g in groups if g.unit == "tokens" and g.curves[0].curve.estimator == "direct"]
    for group in wanted or [g for g in groups if g.unit == "tokens"]:
        for s in group.curves:
            try:
                fits = shapes_of(s)
            except L2MError as error:
                notices.append(f"{s.label}, {s.curve.name}: rival shapes are not compared ({error}).")
                continue
            figures.append(
                make_figure(
                    f"shapes-{group.name}-{s.number}-{slug(s.label)}"[:90].rstrip("-"),
                    f"What the fits leave over: {s.label}, {s.curve.name}, on {group.corpus}",
                    [shapes_sentence(s.label, fits)],
                    f"Residuals in standard errors against the total length L of {s.label}, for a power law, a "
                    "logarithm, a straight line and a saturation; a band marks two standard errors.",
                    lambda ax, fits=fits, s=s: draw_residuals(ax, fits, s.curve.lengths),  # type: ignore[misc]
                    entries=4,
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
            )
            for fit in fits:
                share = f"{100 * fit.best_share:.1f} %"
                rows.append(
                    (
                        text(s.label),
                        text(group.corpus),
                        text(s.curve.name),
                        text(fit.shape),
                        text(fit.formula),
                        number(fit.parameters[0]),
                        number(fit.parameters[1]),
                        number(fit.misfit),
                        number(fit.best_share, share),
                    )
                )
    if not figures and not notices:
        return None
    table = Table(
        "rival-shapes",
        "Rival shapes: two parameters each, least squares weighted by 1/error²",
        (
            Column("model"),
            Column("corpus"),
            Column("curve"),
            Column("shape"),
            Column("formula"),
            Column("a", number=True),
            Column("b", number=True),
            Column("misfit", number=True),
            Column("best in resamples", number=True),
        ),
        tuple(rows),
        folded=True,
    )
    return Section(
        "shapes",
        "Is it a power law?",
        (
            "Residuals of four shapes with two parameters each. Points of one curve rest on the same documents and "
            "err together, so that only resampling documents says how sure a preference is.",
        ),
        tuple(notices),
        figures=tuple(figures),
        tables=(table,) if rows else (),
    )


def _documents(s: Shown[Any]) -> int | None:
    count = s.results.sample.get("documents") if s.results is not None else None
    return int(count) if isinstance(count, (int, float)) else None
