"""Theorem 5.6: do the states of a series of models grow with the lengths they are meant for?"""

from __future__ import annotations

import pytest
from toys import law, series

from l2m_eval.condition.series import SeriesMember, check_series
from l2m_eval.errors import L2MError


def test_states_that_grow_with_the_intended_length_satisfy():
    assert check_series(series(1.0), law()).status == "satisfied"
    assert check_series(series(0.2), law()).status == "violated"
    assert check_series(series(0.75), law()).status == "inconclusive"


def test_scatter_about_the_trend_widens_the_interval():
    exact, noisy = check_series(series(0.85), law()), check_series(series(0.85, noise=0.5), law())
    assert exact.status == "satisfied"
    assert exact.numbers["delta"] == pytest.approx(0.85)
    assert noisy.numbers["delta_error"] > 0.05
    assert noisy.status == "inconclusive"


def test_a_series_needs_two_lengths_and_positive_sizes():
    with pytest.raises(L2MError, match="at least two lengths"):
        check_series([SeriesMember("a", 1, 8), SeriesMember("b", 2, 8)], law())
    with pytest.raises(L2MError, match="series: a"):
        check_series([SeriesMember("a", 0, 8), SeriesMember("b", 2, 16)], law())
