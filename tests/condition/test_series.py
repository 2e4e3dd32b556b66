"""Theorem 5.6: do the states of a series of models grow with the lengths they are meant for?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from toys import law, series

from l2m_eval.condition.law import ScalingLaw
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
    for size, length in ((0, 8), (5, 0), (math.inf, 8), (5, math.nan)):
        with pytest.raises(L2MError, match=f"series: a has state size {size!r} and length {length!r}"):
            check_series([SeriesMember("a", size, length), SeriesMember("b", 2, 16)], law())


EXACT = ScalingLaw(1.0, 0.5, "a toy")


def test_the_exponent_and_its_interval_are_those_of_a_straight_line_fit():
    """Student's t for the models less two, about a law that is exact."""
    for count in (3, 6):
        members = series(0.85, noise=0.3)[:count]
        line = stats.linregress(np.log([m.length for m in members]), np.log([m.state_size for m in members]))
        verdict = check_series(members, EXACT)
        numbers = verdict.numbers
        assert (numbers["delta"], numbers["delta_error"]) == pytest.approx((line.slope, line.stderr))
        reach = stats.t.ppf(0.975, count - 2) * line.stderr
        margin = line.slope - 0.5
        assert (numbers["margin"], *numbers["margin_interval"]) == pytest.approx(
            (margin, margin - reach, margin + reach)
        )
        assert f"grow like L^{line.slope:.2f} ± {line.stderr:.2f} with" in verdict.sentence
        low, high = numbers["margin_interval"]
        assert f"δ - β = {margin:.2f} (95 % interval {low:.2f} to {high:.2f})" in verdict.sentence


def test_errors_of_the_law_and_of_the_series_add_in_quadrature():
    """An end of the margin is reached where the exponent is low and the law's is high, or the other way."""
    lopsided = ScalingLaw(1.0, 0.5, "a toy", exponent_interval=(0.4, 0.7))
    members = series(0.85, noise=0.3)
    own = check_series(members, EXACT).numbers
    reach = own["margin"] - own["margin_interval"][0]
    low, high = check_series(members, lopsided).numbers["margin_interval"]
    assert own["margin"] - low == pytest.approx(math.hypot(reach, 0.2))
    assert high - own["margin"] == pytest.approx(math.hypot(reach, 0.1))


@pytest.mark.parametrize(
    "members",
    [
        [SeriesMember("small", 1, 1), SeriesMember("large", 8, 16)],  # two are exactly on their line
        [SeriesMember("large", 8, 16), SeriesMember("small", 1, 1), SeriesMember("middle", 2**1.5, 4)],
    ],
)
def test_models_on_a_line_have_no_error_and_the_one_of_the_longest_is_named(members):
    verdict = check_series(members, EXACT)
    assert verdict.numbers["delta"] == pytest.approx(0.75)
    assert verdict.numbers["delta_error"] == 0
    assert verdict.numbers["margin_interval"] == pytest.approx((0.25, 0.25))
    assert f"the {len(members)} models up to large grow like L^0.75 with" in verdict.sentence
