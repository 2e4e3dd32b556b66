"""Errors and intervals for few clusters: how far Student's t reaches, and what resampled estimates say.

Source of the widened quantiles: T. Hesterberg, *What teachers should know about the bootstrap*, Am. Stat. 69 (2015).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

# Resamples of fewer clusters than this do not reach into the tails: their extremes are the data's own.
FEWEST_FOR_QUANTILES = 20


def student_t(clusters: int, confidence: float = 0.95) -> float:
    """How many standard errors an interval reaches with that many clusters; NaN with fewer than two."""
    return float(stats.t.ppf(0.5 + confidence / 2, clusters - 1)) if clusters > 1 else math.nan


def resampled_error(replicates: ArrayLike, clusters: int) -> float:
    """Standard error from estimates on resampled clusters, (resamples,); infinite ones count, NaN do not.

    Half the width of the central 68.27 %, which is the standard deviation of what is normal, and says what one error
    bar is to say where a few resamples are far away (a curve near zero has no logarithm to speak of). A mean of
    resampled clusters varies by sqrt((G - 1) / G) less than that of the sample; the factor is taken out. With fewer
    than twenty clusters the tails matter and quantiles do not reach them, so it is the standard deviation; with fewer
    than two NaN.
    """
    values = _known(replicates)
    if clusters < 2 or len(values) < 2:
        return math.nan
    if clusters < FEWEST_FOR_QUANTILES and np.isfinite(values).all():
        return widening(clusters) * float(values.std())
    low, high = np.quantile(values, stats.norm.cdf([-1, 1]), method="inverted_cdf")
    return float(widening(clusters) * (high - low) / 2) if np.isfinite([low, high]).all() else math.nan


def resampled_interval(
    replicates: ArrayLike, estimate: float, clusters: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval from estimates on resampled clusters, (resamples,): their quantiles, widened for few clusters.

    Quantiles follow the lopsided distributions that fits have. They are taken as far out as Student's t for the
    number of clusters reaches on a normal distribution, and the sqrt(G / (G - 1)) of `resampled_error` besides. An
    end is infinite where that share of the resamples is. With fewer than twenty clusters: the
    estimate and Student's t, if no resample is infinite.
    """
    values = _known(replicates)
    reach = student_t(clusters, confidence)
    if clusters < 2 or len(values) < 2:
        return (math.nan, math.nan)
    if clusters < FEWEST_FOR_QUANTILES and np.isfinite(values).all():
        error = resampled_error(values, clusters)
        return (estimate - reach * error, estimate + reach * error)
    tail = float(stats.norm.cdf(-reach * widening(clusters)))
    low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
    return (float(low), float(high))


def widening(clusters: int) -> float:
    """sqrt(G / (G - 1)): a mean of resampled clusters varies by this less than that of the sample."""
    return math.sqrt(clusters / (clusters - 1))


def _known(replicates: ArrayLike) -> np.ndarray:
    values = np.asarray(replicates, dtype=np.float64)
    return values[~np.isnan(values)]
