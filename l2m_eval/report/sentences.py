"""Numbers in words, with their uncertainty; nothing is judged beyond what an interval says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from l2m_eval.statistics.arrays import Array
from l2m_eval.statistics.goodness import REJECTED
from l2m_eval.statistics.shapes import POWER_LAW, ShapeFit


def documents_on_shapes(fits: Sequence[ShapeFit]) -> str:
    """What the documents say to the power law, from the share of resamples in which it is the best of the shapes."""
    power = next(fit for fit in fits if fit.shape == POWER_LAW)
    if not math.isfinite(power.best_share):
        return "only the documents' records (--log_samples) could show how certain the best shape is"
    if power.best_share >= 0.95 and power.p_value < REJECTED:
        return "a power law fits best, but these documents reject it: its exponent describes this range only"
    if power.best_share >= 0.95:
        return "these documents support a power law"
    if power.best_share <= 0.05:
        return "these documents speak against a power law"
    return "these documents do not decide whether it is a power law"


def distance_from_exact(values: Array, errors: Array, exact: Array) -> float:
    """How many standard errors the estimates are away from the exact values, root mean square."""
    with np.errstate(divide="ignore", invalid="ignore"):
        away = (values - exact) / errors
    return float(np.sqrt(np.mean(np.where(np.isfinite(away), away, 0.0) ** 2)))


def in_words(reason: str) -> str:
    """A reason as the end of a cell: ``not fitted: too few points``."""
    return f"not fitted: {reason}" if reason else "not fitted"
