"""Theorem 5.2: what a state can pass on, how much of it is used, and where the law of the data fills it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from toys import LENGTHS, curve, law, state

from l2m_eval.condition.horizon import horizon, state_capacity, utilisation
from l2m_eval.condition.law import ScalingLaw
from l2m_eval.condition.measured import Calibration
from l2m_eval.condition.state_check import check_model
from l2m_eval.errors import L2MError
from l2m_eval.statistics.estimate import Estimate


def test_an_element_holds_its_bits_and_the_last_token_its_logarithm():
    assert state_capacity(state("10", bits=4), 100, vocabulary=50)[()] == pytest.approx(
        40 * math.log(2) + math.log(50)
    )
    assert state_capacity(state("10*L"), 100, nats_per_element=0.5)[()] == pytest.approx(500)


def test_the_horizon_of_a_fixed_state_is_where_the_law_fills_it():
    capacity = 10**6 * 16 * math.log(2)
    found = horizon(law(), state("10**6"))
    assert found.length == pytest.approx((capacity / 2.0) ** (1 / 0.75), rel=1e-9)
    replicates = law().replicates
    lengths = np.sort((capacity / replicates[:, 0]) ** (1 / replicates[:, 1]))
    # the interval is that of the exact crossings of the resamples, to the one next to it
    for end, place in zip(found.interval, (49, 1949), strict=True):
        assert lengths[place - 1] * (1 - 1e-9) <= end <= lengths[place + 1] * (1 + 1e-9)
    assert found.never == 0


def test_few_documents_widen_the_horizons_interval():
    """As far out as Student's t reaches for 20 clusters, and the narrowness of resampled means: 2.09 · 1.026."""
    known = law(resamples=20_000)
    many, few = (horizon(replace(known, clusters=n), state("10**6")).interval for n in (None, 20))
    widths = [math.log(high / low) for low, high in (many, few)]
    assert widths[1] / widths[0] == pytest.approx(2.093 * math.sqrt(20 / 19) / 1.96, rel=0.05)


def test_the_horizon_lies_where_a_window_and_an_attention_layer_together_are_crossed():
    hybrid = state("100*min(L, 64)+ 0.001*L")
    found = horizon(ScalingLaw(50.0, 0.8, "toy"), hybrid, nats_per_element=1.0)
    left = found.length / 2  # the state is that after half the tokens
    assert 50.0 * found.length**0.8 == pytest.approx(6400 + 0.001 * left, rel=2e-3)  # sizes are whole numbers
    # 50·L^0.8 = 0.0005·L again where L^0.2 = 10^5; found on a grid of 40 points a decade
    assert 1e25 <= found.until <= 1e25 * 10 ** (1 / 40) * (1 + 1e-9)


def test_a_law_that_attention_outgrows_has_no_horizon():
    found = horizon(law(), state("64*L"), vocabulary=4096)
    assert math.isinf(found.length)
    assert found.interval == (math.inf, math.inf)
    assert found.never == 1


def test_without_resamples_the_intervals_corners_bound_the_horizon():
    stated = ScalingLaw(2.0, 0.75, "toy", exponent_interval=(0.7, 0.8), amplitude_interval=(1.5, 2.5))
    capacity = 10**6 * 16 * math.log(2)
    low, high = horizon(stated, state("10**6")).interval
    assert low == pytest.approx((capacity / 2.5) ** (1 / 0.8), rel=1e-9)
    assert high == pytest.approx((capacity / 1.5) ** (1 / 0.7), rel=1e-9)


def test_resamples_that_are_no_laws_neither_cross_nor_spoil_the_interval():
    bad = np.array([[np.nan, np.nan], [0.0, 0.75], [-1.0, 0.75]])
    replicates = np.concatenate([law().replicates, bad])
    found = horizon(ScalingLaw(2.0, 0.75, "toy", replicates=replicates), state("10**6"))
    assert found.never == pytest.approx(2 / 2002)
    assert np.isfinite(found.interval).all()


def test_utilisation_is_the_share_of_the_capacity_after_the_left_block():
    capacity, used, errors = utilisation(curve(), state("10*L"), nats_per_element=2.0)
    np.testing.assert_allclose(capacity, 10 * LENGTHS)
    np.testing.assert_allclose(used, 2.0 * LENGTHS**0.75 / (10 * LENGTHS))
    np.testing.assert_allclose(errors, 0.05 * used)
    with_last_token = utilisation(curve(), state("10*L"), vocabulary=50)[0]
    np.testing.assert_allclose(with_last_token, 10 * LENGTHS / 2 * 16 * math.log(2) + math.log(50))
    with pytest.raises(L2MError, match="unit"):
        utilisation(curve(unit="bytes"), state("L"), vocabulary=10)


@pytest.mark.parametrize(
    "constants", [{"vocabulary": 0}, {"nats_per_element": -1.0}, {"nats_per_element": math.inf}]
)
def test_a_bound_that_makes_no_sense_is_refused(constants):
    with pytest.raises(L2MError, match=next(iter(constants))):
        check_model(state("L"), law(), **constants)


CROSSES, STAYS_BELOW = (2.0, 1.2), (2.0, 0.75)  # of 32·L nats: the first at L = 16^5, the second nowhere


def law_of(*resamples, of=STAYS_BELOW):
    return ScalingLaw(*of, "a toy", replicates=np.array(resamples))


def test_the_sentence_says_how_many_resamples_cross_what_the_law_does_not():
    attention, one_nat = state("64*L"), {"nats_per_element": 1.0}
    split = law_of(*[STAYS_BELOW] * 300, *[CROSSES] * 100)
    found = horizon(split, attention, **one_nat)
    assert (found.length, found.never) == (math.inf, 0.75)
    assert found.interval == (pytest.approx(16**5), math.inf)
    never = "never reaches the capacity of this state"
    assert check_model(attention, split, **one_nat).sentence.endswith(f"{never}, but a resample in 4 does.")
    # One in eighty is less than the fortieth that the interval leaves out.
    rare = law_of(*[STAYS_BELOW] * 395, *[CROSSES] * 5)
    assert horizon(rare, attention, **one_nat).interval == (math.inf, math.inf)
    assert check_model(attention, rare, **one_nat).sentence.endswith(f"{never}.")


def test_the_sentence_says_where_the_law_crosses_and_is_overtaken():
    fixed, attention = state("1000"), state("64*L")
    with_interval = law_of(*[(2.0, 0.5)] * 200, *[(4.0, 0.5)] * 200, of=(2.0, 0.5))
    # (1000 / 2)^2 and (1000 / 4)^2; at a constant law there is no interval, and in millions no digits.
    for data, where in (
        (with_interval, "at 250,000 tokens (95 % interval 62,500 to 250,000)."),
        (ScalingLaw(2.0, 0.5, "exact"), "at 250,000 tokens."),
        (ScalingLaw(2.0, 0.25, "exact"), "at 6.2e+10 tokens."),
    ):
        sentence = check_model(fixed, data, nats_per_element=1.0).sentence
        assert sentence.endswith(f"the data's law reaches the capacity of this state {where}")
    unsure = law_of(*[(2.0, 1.2)] * 200, *[STAYS_BELOW] * 200, of=CROSSES)
    sentence = check_model(attention, unsure, nats_per_element=1.0).sentence
    assert sentence.endswith("at 1.0e+06 tokens (95 % interval 1.0e+06 to never).")
    # 1000·L^0.5 is above 32·L up to L = (1000 / 32)^2, from the first token on.
    early = check_model(attention, ScalingLaw(1000.0, 0.5, "exact"), nats_per_element=1.0)
    assert early.numbers["horizon"]["until"] == pytest.approx((1000 / 32) ** 2, rel=10 ** (1 / 40) - 1)
    assert "at 1 tokens; it is overtaken again at " in early.sentence
    above = check_model(fixed, ScalingLaw(1e4, 0.5, "exact"), nats_per_element=1.0).sentence
    assert above.endswith("the data's law is above the capacity of this state at every length.")


def test_the_capacity_is_that_after_the_left_block_of_the_laws_ratio():
    for ratio in (2.0, 4.0):
        data = ScalingLaw(0.1, 1.5, "exact", ratio=ratio)
        found = horizon(data, state("64*L"), nats_per_element=0.5, vocabulary=8)
        # 0.1·L^1.5 = 32·L / ratio + log 8
        assert 0.1 * found.length**1.5 == pytest.approx(32 * found.length / ratio + math.log(8), rel=1e-9)
        assert found.interval == (found.length, found.length)
        assert found.never == 0
        assert found.assumption == "With 0.5 nats per element"


def test_an_amplitude_or_an_exponent_that_is_certain_leaves_the_others_interval():
    fixed, one_nat = state("1000"), {"nats_per_element": 1.0}
    for known, ends in (
        ({"amplitude_interval": (1.0, 4.0)}, ((1000 / 4) ** 2, (1000 / 1) ** 2)),
        ({"exponent_interval": (0.4, 0.6)}, ((1000 / 2) ** (1 / 0.6), (1000 / 2) ** (1 / 0.4))),
    ):
        found = horizon(ScalingLaw(2.0, 0.5, "stated", **known), fixed, **one_nat)
        assert found.interval == pytest.approx(ends, rel=1e-9)
        assert found.never == 0
        beyond = horizon(ScalingLaw(2.0, 0.5, "stated", **known), state("64*L"), **one_nat)
        assert (beyond.length, beyond.never) == (math.inf, 1)


def calibrated(nats, error):
    return Calibration(Estimate(nats, error, (nats - 2 * error, nats + 2 * error)), 4096, "window128", 0.95)


def test_a_calibrated_state_that_holds_the_law_only_where_its_window_is_full_is_crossed_behind_that():
    """At L = 256 the law asks for half a percent less than 128 tokens carry, and no grid point lies that near."""
    carried = 0.5 * 100 * 128
    data = ScalingLaw(0.995 * carried / 16, 0.5, "exact")
    found = horizon(data, state("100*min(L, 128)"), calibration=calibrated(0.5, 0.0))
    assert found.length == pytest.approx(256 / 0.995**2, rel=1e-9)
    assert found.assumption == calibrated(0.5, 0.0).assumption
    # Without a calibration it is crossed from the first token on.
    assert horizon(data, state("100*min(L, 128)"), nats_per_element=0.5).length == pytest.approx(1)


def test_the_error_of_what_an_element_carries_counts_as_that_of_the_law_does():
    """The length is (C·dim z / A)^2: twice the errors of A, which 4000 resamples know to 1 %, and of C."""
    fixed = state("1000")
    amplitudes = np.exp(0.1 * np.random.default_rng(1).normal(size=4000))
    data = ScalingLaw(1.0, 0.5, "a toy", replicates=np.stack([amplitudes, np.full(4000, 0.5)], 1))
    exact = ScalingLaw(1.0, 0.5, "exact")
    for law_, error, width in (
        (data, 0.1, 2 * math.hypot(0.1, 0.2)),
        (data, math.nan, 2 * 0.1),  # unknown: that of the law alone
        (exact, 0.1, 2 * 0.2),
    ):
        found = horizon(law_, fixed, vocabulary=10**6, calibration=calibrated(0.5, error))
        assert found.length == pytest.approx(500**2)  # the last token's information is in the constant
        # An end of an interval, a fortieth of the resamples, is known to 4.3 % of a half-width; four of those.
        assert np.log(found.interval) - math.log(found.length) == pytest.approx(
            [-1.96 * width, 1.96 * width], rel=0.17
        )
    unknown = horizon(exact, fixed, calibration=calibrated(0.5, math.nan))
    assert unknown.interval == (unknown.length, unknown.length)


def test_a_state_of_less_than_one_token_is_that_of_one():
    """A quarter of L is less than a token up to L = 4: A·L^2 is four elements of a nat at L = 2 / √A."""
    for amplitude in (0.5, 3.0):
        found = horizon(ScalingLaw(amplitude, 2.0, "exact", ratio=4.0), state("4*L"), nats_per_element=1.0)
        assert found.length == pytest.approx(math.sqrt(4 / amplitude), rel=1e-9)
