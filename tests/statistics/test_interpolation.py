"""Curves between their measured lengths: what a straight line in logarithms is, and what is done without one."""

from __future__ import annotations

import numpy as np
import pytest

from l2m_eval.statistics.interpolation import error_at, value_at

MEASURED = np.array([4.0, 8.0, 32.0])


def test_power_laws_are_interpolated_exactly_and_many_curves_at_once():
    between = np.array([4.0, 5.0, 8.0, 16.0, 30.0, 32.0])
    laws = np.array([[2.0, 0.5], [0.1, 1.5]])
    curves = laws[:, :1] * MEASURED ** laws[:, 1:]
    np.testing.assert_allclose(value_at(between, MEASURED, curves), laws[:, :1] * between ** laws[:, 1:])
    np.testing.assert_allclose(value_at(between, MEASURED, curves[0]), 2 * between**0.5)


def test_where_a_neighbour_is_not_positive_the_line_is_one_of_the_values_themselves():
    """Half of the way in log L; on a measured length the value is the measured one, whatever stands beside it."""
    halfway = np.array([8 / np.sqrt(2), 16.0])
    for curve, expected in (
        ([-1.0, 3.0, 12.0], [1.0, 6.0]),
        ([1.0, 4.0, 0.0], [2.0, 2.0]),
        ([2.0, -4.0, 1.0], [-1.0, -1.5]),
    ):
        values = np.array(curve)
        assert value_at(halfway, MEASURED, values) == pytest.approx(expected)
        assert value_at(MEASURED, MEASURED, values).tolist() == curve


def test_beyond_the_measured_lengths_the_last_value_stays():
    values = np.array([1.0, 2.0, 3.0])
    assert value_at(np.array([1.0, 100.0]), MEASURED, values).tolist() == [1, 3]
    assert error_at(np.array([1.0, 100.0]), MEASURED, values).tolist() == [1, 3]


def test_errors_are_straight_lines_against_the_logarithm_of_the_length():
    errors = np.array([0.1, 0.3, 0.7])
    assert error_at(np.array([8 / np.sqrt(2), 16.0]), MEASURED, errors) == pytest.approx([0.2, 0.5])
