"""Divergence from a known process against position: what a model does not know of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from l2m_eval.measurements.kl import KLCurve
from l2m_eval.report.figures.axes import (
    axes_or_new,
    keep_values_in_view,
    legend_below,
    length_axis,
    positive_bars,
    value_axis,
)
from l2m_eval.report.figures.style import drawing
from l2m_eval.report.labelled import Shown, shown_curves


def plot_kl(curves: Any, ax: Any | None = None) -> Any:
    """KL per token in each bin of positions, with standard errors, nats.

    Args:
        curves: Results, a mapping from labels to `KLCurve`, or one of these.
        ax: Where to draw.

    Raises:
        L2MError: none of the results is of `l2m_kl_process`.
    """
    shown: list[Shown[KLCurve]] = shown_curves(curves, lambda r: r.kl, "a divergence from a process")
    with drawing():
        ax = axes_or_new(ax)
        logarithmic = value_axis(ax.yaxis, [s.curve.kl for s in shown], "divergence (nats per token)")
        every = []
        for s in shown:
            at = np.array(
                [np.sqrt(b.first * b.last) for b in s.curve.bins]
            )  # the middle on a logarithmic axis
            bars = positive_bars(s.curve.kl, s.curve.standard_error, logarithmic)
            ax.errorbar(at, s.curve.kl, bars, label=s.text or None, zorder=3, **s.look.errorbar)
            every.append(at)
        keep_values_in_view(ax, [s.curve.kl for s in shown])
        length_axis(ax.xaxis, np.concatenate(every), "position (tokens)")
        legend_below(ax)
    return ax
