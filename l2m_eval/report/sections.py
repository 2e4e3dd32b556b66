"""The sections of a report: each draws its figures, says what they show, and keeps their numbers as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from l2m_eval.condition import ScalingLaw
from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState, state_growth
from l2m_eval.report.axes import new_figure
from l2m_eval.report.contents import Command, Figure, LabelledVerdict, Section
from l2m_eval.report.figures import lengths_in, plot_bipartite, plot_position_nll, plot_two_point
from l2m_eval.report.reproduce import reproducing_command
from l2m_eval.report.selection import Group, Selection, corpus_in_words, slug
from l2m_eval.report.shape_figure import draw_residuals, shapes_of
from l2m_eval.report.shown import Shown, fit_replicates, fitted
from l2m_eval.report.state_figures import plot_mi_against_state, plot_state_against_law
from l2m_eval.report.states import law_of, verdict_of
from l2m_eval.report.style import COLUMN_WIDTH, drawing
from l2m_eval.report.svg import inline_svg, png_bytes, svg_text
from l2m_eval.report.tables import Cell, Column, Table, number, text, with_error
from l2m_eval.report.words import (
    bipartite_sentence,
    position_sentence,
    shapes_sentence,
    two_point_sentence,
)
from l2m_eval.saved_curves import SavedBipartiteCurve, SavedPositionCurve, SavedTwoPointCurve

_HEIGHT = 2.75  # inches, of a figure with two entries in its legend


def make_figure(
    name: str,
    title: str,
    sentences: Sequence[str],
    alternative: str,
    draw: Callable[[Any], Any],
    *,
    entries: int = 2,
    series: Sequence[Mapping[str, Any]] = (),
) -> Figure:
    """Draw one figure of column width and keep it as files and as a part of the page."""
    with drawing():
        figure, ax = new_figure(COLUMN_WIDTH, _HEIGHT + 0.14 * max(0, entries - 2))
        draw(ax)
        document = svg_text(figure)
        png = png_bytes(figure)
    inline = inline_svg(document, name, alternative)
    return Figure(name, title, tuple(sentences), alternative, document, png, inline, tuple(series))


# --- bipartite --------------------------------------------------------------------------------------------------


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


# --- two-point and position -------------------------------------------------------------------------------------


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
        if all(_has_bytes(s.curve) for s in group.curves):
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


# --- states -----------------------------------------------------------------------------------------------------


def state_section(
    groups: Sequence[Group[SavedBipartiteCurve]],
    states: Mapping[str, HistoryState],
    reference: ScalingLaw | None,
    recorded: Sequence[LabelledVerdict],
) -> Section | None:
    """The L²M condition: verdicts, the state against the law, mutual information against the state."""
    if not states and not recorded:
        return None
    figures, rows, notices = [], [], []
    verdicts = list(recorded)
    direct = [g for g in groups if g.unit == "tokens" and g.curves[0].curve.estimator == "direct"]
    for group in direct or [g for g in groups if g.unit == "tokens"]:
        known = [s for s in group.curves if s.label in states]
        if not known:
            continue
        for s in known:
            law = reference or law_of(s, group.corpus)
            if law is None:
                notices.append(
                    f"{s.label}: no law could be fitted on {group.corpus}, so that there is no verdict."
                )
            elif not any(v.label == s.label for v in recorded):
                verdicts.append(LabelledVerdict(s.label, verdict_of(states[s.label], law)))
        figures += _state_figures(group, known, states, reference)
    for label, state in states.items():
        growth = state_growth(state)
        rows.append(
            (
                text(label),
                number(growth.asymptotic_exponent),
                text(growth.sentence),
                number(float(state.elements_at(1024.0)), f"{float(state.elements_at(1024.0)):,.0f}"),
                text(state.source),
            )
        )
    table = Table(
        "states",
        "History states",
        (
            Column("model"),
            Column("γ", number=True),
            Column("growth"),
            Column("elements after 1024 tokens", number=True),
            Column("how known"),
        ),
        tuple(rows),
    )
    return Section(
        "condition",
        "The L²M condition",
        (
            "To hold I ~ L^β at every length, a model's history state has to grow at least like L^β "
            "(arXiv 2503.04725, Theorem 5.4). γ is the exponent of the state.",
        ),
        tuple(notices),
        tuple(verdicts),
        tuple(figures),
        (table,) if rows else (),
    )


def _state_figures(
    group: Group[SavedBipartiteCurve],
    known: Sequence[Shown[SavedBipartiteCurve]],
    states: Mapping[str, HistoryState],
    reference: ScalingLaw | None,
) -> list[Figure]:
    # The law that asks most is the data's best estimate: a model that expresses less only understates it.
    laws = [law for s in group.curves if (law := law_of(s, group.corpus)) is not None]
    law = reference or max(laws, key=lambda candidate: candidate.exponent, default=None)
    figures = []
    names = ", ".join(s.label for s in known)
    if law is not None and law.exponent > 0:
        figures.append(
            make_figure(
                f"state-{group.name}",
                f"History state against what the data ask for, on {group.corpus}",
                [
                    f"The required line is the smallest state that could pass on {law.describe()}, at the bits of "
                    "the first model's state elements (b·ln 2 nats per element of b bits). A state below it is too "
                    "small (a star marks where that begins: the horizon). Dotted lines in a model's colour show the growth "
                    "that is required of it from where its state stops growing.",
                    *_horizon_sentences(known, states, law),
                ],
                f"Elements of the history state against the total length L, both logarithmic, with the required "
                f"growth L^{law.exponent:.2f}. Series: {names}.",
                lambda ax: plot_state_against_law(
                    {s.label: states[s.label] for s in known},
                    law,
                    ax,
                    lengths=(float(known[0].curve.lengths[0]), 2.0**20),
                    numbers=[s.number for s in known],
                ),
                entries=len(known) + 1,
            )
        )
    figures.append(
        make_figure(
            f"mi-state-{group.name}",
            f"Mutual information against the size of the state, on {group.corpus}",
            [
                f"{s.label}: {with_error(s.curve.mi[-1], s.curve.standard_error[-1])} nats through "
                f"{float(states[s.label].elements_at(s.curve.lengths[-1] / s.curve.ratio)):,.0f} elements at "
                f"L = {s.curve.lengths[-1]:,.0f}."
                for s in known
            ],
            f"Mutual information in nats against the elements of the state after the left block, both logarithmic, "
            f"one line per model along growing L. Series: {names}.",
            lambda ax: plot_mi_against_state(list(known), states, ax),
            entries=len(known),
        )
    )
    return figures


def _horizon_sentences(
    known: Sequence[Shown[SavedBipartiteCurve]], states: Mapping[str, HistoryState], law: ScalingLaw
) -> list[str]:
    from l2m_eval.condition import horizon

    sentences = []
    for s in known:
        found = horizon(law, states[s.label])
        if math.isinf(found.length):
            sentences.append(
                f"{s.label}: the law never reaches the capacity of its state (below 10^18 tokens)."
            )
        else:
            low, high = found.interval
            sentences.append(
                f"{s.label}: horizon at {found.length:.2g} tokens (95 % interval {low:.2g} to "
                f"{'never' if math.isinf(high) else f'{high:.2g}'})."
            )
    return sentences


# --- what was measured ------------------------------------------------------------------------------------------


def overview_table(selection: Selection) -> Table:
    """One row per result: who, what, on what, when, how much."""
    rows = []
    for one in selection.results:
        documents = one.sample.get("documents")
        tokens = one.metrics.get("tokens_scored", math.nan)
        count = float(documents) if isinstance(documents, (int, float)) else math.nan
        total = tokens * count
        date = one.run.date
        rows.append(
            (
                text(selection.labels[one]),
                text(one.task),
                text(corpus_in_words(one)),
                number(count, f"{count:,.0f}"),
                number(total, f"{total:,.0f}"),
                number(one.run.seconds, f"{one.run.seconds:,.0f} s"),
                number(None if one.seed is None else float(one.seed), str(one.seed)),
                Cell(date.strftime("%Y-%m-%d") if date else "–", date.timestamp() if date else None),
                text(one.run.dtype or "–"),
            )
        )
    return Table(
        "results",
        "What was measured",
        (
            Column("model"),
            Column("task"),
            Column("corpus"),
            Column("documents", number=True),
            Column("tokens scored", number=True),
            Column("wall-clock", number=True),
            Column("seed", number=True),
            Column("date", number=True),
            Column("precision"),
        ),
        tuple(rows),
    )


def settings_section(selection: Selection, report_command: str) -> Section:
    """Settings, versions, and the commands that reproduce everything."""
    names: dict[str, None] = {}
    for one in selection.results:
        names.update(dict.fromkeys(f"setting {key}" for key in one.settings))
        names.update(dict.fromkeys(f"version {key}" for key in one.versions))
    rows = []
    for name in names:
        kind, _, key = name.partition(" ")
        told: dict[str, list[str]] = {}
        for one in selection.results:
            source = one.settings if kind == "setting" else one.versions
            if key in source:
                value = source[key]
                shown = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
                if key == "corpus":
                    shown = corpus_in_words(one)
                told.setdefault(shown or "–", []).append(f"{selection.labels[one]}: {one.task}")
        for value, who in told.items():
            shared = len(told) == 1 and len(who) == len(selection.results)
            rows.append((text(kind), text(key), text(value), text("all" if shared else "; ".join(who))))
    table = Table(
        "settings",
        "Settings and versions",
        (Column("kind"), Column("name"), Column("value"), Column("results")),
        tuple(rows),
        folded=True,
    )
    commands = [
        Command(f"{selection.labels[one]}: {one.task}", reproducing_command(one)) for one in selection.results
    ]
    return Section(
        "reproduce",
        "Settings, versions, commands",
        ("Each command measures the same again, from the folder of its run; the last makes this report.",),
        tables=(table,),
        commands=(*commands, Command("This report", report_command)),
    )


def warnings_section(selection: Selection, notices: Sequence[str]) -> Section | None:
    """What the runs warned about, and what this report noticed."""
    told = [
        f"{selection.labels[one]}, {one.task}: {warning}"
        for one in selection.results
        for warning in one.warnings
    ]
    for one in selection.left_out:
        told.append(
            f"Older results are left out: {one.run.label}, {one.task}, "
            f"{one.run.date.strftime('%Y-%m-%d %H:%M') if one.run.date else 'without a date'} (--all shows them)."
        )
    told += notices
    if not told:
        return None
    return Section("warnings", "Warnings", notices=tuple(dict.fromkeys(told)))


def _documents(s: Shown[Any]) -> int | None:
    count = s.results.sample.get("documents") if s.results is not None else None
    return int(count) if isinstance(count, (int, float)) else None
