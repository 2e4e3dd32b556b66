"""Separable least squares: laws that are linear in all parameters but one.

For each value of that one the others are in closed form, so that only one parameter is searched for, over a grid,
and the fit cannot end in a local minimum. Many curves are fitted at once; G candidates, C curves, K points.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from l2m_eval.statistics.arrays import Array


def scaled(
    basis: Callable[[Array], Array],
    values: Array,
    weights: Array,
    grid: Array,
    *,
    refined: int,
    positive: bool = False,
) -> tuple[Array, Array, Array]:
    """Fit amplitude · basis(parameter), the parameter by a grid refined five times around its best, within its range.

    Args:
        basis: From parameters (C, G, 1) to the law at amplitude 1, (C, G, K).
        values: Shape (C, K).
        weights: Shape (K,), or (C, K) where curves have weights of their own.
        grid: Evenly spaced parameters, (G,).
        refined: Points of each finer grid, an odd number.
        positive: Amplitudes below zero explain nothing.

    Returns:
        Amplitude, parameter, and the weighted sum of squares that they explain, each of shape (C,).
    """
    rows, width = np.arange(len(values)), float(grid[1] - grid[0])
    candidates = np.broadcast_to(grid, (len(values), len(grid)))  # (C, G)
    for _ in range(5):
        law = basis(candidates[:, :, None])  # (C, G, K)
        along = (law * (values * weights)[:, None, :]).sum(axis=2)
        squares = (law**2 * weights[..., None, :]).sum(axis=2)
        explained = np.where((along > 0) | (not positive), along**2 / squares, 0.0)
        best = explained.argmax(axis=1)
        parameter = candidates[rows, best]
        candidates = np.clip(parameter[:, None] + np.linspace(-width, width, refined), grid[0], grid[-1])
        width /= refined // 2
    return (along / squares)[rows, best], parameter, explained[rows, best]


def lines(values: Array, bases: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Fit offset + amplitude · basis with each of the bases (G, K) to values (C, K), weights (K,).

    Returns:
        Offset, amplitude, and the weighted sum of squares around the mean that they explain, each of shape (C, G).
    """
    w = weights / weights.sum()
    x = bases - (bases @ w)[:, None]  # (G, K)
    y = values - (values @ w)[:, None]  # (C, K)
    amplitude = (y * w) @ x.T / ((x * x) @ w)
    offset = (values @ w)[:, None] - amplitude * (bases @ w)
    return offset, amplitude, amplitude**2 * ((x * x) @ w)


def nearest_line(values: Array, bases: Array, weights: Array) -> Array:
    """The fitted curve of the best of the bases, (C, K); of the range's edge where that is the best."""
    offset, amplitude, explained = lines(values, bases, weights)
    rows, best = np.arange(len(values)), explained.argmax(axis=1)
    return np.asarray(offset[rows, best][:, None] + amplitude[rows, best][:, None] * bases[best])
