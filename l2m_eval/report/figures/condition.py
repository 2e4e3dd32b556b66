"""The figure of the L²M condition: what a history state can pass on against what the data require."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from l2m_eval.condition.horizon import Horizon, horizon
from l2m_eval.condition.law import ScalingLaw
from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState, state_growth
from l2m_eval.measurements.curves import BipartiteCurve
from l2m_eval.report.figures.axes import (
    axes_or_new,
    keep_values_in_view,
    legend_below,
    length_axis,
    logarithmic_axis,
    positive_bars,
    value_axis,
)
from l2m_eval.report.figures.curves import NATS
from l2m_eval.report.figures.style import INK, PALE, drawing, large_number, literal, series
from l2m_eval.report.labelled import Shown, shown_curves
from l2m_eval.results.run import Results
from l2m_eval.statistics.arrays import Array

_MOST_NAMED = 4  # models whose lengths are written beside their lines; the tables have all
_FARTHEST = 2.0**36  # a horizon beyond is told in words; the figure would be all emptiness


def plot_state_against_law(
    states: Mapping[str, HistoryState],
    law: ScalingLaw,
    ax: Any | None = None,
    *,
    lengths: tuple[float, float] = (4.0, 2.0**20),
    numbers: Sequence[int] | None = None,
) -> Any:
    """dim z(L) against the required growth L^β, with the horizon of each state marked.

    Left axis: elements of the state after L / ratio tokens. The required line is the smallest state that could pass
    on the law's information, at the bits in which the first state stores an element (Theorem 5.2): below it a
    state is too small. Where a state's line crosses it is its horizon.

    Args:
        states: By label.
        law: Mutual information of the data, I = A·L^β.
        ax: Where to draw.
        lengths: Shortest and longest total length; the longest grows to show horizons up to 2^36.
        numbers: Looks of the states, in their order.

    Raises:
        L2MError: no states, or a law that makes no sense.
    """
    if not states:
        raise L2MError("states: none given; give at least one history state")
    found = {label: horizon(law, state) for label, state in states.items()}
    ends = [h.length for h in found.values() if h.length <= _FARTHEST]
    low, high = lengths[0], max([lengths[1], *(8 * end for end in ends)])
    at = np.geomspace(low, high, 400)
    with drawing():
        ax = axes_or_new(ax)
        first = next(iter(states.values()))
        bits = float(first.bits_at(high) / first.elements_at(high))
        needed = law.amplitude * at**law.exponent / (bits * math.log(2))
        drawn = [needed]
        for i, (label, state) in enumerate(states.items()):
            look = series(numbers[i] if numbers is not None else i)
            z = np.asarray(state.elements_at(np.maximum(at / law.ratio, 1.0)))
            drawn.append(z)
            ax.plot(at, z, color=look.colour, linestyle=look.line, label=literal(label), zorder=3)
            _draw_required_growth(ax, state, law, high, look)
        _mark_horizons(ax, found, states, law, numbers)
        every = np.concatenate(drawn)
        every = every[every > 0]
        logarithmic_axis(ax.yaxis)
        ax.fill_between(at, every.min() / 3, needed, color=PALE, alpha=0.22, linewidth=0, zorder=0)
        ax.plot(at, needed, color=INK, linestyle=(0, (1, 1)), linewidth=1.4, zorder=2,
                label=f"required: {law.amplitude:.2g} · L^{law.exponent:.2f} nats")  # fmt: skip
        ax.set_ylim(bottom=every.min() / 3)
        ax.set_ylabel("history state (elements)")
        length_axis(ax.xaxis, at, "total length L (tokens)")
        legend_below(ax)
    return ax


def plot_mi_against_state(
    curves: Any, states: Mapping[str, HistoryState], ax: Any | None = None, *, name: str = "direct"
) -> Any:
    """Mutual information against the size of the state that passes it on, one line per model, L growing along it.

    Args:
        curves: Results, a mapping from labels to `BipartiteCurve`, or one such curve.
        states: By the same labels; curves without a state are left out.
        ax: Where to draw.
        name: Which curve of the results.

    Raises:
        L2MError: no curve with a state.
    """

    def pick(results: Results) -> BipartiteCurve | None:
        return next((curve for curve in results.bipartite if curve.name == name), None)

    shown = [s for s in shown_curves(curves, pick, f"a bipartite curve called {name!r}") if s.label in states]
    if not shown:
        raise L2MError(f"states: none of a curve's model; give states of {', '.join(map(repr, states))}")
    with drawing():
        ax = axes_or_new(ax)
        logarithmic = value_axis(ax.yaxis, [s.curve.mi for s in shown], NATS)
        sizes = [_state_after_left(s, states[s.label]) for s in shown]
        named: list[str] = []
        for s, z in zip(shown, sizes, strict=True):
            bars = positive_bars(s.curve.mi, s.curve.standard_error, logarithmic)
            ax.errorbar(z, s.curve.mi, bars, label=s.text or None, zorder=3, **s.look.errorbar)
            told = f"L = {s.curve.lengths[-1]:,.0f}"
            if (
                told not in named and len(named) < _MOST_NAMED
            ):  # where several lines end alike, beside the first
                named.append(told)
                ax.annotate(
                    told, (z[-1], s.curve.mi[-1]), xytext=(5, -2),
                    textcoords="offset points", fontsize=6, ha="left",
                )  # fmt: skip
        logarithmic_axis(ax.xaxis)
        ax.margins(x=0.16)  # room for the lengths beside the last points
        every = np.concatenate(sizes)
        if every.max() == every.min():
            ax.set_xlim(every.min() / 3, every.max() * 3)
        keep_values_in_view(ax, [s.curve.mi for s in shown])
        ax.set_xlabel("state after the left block (elements)")
        legend_below(ax)
    return ax


def _state_after_left(s: Shown[BipartiteCurve], state: HistoryState) -> Array:
    return np.asarray(state.elements_at(np.maximum(s.curve.lengths / s.curve.ratio, 1.0)))


def _mark_horizons(
    ax: Any,
    found: Mapping[str, Horizon],
    states: Mapping[str, HistoryState],
    law: ScalingLaw,
    numbers: Sequence[int] | None,
) -> None:
    """A star at each horizon; its length beside it where they are few, each above the one before it."""
    near = [(label, i) for i, label in enumerate(states) if found[label].length <= _FARTHEST]
    named: list[str] = []
    for label, i in sorted(near, key=lambda pair: found[pair[0]].length):
        length = found[label].length
        size = float(states[label].elements_at(max(length / law.ratio, 1.0)))
        colour = series(numbers[i] if numbers is not None else i).colour
        ax.plot([length], [size], marker="*", markersize=9, color=colour, linestyle="none", zorder=5)
        told = f"horizon {large_number(length)}"
        if len(states) <= _MOST_NAMED and told not in named:
            ax.annotate(
                told, (length, size), xytext=(-6, 5 + 8 * len(named)), textcoords="offset points", fontsize=6,
                ha="right",
            )  # fmt: skip
            named.append(told)


def _draw_required_growth(ax: Any, state: HistoryState, law: ScalingLaw, high: float, look: Any) -> None:
    """The growth L^β that a state lacks, drawn from where it stops growing."""
    growth = state_growth(state)
    if not growth.asymptotic_exponent < law.exponent or growth.saturation_length is None:
        return
    start = max(growth.saturation_length * law.ratio, law.ratio)
    size = float(state.elements_at(start / law.ratio))
    ax.plot(
        [start, high], [size, size * (high / start) ** law.exponent], color=look.colour, linewidth=0.9,
        linestyle=(0, (1, 2)), zorder=2,
    )  # fmt: skip
