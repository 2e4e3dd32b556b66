"""Are the residuals of a fitted law larger than the documents' own scatter?

The points of a curve rest on the same documents, so that χ² tables do not apply to the residuals of a fit. The
scatter is resampled instead, around the fitted law: a parametric law, a non-parametric error. Source: W. Härdle and
E. Mammen, *Comparing nonparametric versus parametric regression fits*, Ann. Statist. 21 (1993).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from l2m_eval.statistics.arrays import Array

# Below this a law counts as rejected. Not 0.05, since a run fits several curves.
REJECTED = 0.01


def misfit(values: Array, fitted: Array, errors: Array) -> Array:
    """Sum of squared residuals in standard errors, (..., points) → (...)."""
    return np.asarray((((values - fitted) / errors) ** 2).sum(axis=-1))


def goodness_of_fit(values: Array, errors: Array, deviations: Array, law: Callable[[Array], Array]) -> float:
    """p-value of a law: how often curves that follow it are at least as far from their own fit as this one.

    Args:
        values: The curve, (points,).
        errors: Standard errors of the points, (points,): the unit of residuals.
        deviations: Of resampled curves from the curve, (resamples, points), as wide as the curve's own error.
        law: Fits curves, (curves, points), and returns the fitted ones, same shape; NaN where there is no fit, which
            counts as far from it.

    Returns:
        (1 + number of resamples at least as far) / (1 + resamples); NaN where nothing is known: no fit, an error that
        is not positive, no resamples.
    """
    fitted = law(values[None])[0]
    usable = np.isfinite(fitted).all() and (errors > 0).all() and np.isfinite(errors).all()
    deviations = deviations[np.isfinite(deviations).all(axis=1)]
    if not usable or not len(deviations):
        return math.nan
    curves = fitted + deviations
    distances = misfit(curves, law(curves), errors)
    far = np.isnan(distances) | (distances >= misfit(values, fitted, errors))
    return float((1 + far.sum()) / (1 + len(far)))


def rejection(p_value: float, law: str) -> str:
    """The warning that the documents reject a fitted law, and what the fit then describes."""
    return (
        f"the documents reject {law} (goodness of fit p = {p_value:.2g}): the fit describes this range only; do not "
        "extrapolate"
    )
