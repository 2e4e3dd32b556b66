"""The picture of the L²M condition: what a history state can pass on against what the data ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from l2m_eval.condition import Horizon, ScalingLaw, horizon
from l2m_eval.errors import L2MError
from l2m_eval.history_state import HistoryState, state_growth
from l2m_eval.report.axes import (
    axes_or_new,
    decade_ticks,
    legend_below,
    length_axis,
    positive_bars,
    value_axis,
)
from l2m_eval.report.figures import NATS
from l2m_eval.report.shown import Shown, shown_curves
from l2m_eval.report.style import INK, PALE, drawing, literal, series
from l2m_eval.results import Results
from l2m_eval.saved_curves import SavedBipartiteCurve

Array = NDArray[np.float64]
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
            ax.plot(
                at, z, color=look.colour, linestyle=look.line, label=f"state of {literal(label)}", zorder=3
            )
            _mark_horizon(ax, found[label], state, law, look)
            _draw_required_growth(ax, state, law, high, look)
        every = np.concatenate(drawn)
        every = every[every > 0]
        ax.set_yscale("log")
        decade_ticks(ax.yaxis, float(every.min()), float(every.max()))
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
        curves: Results, a mapping from labels to `SavedBipartiteCurve`, or one such curve.
        states: By the same labels; curves without a state are left out.
        ax: Where to draw.
        name: Which curve of the results.

    Raises:
        L2MError: no curve with a state.
    """

    def pick(results: Results) -> SavedBipartiteCurve | None:
        return next((curve for curve in results.bipartite if curve.name == name), None)

    shown = [s for s in shown_curves(curves, pick, f"a bipartite curve called {name!r}") if s.label in states]
    if not shown:
        raise L2MError(f"states: none of a curve's model; give states of {', '.join(map(repr, states))}")
    with drawing():
        ax = axes_or_new(ax)
        logarithmic = value_axis(ax.yaxis, [s.curve.mi for s in shown], NATS)
        sizes = [_state_after_left(s, states[s.label]) for s in shown]
        for s, z in zip(shown, sizes, strict=True):
            bars = positive_bars(s.curve.mi, s.curve.standard_error, logarithmic)
            ax.errorbar(z, s.curve.mi, bars, label=s.text or None, zorder=3, **s.look.errorbar)
            ax.annotate(
                f"L = {s.curve.lengths[-1]:,.0f}", (z[-1], s.curve.mi[-1]), xytext=(5, -2),
                textcoords="offset points", fontsize=6, ha="left",
            )  # fmt: skip
        every = np.concatenate(sizes)
        ax.set_xscale("log")
        ax.margins(x=0.16)  # room for the lengths beside the last points
        spread = 1.0 if every.max() > every.min() else 3.0
        decade_ticks(ax.xaxis, float(every.min() / spread), float(every.max() * spread))
        ax.set_xlabel("state after the left block (elements)")
        legend_below(ax)
    return ax


def _state_after_left(s: Shown[SavedBipartiteCurve], state: HistoryState) -> Array:
    return np.asarray(state.elements_at(np.maximum(s.curve.lengths / s.curve.ratio, 1.0)))


def _mark_horizon(ax: Any, found: Horizon, state: HistoryState, law: ScalingLaw, look: Any) -> None:
    if found.length > _FARTHEST:
        return
    size = float(state.elements_at(max(found.length / law.ratio, 1.0)))
    ax.plot([found.length], [size], marker="*", markersize=9, color=look.colour, linestyle="none", zorder=5)
    told = f"{found.length:,.0f}" if found.length < 1e7 else f"{found.length:.1e}"
    ax.annotate(
        f"horizon {told}", (found.length, size), xytext=(-6, 5), textcoords="offset points", fontsize=6, ha="right",
    )  # fmt: skip


def _draw_required_growth(ax: Any, state: HistoryState, law: ScalingLaw, high: float, look: Any) -> None:
    """From where a state stops growing, the growth L^β that it does not have."""
    growth = state_growth(state)
    if not growth.asymptotic_exponent < law.exponent or growth.saturation_length is None:
        return
    start = max(growth.saturation_length * law.ratio, law.ratio)
    size = float(state.elements_at(start / law.ratio))
    ax.plot(
        [start, high], [size, size * (high / start) ** law.exponent], color=look.colour, linewidth=0.9,
        linestyle=(0, (1, 2)), zorder=2,
    )  # fmt: skip
