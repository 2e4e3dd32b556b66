"""Curves between the lengths at which they were measured."""

from __future__ import annotations

import numpy as np

from l2m_eval.statistics.arrays import Array


def value_at(lengths: Array, measured: Array, values: Array) -> Array:
    """Curves, (..., K), at other lengths, (..., n): straight lines between log I against log L.

    Straight lines of I itself where one of the two neighbours is not positive.
    """
    where = np.interp(np.log(lengths), np.log(measured), np.arange(len(measured)))
    lower, upper = np.floor(where).astype(int), np.ceil(where).astype(int)
    share = where - lower
    low, high = values[..., lower], values[..., upper]
    with np.errstate(divide="ignore", invalid="ignore"):
        mixed = np.exp((1 - share) * np.log(low) + share * np.log(high))
    straight = (1 - share) * low + share * high
    return np.where(share == 0, low, np.where((low > 0) & (high > 0), mixed, straight))


def error_at(lengths: Array, measured: Array, errors: Array) -> Array:
    """Standard errors, (K,), at other lengths, (n,), as if the errors of neighbours were fully correlated."""
    return np.interp(np.log(lengths), np.log(measured), errors)
