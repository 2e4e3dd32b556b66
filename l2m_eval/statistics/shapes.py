"""Rival shapes of a curve of mutual information: is it a power law, or something that only looks like one?

Four shapes of two parameters each, fitted the same way (least squares weighted by 1/error²), so that what is left
over can be compared without a penalty for parameters. The points of a curve rest on the same documents and err
together: how sure the choice is, only resampling documents can tell (`compare_shapes`).

Lengths are total lengths L in tokens, values in nats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from l2m_eval.errors import L2MError
from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.clusters import present_mean, present_sums, resampled_curves
from l2m_eval.statistics.goodness import goodness_of_fit, misfit
from l2m_eval.statistics.intervals import widening
from l2m_eval.statistics.power_law import fit_power_law
from l2m_eval.statistics.separable import scaled

POWER_LAW, LOGARITHM, LINE, SATURATION = "power law", "logarithm", "straight line", "saturation"


@dataclass(frozen=True)
class Shape:
    """A family of curves with two parameters.

    Attributes:
        name: One of the names above.
        formula: In ``a``, ``b`` and L, for captions.
        fit: From lengths (points,), curves (curves, points) and weights (points,) to parameters (curves, 2).
        evaluate: From lengths (points,) and parameters (curves, 2) to curves (curves, points).
    """

    name: str
    formula: str
    fit: Callable[[Array, Array, Array], Array]
    evaluate: Callable[[Array, Array], Array]


def _fit_power_law(x: Array, y: Array, weights: Array) -> Array:
    amplitude, exponent, _ = fit_power_law(x, y, 1 / np.sqrt(weights), "wls")
    return np.stack([amplitude, exponent], axis=1)


def _fit_linear_in(x: Array, y: Array, weights: Array) -> Array:
    """Intercept and slope against x, each row of y."""
    share = weights / weights.sum()
    centre = share @ x
    deviation = (x - centre) * share
    slope = y @ deviation / (deviation @ (x - centre))
    return np.stack([y @ share - slope * centre, slope], axis=1)


def _fit_saturation(x: Array, y: Array, weights: Array) -> Array:
    """Height and scale of a·(1 − e^(−L/s)), by the logarithm of the scale.

    The scale is held between a tenth of the shortest length (a constant, as far as the points can tell) and a
    hundred times the longest (a straight line through zero).
    """
    grid = np.linspace(np.log(x[0] / 10), np.log(x[-1] * 100), 161)
    height, scale, _ = scaled(lambda s: -np.expm1(-x / np.exp(s)), y, weights, grid, refined=21)
    return np.stack([height, np.exp(scale)], axis=1)


SHAPES: tuple[Shape, ...] = (
    Shape(POWER_LAW, "a · L^b", _fit_power_law, lambda x, p: p[:, :1] * x ** p[:, 1:]),
    Shape(
        LOGARITHM,
        "a + b · log L",
        lambda x, y, w: _fit_linear_in(np.log(x), y, w),
        lambda x, p: p[:, :1] + p[:, 1:] * np.log(x),
    ),
    Shape(LINE, "a + b · L", _fit_linear_in, lambda x, p: p[:, :1] + p[:, 1:] * x),
    Shape(
        SATURATION, "a · (1 − e^(−L/b))", _fit_saturation, lambda x, p: p[:, :1] * -np.expm1(-x / p[:, 1:])
    ),
)


@dataclass(frozen=True, eq=False)
class ShapeFit:
    """One shape fitted to one curve.

    Attributes:
        shape: Its name.
        formula: Its formula in a, b and L.
        parameters: a and b.
        fitted: The shape at the lengths, shape (points,), nats.
        residuals: (value − fitted) / standard error, shape (points,).
        misfit: Sum of the squared residuals. Two parameters for every shape, so that smaller is better.
        best_share: Share of the resamples of documents in which this shape leaves the least; NaN without them.
        p_value: How often a curve that does have this shape would leave as much; small where the documents reject it.
            From resamples, NaN without them (`l2m_eval.statistics.goodness`).
    """

    shape: str
    formula: str
    parameters: tuple[float, float]
    fitted: Array
    residuals: Array
    misfit: float
    best_share: float = float("nan")
    p_value: float = float("nan")


def fit_shapes(lengths: ArrayLike, values: ArrayLike, errors: ArrayLike) -> tuple[ShapeFit, ...]:
    """Fit every shape to one curve, in the order of `SHAPES`.

    Args:
        lengths: Shape (points,), positive and increasing.
        values: Shape (points,), nats.
        errors: Standard errors, shape (points,).

    Raises:
        L2MError: fewer than three points (two parameters fit two points exactly), or errors that are not positive.
    """
    x, y, spread = (np.asarray(a, float) for a in (lengths, values, errors))
    if len(x) < 3:
        raise L2MError(
            f"lengths: {len(x)} point(s); shapes of two parameters can be compared from three lengths on"
        )
    if not ((spread > 0) & np.isfinite(spread)).all():
        raise L2MError("errors: a standard error is not positive; shapes are compared in standard errors")
    fits = []
    for shape in SHAPES:
        parameters = shape.fit(x, y[None, :], 1 / spread**2)
        fitted = shape.evaluate(x, parameters)[0]
        residuals = (y - fitted) / spread
        a, b = (float(value) for value in parameters[0])
        fits.append(
            ShapeFit(shape.name, shape.formula, (a, b), fitted, residuals, float(residuals @ residuals))
        )
    return tuple(fits)


def compare_shapes(
    lengths: ArrayLike,
    terms: ArrayLike,
    clusters: ArrayLike,
    errors: ArrayLike,
    *,
    rng: np.random.Generator,
    resamples: int = 1000,
    shared_error: float = 0.0,
) -> tuple[ShapeFit, ...]:
    """`fit_shapes` on the mean of per-document terms: how many resamples prefer each shape, and is it rejected.

    Args:
        lengths: Shape (points,).
        terms: Per-document terms, shape (documents, points), nats; NaN where a document was not measured.
        clusters: Cluster label of each document; clusters are what is resampled.
        errors: Standard errors of the points: the weights.
        rng: Source of the resamples.
        resamples: Number of resamples.
        shared_error: As of `l2m_eval.statistics.power_law.power_law_with_interval`.
    """
    x, values, spread = (np.asarray(a, float) for a in (lengths, terms, errors))
    mean = present_mean(values)
    fits = fit_shapes(x, mean, spread)
    sums, sizes = present_sums(values, clusters)
    if len(sizes) < 2:
        return fits
    curves = resampled_curves(sums, sizes, rng, resamples, shared_error)
    weights = 1 / spread**2

    def fitted(shape: Shape) -> Callable[[Array], Array]:
        return lambda y: shape.evaluate(x, shape.fit(x, y, weights))

    misfits = np.stack([misfit(curves, fitted(shape)(curves), spread) for shape in SHAPES])  # (S, R)
    misfits = np.where(np.isfinite(misfits), misfits, np.inf)  # a power law of amplitude 0 has no exponent
    best = misfits.argmin(axis=0)
    deviations = widening(len(sizes)) * (curves - mean)
    return tuple(
        replace(
            fit,
            best_share=float((best == i).mean()),
            p_value=goodness_of_fit(mean, spread, deviations, fitted(shape)),
        )
        for i, (fit, shape) in enumerate(zip(fits, SHAPES, strict=True))
    )
