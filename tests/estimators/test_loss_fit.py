"""The fit of the loss by position between the points of its grid of exponents."""

import numpy as np
import pytest

from l2m_eval.estimators.position import SLOPES, fit_approach, per_position_nll

STEP = SLOPES[1] - SLOPES[0]
POSITIONS = np.arange(1, 4097)


def fitted(h, b, beta):
    losses = h + b * POSITIONS ** (beta - 1)
    return fit_approach(per_position_nll(np.tile(-losses, (5, 1))))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.75])
@pytest.mark.parametrize("beta", [0.3, 0.6, 0.8])
def test_an_exponent_between_two_grid_points_is_found_where_it_lies(beta, share):
    """Not at the grid point: the parabola through three sums of squares knows its top to a hundredth of a step.

    What is left is its third derivative, a fraction of the step squared; the entropy rate and the amplitude move by
    as much as the law does when its exponent moves so, B · ln t at the longest positions.
    """
    planted = beta + share * STEP
    fit = fitted(2.0, 3.0, planted)
    assert fit.exponent.value == pytest.approx(planted, abs=0.01 * STEP)
    moved = 0.01 * STEP * 3.0 * np.log(POSITIONS[-1])
    assert fit.entropy_rate.value == pytest.approx(2.0, abs=moved)
    assert fit.amplitude.value == pytest.approx(3.0, abs=moved)


def test_a_loss_that_rises_has_a_negative_amplitude():
    assert fitted(2.0, -0.5, 0.503).amplitude.value == pytest.approx(-0.5, abs=1e-3)  # as above


def test_the_fit_scales_with_the_loss_and_keeps_its_exponent():
    """In other units (bits for nats) the same law: only rounding of float64 lies between."""
    one, twice = fitted(1.0, 2.0, 0.6037), fitted(2.0, 4.0, 0.6037)
    assert twice.exponent.value == pytest.approx(one.exponent.value, abs=1e-8)
    assert twice.entropy_rate.value == pytest.approx(2 * one.entropy_rate.value, abs=1e-7)
    assert twice.amplitude.value == pytest.approx(2 * one.amplitude.value, abs=1e-7)
