"""The picture of one model's history state: dim z against L, all together and by kind of layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from l2m_eval.history_state import HistoryState, state_growth
from l2m_eval.report.figures.axes import axes_or_new, legend_below, length_axis, logarithmic_axis
from l2m_eval.report.figures.style import INK, PALE, drawing, literal, series


def plot_history_state(state: HistoryState, ax: Any | None = None) -> Any:
    """dim z(L) of each kind of layer and of all together, with the length from which windows are full.

    Args:
        state: Drawn from 1 token to its largest length, or to eight times the one at which a part saturates.
        ax: Where to draw.
    """
    saturated = state_growth(state).saturation_length or 1
    low, high = 1.0, float(max(state.lengths[-1], 8 * saturated))
    inside = state.probe_lengths[(state.probe_lengths > low) & (state.probe_lengths < high)]
    at = np.unique(np.concatenate([np.geomspace(low, high, 200), inside]))
    # Known at the probes, straight between them and beyond; of each kind as of all.
    of_kinds = [np.interp(at, state.probe_lengths, row) for row in state.probe_elements]
    known = at <= state.probe_lengths[-1]
    with drawing():
        ax = axes_or_new(ax)
        total = np.asarray(state.elements_at(at))
        drawn = [total]
        if len(state.kinds) > 1:
            for i, (kind, sizes) in enumerate(zip(state.kinds, of_kinds, strict=True)):
                look = series(i)
                ax.plot(at[known], sizes[known], color=look.colour, linestyle=look.line, label=kind)
                drawn.append(sizes[known])
        ax.plot(
            at, total, color=INK, linewidth=1.6, label=f"history state of {literal(state.model)}", zorder=3
        )
        if saturated > 1:
            ax.axvline(saturated, color=PALE, linewidth=0.8, linestyle=":", zorder=1)
        every = np.concatenate(drawn)
        every = every[every > 0]
        logarithmic_axis(ax.yaxis)
        ax.set_ylim(every.min() / 2, every.max() * 2)
        ax.set_ylabel("elements")
        length_axis(ax.xaxis, at, "tokens L")
        legend_below(ax)
    return ax
