"""What a fit leaves over: residuals of the power law and of rival shapes."""

from __future__ import annotations

from typing import Any

import numpy as np

from l2m_eval.errors import L2MError
from l2m_eval.report.axes import axes_or_new, legend_below, length_axis
from l2m_eval.report.shown import Shown, shown_curves
from l2m_eval.report.style import INK, PALE, drawing, series
from l2m_eval.results import Results
from l2m_eval.rival_shapes import ShapeFit, compare_shapes, fit_shapes
from l2m_eval.saved_curves import SavedBipartiteCurve


def shapes_of(shown: Shown[SavedBipartiteCurve]) -> tuple[ShapeFit, ...]:
    """Every shape fitted to a curve; with the shares of resamples where the documents' records are at hand.

    Raises:
        L2MError: too few points, or no standard errors.
    """
    curve, results = shown.curve, shown.results
    terms = results.bipartite_terms(curve.name) if results is not None else None
    if results is None or terms is None:
        return fit_shapes(curve.lengths, curve.mi, curve.standard_error)
    rng = np.random.default_rng([results.seed or 0, 0x736861706573])
    return compare_shapes(curve.lengths, *terms, curve.standard_error, rng=rng)


def plot_fit_residuals(curves: Any, ax: Any | None = None, *, name: str = "direct") -> Any:
    """Residuals of the power law and its rivals for one curve, in standard errors.

    Every shape has two parameters and is fitted by least squares weighted by 1/error². Points of one curve rest on
    the same documents, so that residuals of neighbours go together.

    Args:
        curves: One `Results`, a mapping with one labelled `SavedBipartiteCurve`, or one such curve.
        ax: Where to draw.
        name: Which curve of the results.

    Raises:
        L2MError: no or several curves, too few points, or no standard errors.
    """

    def pick(results: Results) -> SavedBipartiteCurve | None:
        return next((curve for curve in results.bipartite if curve.name == name), None)

    shown = shown_curves(curves, pick, f"a bipartite curve called {name!r}")
    if len(shown) != 1:
        raise L2MError(f"curves: {len(shown)} curves given; residuals of four shapes are drawn for one curve")
    with drawing():
        ax = axes_or_new(ax)
        draw_residuals(ax, shapes_of(shown[0]), shown[0].curve.lengths)
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
