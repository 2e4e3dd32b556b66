"""The section on the L²M condition: verdicts, the state against the law, information against the state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from l2m_eval.condition import ScalingLaw, horizon
from l2m_eval.history_state import HistoryState, state_growth
from l2m_eval.report.contents import Figure, LabelledVerdict, Section
from l2m_eval.report.drawn import make_figure
from l2m_eval.report.selection import Group
from l2m_eval.report.shown import Shown
from l2m_eval.report.state_figures import plot_mi_against_state, plot_state_against_law
from l2m_eval.report.states import law_of_curve, verdict_on
from l2m_eval.report.tables import Column, Table, number, text, with_error
from l2m_eval.results import Results
from l2m_eval.saved_curves import SavedBipartiteCurve


def state_section(
    groups: Sequence[Group[SavedBipartiteCurve]],
    states: Mapping[str, HistoryState],
    reference: ScalingLaw | str | None,
    recorded: Sequence[LabelledVerdict],
    notices: Sequence[str],
) -> Section | None:
    """The L²M condition: verdicts, the state against the law, mutual information against the state.

    Args:
        groups: Of bipartite curves.
        states: By label.
        reference: A law, or the label of the model whose law states are checked against; None for each its own.
        recorded: Verdicts that the results carry.
        notices: What is to be said of states that could not be counted.
    """
    if not states and not recorded and not notices:
        return None
    figures, rows = [], []
    verdicts = list(recorded)
    direct = [g for g in groups if g.unit == "tokens" and g.curves[0].curve.estimator == "direct"]
    for group in direct or [g for g in groups if g.unit == "tokens"]:
        known = [s for s in group.curves if s.label in states]
        if not known:
            continue
        judge: ScalingLaw | Results | None
        if isinstance(reference, str):
            judge = next((s.results for s in group.curves if s.label == reference), None)
        else:
            judge = reference
        for s in known:
            if not any(v.label == s.label for v in recorded):
                verdicts.append(LabelledVerdict(s.label, verdict_on(s, states[s.label], judge)))
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
    reference: ScalingLaw | str | None,
) -> list[Figure]:
    judges = [s for s in group.curves if s.label == reference] or group.curves
    # The law that asks most is the data's best estimate: a model that expresses less only understates it.
    laws = [law for s in judges if (law := law_of_curve(s)) is not None]
    law = (
        reference
        if isinstance(reference, ScalingLaw)
        else max(laws, key=lambda candidate: candidate.exponent, default=None)
    )
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
                    "small (a star marks where that begins: the horizon). Dotted lines in a model's colour show the "
                    "growth that is required of it from where its state stops growing.",
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
    sentences = []
    for s in known:
        found = horizon(law, states[s.label])
        if math.isinf(found.length):
            sentences.append(
                f"{s.label}: the law never reaches the capacity of its state (below 10^36 tokens)."
            )
        else:
            low, high = found.interval
            between = "" if low == high else f" (95 % interval {_tokens(low)} to {_tokens(high)})"
            sentences.append(f"{s.label}: horizon at {_tokens(found.length)} tokens{between}.")
    return sentences


def _tokens(length: float) -> str:
    if math.isinf(length):
        return "never"
    return f"{length:,.0f}" if length < 1e7 else f"{length:.1e}"
