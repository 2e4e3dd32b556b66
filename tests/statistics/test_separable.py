"""Separable least squares: what was planted is found, and no other parameters leave less."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import least_squares

from l2m_eval.statistics.separable import lines, nearest_line, scaled

X = np.array([4.0, 8, 16, 32, 64])
WEIGHTS = np.array([4.0, 1, 2, 1, 0.5])
GRID = np.linspace(-1.0, 2.0, 61)


def _powers(exponents):
    return X**exponents


@pytest.mark.parametrize("amplitude", [2.0, -0.3])
def test_a_planted_law_is_found_whatever_the_sign_of_its_amplitude(amplitude):
    found = scaled(_powers, amplitude * X[None] ** 0.7312, WEIGHTS, GRID, refined=41)
    resolution = (GRID[1] - GRID[0]) / 20**4  # of the last grid
    assert found[1][0] == pytest.approx(0.7312, abs=resolution)
    # The amplitude follows the exponent at the rate of the logarithm of a length.
    assert found[0][0] == pytest.approx(amplitude, rel=np.log(X[-1]) * resolution)


def test_the_minimum_is_the_one_that_a_general_solver_finds():
    values = 1.5 * X**0.5 + np.array([0.3, -0.2, 0.1, 0.4, -0.5])
    amplitude, exponent, explained = scaled(_powers, values[None], WEIGHTS, GRID, refined=41)
    general = least_squares(
        lambda p: np.sqrt(WEIGHTS) * (values - p[0] * X ** p[1]), (1.0, 0.4), xtol=1e-12, ftol=1e-12
    )
    resolution = (GRID[1] - GRID[0]) / 20**4
    assert exponent[0] == pytest.approx(general.x[1], abs=2 * resolution)
    left = WEIGHTS @ (values - amplitude[0] * X ** exponent[0]) ** 2
    assert left == pytest.approx(2 * general.cost, rel=1e-9)  # flat at the minimum: resolution squared
    assert explained[0] == pytest.approx(WEIGHTS @ values**2 - left, rel=1e-12)


def test_parameters_stay_in_their_range_and_positive_amplitudes_explain_no_fall_below_zero():
    _, exponent, _ = scaled(_powers, X[None] ** 5.0, WEIGHTS, GRID, refined=41)
    assert exponent[0] == GRID[-1]
    assert scaled(_powers, -(X[None] ** 0.5), WEIGHTS, GRID, refined=41, positive=True)[2][0] == 0


def test_lines_are_those_of_a_weighted_straight_line_fit_and_the_nearest_leaves_least():
    bases = X ** -np.linspace(0.2, 2.0, 10)[:, None]
    values = np.stack([3 - 2 * bases[4], 1 + 0.5 * bases[7]])
    offset, amplitude, _ = lines(values, bases, WEIGHTS)
    for i, basis in enumerate(bases):
        slope, intercept = np.polyfit(basis, values[0], 1, w=np.sqrt(WEIGHTS))
        assert (offset[0, i], amplitude[0, i]) == pytest.approx((intercept, slope), rel=1e-9)
    np.testing.assert_allclose(nearest_line(values, bases, WEIGHTS), values, rtol=1e-12)
