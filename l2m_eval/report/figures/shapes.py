"""Residuals of the power law and of rival shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.measurements.curves import BipartiteCurve
from l2m_eval.report.figures.axes import axes_or_new, legend_below, length_axis
from l2m_eval.report.figures.style import INK, PALE, drawing, series
from l2m_eval.report.labelled import Shown, shown_curves
from l2m_eval.results.run import Results
from l2m_eval.statistics.shapes import ShapeFit, fit_shapes


def shapes_of(shown: Shown[BipartiteCurve]) -> tuple[ShapeFit, ...]:
    """Every shape fitted to a curve, with the shares of resamples and p-values that the results hold.

    Raises:
        L2MError: too few points, or no standard errors.
    """
    curve, results = shown.curve, shown.results
    shapes = results.shapes(curve.name) if results is not None else curve.shapes
    inside = curve.fitted
    return shapes or fit_shapes(curve.lengths[inside], curve.mi[inside], curve.standard_error[inside])


def plot_fit_residuals(curves: Any, ax: Any | None = None, *, name: str = "direct") -> Any:
    """Residuals of the power law and its rivals for one curve, in standard errors.

    Every shape has two parameters and is fitted by least squares weighted by 1/error². Points of one curve rest on
    the same documents, so that residuals of neighbours go together.

    Args:
        curves: One `Results`, a mapping with one labelled `BipartiteCurve`, or one such curve.
        ax: Where to draw.
        name: Which curve of the results.

    Raises:
        L2MError: no or several curves, too few points, or no standard errors.
    """

    def pick(results: Results) -> BipartiteCurve | None:
        return next((curve for curve in results.bipartite if curve.name == name), None)

    shown = shown_curves(curves, pick, f"a bipartite curve called {name!r}")
    if len(shown) != 1:
        raise L2MError(f"curves: {len(shown)} curves given; residuals of four shapes are drawn for one curve")
    with drawing():
        ax = axes_or_new(ax)
        curve = shown[0].curve
        draw_residuals(ax, shapes_of(shown[0]), curve.lengths[curve.fitted])
    return ax


def draw_residuals(ax: Any, fits: tuple[ShapeFit, ...], lengths: Any) -> None:
    """`plot_fit_residuals` of fits that are there already."""
    ax.axhspan(-1.96, 1.96, color=PALE, alpha=0.18, linewidth=0, zorder=0)
    ax.axhline(0, color=INK, linewidth=0.7, zorder=1)
    for number, fit in enumerate(fits):
        look = series(number)
        share = f", best in {100 * fit.best_share:.0f} %" if np.isfinite(fit.best_share) else ""
        ax.plot(
            lengths, fit.residuals, color=look.colour, marker=look.marker, linestyle=look.line, zorder=3,
            label=f"{fit.shape}: misfit {fit.misfit:.3g}{share}",
        )  # fmt: skip
    length_axis(ax.xaxis, lengths, "total length L (tokens)")
    ax.set_ylabel("residual (standard errors)")
    legend_below(ax)
