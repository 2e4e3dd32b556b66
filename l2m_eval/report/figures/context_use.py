"""Retention: which share of the information about a block of text the last k tokens before it keep."""

from __future__ import annotations

from typing import Any

import numpy as np

from l2m_eval.measurements.context_use import ContextUse
from l2m_eval.report.figures.axes import axes_or_new, legend_below, length_axis
from l2m_eval.report.figures.style import PALE, drawing
from l2m_eval.report.labelled import Shown, shown_curves


def plot_retention(curves: Any, ax: Any | None = None, *, share: float = 0.95) -> Any:
    """R(k) with standard errors; the axis ends where the models claim to, and each claim is marked.

    Args:
        curves: Results, a mapping from labels to `ContextUse`, or one of these.
        ax: Where to draw.
        share: Where a line is drawn, and on it the context needed to keep that share.

    Raises:
        L2MError: none of the results is of `l2m_context_use`.
    """
    shown: list[Shown[ContextUse]] = shown_curves(
        curves, lambda r: r.context_use, "a measurement of context use"
    )
    with drawing():
        ax = axes_or_new(ax)
        lengths: list[float] = []
        ax.axhline(share, color=PALE, linewidth=1.0, linestyle=(0, (4, 1.5)), zorder=1)
        for s in shown:
            curve = s.curve.curve
            k, kept, error = np.array(curve.contexts[1:], float), curve.kept[1:], curve.kept_error[1:]
            ax.errorbar(k, kept, np.nan_to_num(error), label=s.text or None, zorder=3, **s.look.errorbar)
            lengths += k.tolist()
            if s.curve.claimed is not None:
                ax.axvline(
                    s.curve.claimed, color=s.look.errorbar["color"], linewidth=1.0, linestyle=":", zorder=2
                )
                lengths.append(s.curve.claimed)
        length_axis(ax.xaxis, lengths, "context k (tokens); dotted: claimed")
        ax.set_ylabel("share of information kept")
        legend_below(ax)
    return ax
