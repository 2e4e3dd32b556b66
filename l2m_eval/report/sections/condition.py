"""The section on the L²M condition: verdicts, the state against the law, information against the state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from l2m_eval.condition.horizon import horizon
from l2m_eval.condition.law import ScalingLaw
from l2m_eval.history_state import HistoryState, state_growth
from l2m_eval.measurements.curves import BipartiteCurve
from l2m_eval.report.contents import Figure, LabelledVerdict, Section
from l2m_eval.report.figures.condition import plot_mi_against_state, plot_state_against_law
from l2m_eval.report.figures.files import make_figure
from l2m_eval.report.figures.style import large_number
from l2m_eval.report.labelled import Shown
from l2m_eval.report.selection import Group
from l2m_eval.report.states import law_of_curve
from l2m_eval.report.tables import Cell, Column, Table, lean, number, text, with_error

_MOST_VERDICTS = 6  # that are shown without being asked; the first screen has every status


def state_section(
    groups: Sequence[Group[BipartiteCurve]],
    states: Mapping[str, HistoryState],
    reference: ScalingLaw | str | None,
    verdicts: Sequence[LabelledVerdict],
    notices: Sequence[str],
) -> Section | None:
    """The L²M condition: verdicts, the state against the law, mutual information against the state.

    Args:
        groups: Of bipartite curves.
        states: By label.
        reference: A law, or the label of the model whose law states are judged by; None for each its own.
        verdicts: On the states.
        notices: What is to be said of states that could not be counted.
    """
    if not states and not verdicts and not notices:
        return None
    figures: list[Figure] = []
    horizons: list[tuple[Cell, ...]] = []
    direct = [g for g in groups if g.unit == "tokens" and g.curves[0].curve.estimator == "direct"]
    for group in direct or [g for g in groups if g.unit == "tokens"]:
        known = [s for s in group.curves if s.label in states]
        if not known:
            continue
        law = _required_law(group, reference)
        figures += _state_figures(group, known, states, law)
        horizons += [_horizon_row(group, s, states[s.label], law) for s in known]
    return Section(
        "condition",
        "The L²M condition",
        (
            "To capture I ~ L^β at every length, a model's history state has to grow at least like L^β "
            "(arXiv 2503.04725, Theorem 5.4). γ is the exponent of the state.",
        ),
        tuple(notices),
        tuple(verdicts),
        tuple(figures),
        (*([_states_table(states)] if states else []), *([_horizons_table(horizons)] if horizons else [])),
        lead=(verdict_table("verdicts", "Verdicts on the models", verdicts),) if verdicts else (),
    )


def verdict_table(name: str, caption: str, verdicts: Sequence[LabelledVerdict]) -> Table:
    """One row for each verdict: whose, which, and the sentence that says why."""
    checks = {"single-model": "state against the law", "mi-capability": "information against a reference"}
    rows = [
        (
            text(v.label),
            text(checks.get(v.verdict.check, v.verdict.check)),
            Cell(v.status, mark=v.status),
            text(v.rest),
        )
        for v in verdicts
    ]
    columns = (Column("model"), Column("check"), Column("verdict"), Column("why"))
    folded = len(rows) > _MOST_VERDICTS
    return Table(name, caption, lean(columns, rows, ("check",)), tuple(rows), folded)


def _states_table(states: Mapping[str, HistoryState]) -> Table:
    rows = []
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
    columns = (
        Column("model"),
        Column("γ", number=True),
        Column("growth"),
        Column("elements after 1,024 tokens", number=True),
        Column("how known"),
    )
    return Table("states", "History states", columns, tuple(rows))


def _required_law(group: Group[BipartiteCurve], reference: ScalingLaw | str | None) -> ScalingLaw | None:
    """The reference's law, else the one that asks most: a model that expresses less only understates the data's."""
    if isinstance(reference, ScalingLaw):
        return reference
    judges = [s for s in group.curves if s.label == reference] or group.curves
    laws = [law for s in judges if (law := law_of_curve(s)) is not None]
    law = max(laws, key=lambda candidate: candidate.exponent, default=None)
    return law if law is not None and law.exponent > 0 else None


def _state_figures(
    group: Group[BipartiteCurve],
    known: Sequence[Shown[BipartiteCurve]],
    states: Mapping[str, HistoryState],
    law: ScalingLaw | None,
) -> list[Figure]:
    figures = []
    names = ", ".join(s.label for s in known)
    if law is not None:
        figures.append(
            make_figure(
                f"state-{group.name}",
                f"History state against the growth that the data require, on {group.where}",
                [
                    "The required line is the smallest state that could pass on the law's information, at the bits "
                    "of the first model's state elements; a star marks the horizon, where a state falls below it.",
                    "Dotted lines in a model's colour show the growth that it lacks.",
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
            )
        )
    figures.append(
        make_figure(
            f"mi-state-{group.name}",
            f"Mutual information against the size of the state, on {group.where}",
            [
                "One line per model, along which L grows: the information that a state of each size passes on.",
                "A line that rises without moving right gains information, and no state.",
            ],
            f"Mutual information in nats against the elements of the state after the left block, both logarithmic, "
            f"one line per model along growing L. Series: {names}.",
            lambda ax: plot_mi_against_state(list(known), states, ax),
        )
    )
    return figures


def _horizon_row(
    group: Group[BipartiteCurve], s: Shown[BipartiteCurve], state: HistoryState, law: ScalingLaw | None
) -> tuple[Cell, ...]:
    elements = float(state.elements_at(s.curve.lengths[-1] / s.curve.ratio))
    found = None if law is None else horizon(law, state)
    low, high = (math.nan, math.nan) if found is None else found.interval
    length = math.nan if found is None else found.length
    return (
        text(s.label),
        text(group.where),
        number(float(s.curve.lengths[-1]), f"{s.curve.lengths[-1]:,.0f}"),
        number(s.curve.mi[-1], with_error(s.curve.mi[-1], s.curve.standard_error[-1])),
        number(elements, f"{elements:,.0f}"),
        text("–" if law is None else law.describe()),
        Cell("–" if found is None else _tokens(length), length),
        text("–" if found is None or low == high else f"{_tokens(low)} to {_tokens(high)}"),
    )


def _horizons_table(rows: Sequence[tuple[Cell, ...]]) -> Table:
    columns = (
        Column("model"),
        Column("corpus"),
        Column("longest L", number=True),
        Column("I there (nats)", number=True),
        Column("elements that pass it on", number=True),
        Column("required by"),
        Column("horizon (tokens)", number=True),
        Column("horizon (95 %)"),
    )
    return Table(
        "horizons",
        "What the states pass on, and the length at which the required law reaches their capacity",
        lean(columns, rows, ("corpus", "required by")),
        tuple(rows),
    )


def _tokens(length: float) -> str:
    return "never" if math.isinf(length) else large_number(length)
