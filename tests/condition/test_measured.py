"""What a model needs beside what it has: δ, the calibrated horizon, and the bound held against every point."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from toys import law, state

from l2m_eval.condition.law import ScalingLaw
from l2m_eval.condition.measured import (
    Calibration,
    KeptPoint,
    MeasuredState,
    NeededState,
    calibration,
    measured_numbers,
    size_in_words,
)
from l2m_eval.condition.state_check import check_model
from l2m_eval.condition.verdict import Verdict
from l2m_eval.history_state import history_state_size
from l2m_eval.statistics.estimate import Estimate

LENGTHS = (256, 1024, 4096)
VOCABULARY = 4096


def estimate(value, relative=0.1):
    return Estimate(value, relative * value, (value * (1 - 2 * relative), value * (1 + 2 * relative)))


def family(name, tokens, elements_per_token=100.0, bits=16, drops=True, information=10.0):
    """A window of so many tokens that keeps 95 % of the information."""
    sizes = [elements_per_token * bits * n for n in tokens]
    delta = math.log(sizes[-1] / sizes[0]) / math.log(LENGTHS[-1] / LENGTHS[0])
    return NeededState(
        name, drops, tuple(map(estimate, tokens)), tuple(map(estimate, sizes)),
        tuple(estimate(0.95 * information / size) for size in sizes), estimate(delta),
    )  # fmt: skip


def measured(*families, points=()):
    bits = 100 * 16 * np.array(LENGTHS) / 2
    return MeasuredState("books with 32 documents", 0.95, LENGTHS, bits, families, tuple(points))


WINDOW = family("window", [32, 64, 128])  # L^0.5: twice at four times the length


def test_what_an_element_carries_is_the_kept_information_over_the_needed_elements():
    found = calibration(measured(WINDOW), 100 * np.array(LENGTHS) / 2)
    assert found.nats_per_element.value == pytest.approx(0.95 * 10 / (100 * 128))
    assert (found.length, found.state) == (4096, "window128")
    # Errors and interval are those of what a bit carries, sixteen times as large.
    one_bit = WINDOW.densities[-1]
    assert found.nats_per_element.standard_error == pytest.approx(16 * one_bit.standard_error)
    assert found.nats_per_element.interval == pytest.approx(tuple(16 * end for end in one_bit.interval))
    written = check_model(state("100*L"), law(0.3), measured=measured(WINDOW)).numbers["measured"]
    assert written["calibration"] == {
        "nats_per_element": found.nats_per_element.to_json(), "length": 4096, "state": "window128",
    }  # fmt: skip


def test_the_family_whose_elements_carry_most_calibrates():
    """It needs fewest bits for the same information; what the others keep beside it is not needed."""
    larger = family("sinks4+window", [64, 128, 256])
    for families in ((WINDOW, larger), (larger, WINDOW)):
        assert calibration(measured(*families), 100 * np.array(LENGTHS) / 2).state == "window128"


def test_ways_that_keep_all_elements_calibrate_none():
    """Fewer bits of each element say nothing of how many elements are needed."""
    rounded = family("bits", [60, 120, 240], drops=False)
    assert calibration(measured(rounded), 100 * np.array(LENGTHS) / 2) is None


def test_the_calibrated_horizon_of_a_fixed_state_is_where_the_law_is_what_its_elements_carry():
    """A window of 128 tokens that needs all of itself: A·L^β = C·dim z at L = (C·dim z / A)^(1/β)."""
    fixed, data = state("100*min(L, 128)"), ScalingLaw(1.0, 0.5, "a toy")
    needed = family("window", [120], information=40.0)
    fewer = MeasuredState("t", 0.95, (4096,), np.array([100 * 16 * 128.0]), (needed,), ())
    verdict = check_model(fixed, data, vocabulary=VOCABULARY, measured=fewer)
    carried = 0.95 * 40 / (100 * 120)
    reached = verdict.numbers["horizon"]
    assert reached["length"] == pytest.approx((carried * 100 * 128) ** 2, rel=1e-6)
    # The law is exact: the interval is that of what an element carries, whose error of 10 % is 20 % of the length.
    low, high = reached["interval"]
    assert math.log(high / low) == pytest.approx(2 * 2 * 1.96 * 0.1, rel=1e-3)
    assert "nats (window120 keeps 95 % at L = 4,096), the data's law reaches the capacity" in verdict.sentence
    assert verdict.numbers["at_context"] is None
    # The measured constant counts the last token in, so that no vocabulary is added.
    at_context = check_model(replace(fixed, context=1024), data, vocabulary=VOCABULARY, measured=fewer)
    there = at_context.numbers["at_context"]
    assert there["capacity"] == pytest.approx(carried * 100 * 128)
    assert f"of the capacity of this state at {carried:.2g} nats per element." in at_context.sentence


def test_a_state_that_grows_faster_than_the_law_has_no_calibrated_horizon():
    """Though the constant, measured at a long text, gives short ones less than the law asks for."""
    verdict = check_model(state("100*L"), law(0.3, amplitude=2.0), measured=measured(WINDOW))
    assert math.isinf(verdict.numbers["horizon"]["length"])
    assert "never reaches the capacity of this state" in verdict.sentence


def test_a_law_above_the_capacity_everywhere_is_said():
    short = ScalingLaw(1e6, 0.5, "a toy")
    verdict = check_model(state("100*min(L, 128)"), short, measured=measured(WINDOW))
    assert "is above the capacity of this state at every length" in verdict.sentence


def test_the_sentence_says_what_is_needed_beside_what_there_is():
    rounded = family("bits", [40, 80, 100], drops=False)
    verdict = check_model(state("100*L"), law(0.3), measured=measured(rounded, WINDOW))
    assert (
        "Measured on books with 32 documents: the model needs L^0.50 ± 0.05 for 95 % of its information (window) and "
        "has L^1; at L = 4,096 it has 400 KiB and needs 19.5 KiB (bits)." in verdict.sentence
    )
    numbers = verdict.numbers["measured"]
    assert (numbers["delta"], numbers["delta_of"]) == (pytest.approx(0.5), "window")
    again = Verdict.from_json(verdict.to_json())
    assert again.to_json() == verdict.to_json()


def test_where_no_needed_state_is_known_nothing_is_said_of_it():
    unknown = Estimate(math.nan)
    nothing = NeededState("window", True, *(3 * (unknown,) for _ in range(3)), unknown)
    for none in ((), (nothing,)):
        verdict = check_model(state("100*L"), law(0.3), measured=measured(*none))
        numbers = verdict.numbers["measured"]
        assert [numbers[name] for name in ("delta", "delta_error", "delta_interval", "at_longest")] == [
            None
        ] * 4
        assert (numbers["delta_of"], numbers["calibration"]) == ("", None)
        assert "Measured" not in verdict.sentence
        assert (
            verdict.numbers["horizon"]["assumption"]
            == "If every stored bit carries information about the past"
        )


def test_a_growth_without_error_or_without_growth_leaves_that_part_of_the_sentence_out():
    without_error = replace(WINDOW, exponent=Estimate(0.5))
    sentence = check_model(state("100*L"), law(0.3), measured=measured(without_error)).sentence
    assert "needs L^0.50 for 95 % of its information (window) and has L^1; at" in sentence
    unknown_state = history_state_size({"table": {1024: 5, 2048: 9}}, [1024, 2048])
    assert "(window) and has" not in check_model(unknown_state, law(0.3), measured=measured(WINDOW)).sentence
    one_length = replace(WINDOW, exponent=Estimate(math.nan))
    sentence = check_model(state("100*L"), law(0.3), measured=measured(one_length)).sentence
    assert (
        "documents: at L = 4,096 the model has 400 KiB and needs 25 KiB for 95 % of its information"
        in sentence
    )


def test_the_growth_is_that_of_the_family_that_drops_elements_and_needs_fewest_bits():
    """At the longest length; one whose need is not known there comes last, one that drops nothing does not count."""
    larger = family("sinks4+window", [8, 64, 256])
    unfinished = replace(family("prefix", [1, 2, 4]), sizes=(*map(estimate, (1.0, 2.0)), Estimate(math.nan)))
    rounded = family("bits", [1, 2, 4], drops=False)
    for families in itertools.permutations((WINDOW, larger, unfinished, rounded)):
        numbers = measured_numbers(measured(*families), None, None)
        assert (numbers["delta_of"], numbers["delta"]) == ("window", WINDOW.exponent.value)
        assert (numbers["delta_error"], numbers["delta_interval"]) == (
            WINDOW.exponent.standard_error, WINDOW.exponent.interval,
        )  # fmt: skip
        there = numbers["at_longest"]
        assert (there["family"], there["length"], there["needs"]) == ("bits", 4096, rounded.sizes[-1].value)
    alone = measured_numbers(measured(unfinished), None, None)
    assert (alone["at_longest"]["length"], alone["at_longest"]["needs"]) == (1024, 2.0)
    assert alone["at_longest"]["has"] == 100 * 16 * 1024 / 2


@pytest.mark.parametrize(
    ("size", "words"),
    [(999, "999 bytes"), (1000, "0.977 KiB"), (1536, "1.5 KiB"), (3 * 2**20, "3 MiB"), (2 * 2**30, "2 GiB")],
)
def test_sizes_are_in_powers_of_1024(size, words):
    assert size_in_words(8 * size) == words


def test_a_given_constant_is_not_calibrated_anew():
    given = {"nats_per_element": 0.5, "vocabulary": VOCABULARY}
    fixed, data = state("100*min(L, 128)"), law(0.5)
    with_state = check_model(fixed, data, measured=measured(WINDOW), **given)
    assert with_state.numbers["horizon"] == check_model(fixed, data, **given).numbers["horizon"]


def test_no_kept_information_exceeds_the_bound_and_one_that_does_is_named():
    """bits·ln 2 + log M, beyond what the point's error explains."""
    most = 8 * math.log(2) + math.log(VOCABULARY)
    points = [
        KeptPoint("bits4", 256, 0.5 * most, 0.1, 8),
        KeptPoint("bits2", 256, 1.1 * most, 0.1 * most, 8),
        KeptPoint("window4", 1024, 1.5 * most, 0.1 * most, 8),
        KeptPoint("context4", 1024, 100 * most, 0.0, math.nan),
    ]
    verdict = check_model(
        state("100*L"), law(0.3), vocabulary=VOCABULARY, measured=measured(WINDOW, points=points)
    )
    bound = verdict.numbers["measured"]["bound"]
    assert [one["state"] for one in bound["above"]] == ["window4"]
    assert bound["points"] == 3
    assert bound["largest_share"] == pytest.approx(1.5)
    assert "1 point(s) lie above the bound of Theorem 5.2 (window4 at L = 1,024)" in verdict.sentence


def test_without_a_vocabulary_the_bound_is_that_of_the_bits_alone():
    """Of a state of no bits it is zero, and everything that is kept lies above it."""
    points = [KeptPoint("bits1", 256, 4 * math.log(2), 0.0, 8), KeptPoint("empty", 256, 0.5, math.nan, 0)]
    verdict = check_model(state("100*L"), law(0.3), measured=measured(WINDOW, points=points))
    bound = verdict.numbers["measured"]["bound"]
    assert (bound["points"], bound["largest_share"]) == (2, pytest.approx(0.5))
    assert bound["above"] == [{"state": "empty", "length": 256, "kept": 0.5, "bound": 0.0}]


def test_an_assumption_names_the_state_and_the_length():
    found = Calibration(estimate(4.1e-5), 2048, "window231", 0.95)
    assert "4.1e-05 nats (window231 keeps 95 % at L = 2,048)" in found.assumption
