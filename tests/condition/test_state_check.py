"""Theorem 5.4: does one model's state grow at least like the mutual information of the data?"""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from toys import LENGTHS, curve, law, state

from l2m_eval.condition.law import ScalingLaw, published_law
from l2m_eval.condition.state_check import check_model
from l2m_eval.history_state import history_state_size
from l2m_eval.statistics.estimate import Estimate
from l2m_eval.statistics.power_law import PowerLaw


def test_attention_satisfies_and_a_fixed_state_violates_any_law_between():
    assert check_model(state("64*L"), law()).status == "satisfied"
    assert check_model(state("10**6"), law()).status == "violated"
    assert check_model(state("64*min(L, 10**5)"), law()).status == "violated"  # judged where it has saturated
    assert check_model(state("10**12 + L"), law()).status == "satisfied"  # a hybrid grows in the end


def test_a_state_that_grows_like_the_law_itself_cannot_be_told_apart():
    verdict = check_model(state("1000*L**0.75"), law(spread=0.02))
    assert verdict.status == "inconclusive"
    assert verdict.numbers["margin"] == pytest.approx(0, abs=0.005)  # sizes are whole numbers
    assert verdict.numbers["margin_error"] == pytest.approx(0.02, rel=0.1)  # 2000 resamples


def test_a_flat_law_asks_nothing_of_a_fixed_state():
    assert check_model(state("5"), ScalingLaw(1.0, 0.0, "flat")).status == "satisfied"
    assert check_model(state("5"), law(beta=0.01, spread=0.02)).status == "inconclusive"


def test_the_interval_of_a_fit_is_used_as_it_is():
    fit = PowerLaw(
        Estimate(2.0, 0.1, (1.8, 2.2)),
        Estimate(0.9, 0.2, (0.5, 1.3)),
        "loglog",
        10,
        30,
        (),
        np.array([[2.0, 0.9], [2.0, 0.9]]),
    )
    verdict = check_model(state("L"), ScalingLaw.from_fit(fit, "ours"))
    assert verdict.status == "inconclusive"
    assert verdict.numbers["beta_interval"] == (0.5, 1.3)
    assert verdict.numbers["margin_interval"] == pytest.approx((-0.3, 0.5))


def test_growth_that_is_not_known_is_inconclusive():
    unknown = history_state_size({"table": {1024: 5, 2048: 9}}, [1024, 2048])
    verdict = check_model(unknown, law())
    assert (verdict.status, verdict.exit_code) == ("inconclusive", 2)
    assert "not known" in verdict.sentence


def test_the_sentence_names_the_law_it_was_judged_by():
    verdict = check_model(state("64*L"), published_law("pg19-llama-3.1-405b-direct"), vocabulary=128256)
    assert "PG19, Llama 3.1 405B FP8, direct estimator" in verdict.sentence
    assert "L^0.76" in verdict.sentence
    assert "never reaches the capacity" in verdict.sentence


def test_the_context_that_the_model_accepts_comes_before_the_horizon():
    """I = 2 · 1024^0.5 = 64 nats at the context; the left block's 512 tokens leave 512 · 64 elements of 16 bits."""
    accepts = replace(state("64*L"), context=1024, notes=("the dtype is assumed",))
    verdict = check_model(accepts, law(beta=0.5))
    there = verdict.numbers["at_context"]
    assert there["information"] == pytest.approx(64, rel=1e-12)
    assert there["capacity"] == pytest.approx(512 * 64 * 16 * math.log(2), rel=1e-12)
    assert there["share"] == pytest.approx(there["information"] / there["capacity"], rel=1e-12)
    assert verdict.numbers["notes"] == ["the dtype is assumed"]
    assert verdict.sentence.index("its context of 1,024 tokens") < verdict.sentence.index(
        "If every stored bit"
    )
    assert (
        check_model(state("64*L"), law()).numbers["at_context"] is None
    )  # nothing is said of an unknown context


def test_the_sentence_begins_with_the_verdict_and_ends_it_with_its_number():
    flat = law(spread=0.02)
    error = flat.exponent_error
    for formula, begins, margin in (
        ("64*L", "Satisfied: the history state of 64*L ", 0.25),
        ("10**6", "Violated: the history state of 10**6 ", -0.75),
        ("1000*L**0.75", "Inconclusive: the history state of 1000*L**0.75 ", None),
    ):
        sentence = check_model(state(formula), flat).sentence
        assert sentence.startswith(begins)
        assert margin is None or f": γ - β = {margin:.2f} ± {error:.2f}." in sentence
    unknown = history_state_size({"table": {1024: 5, 2048: 9}, "name": "mine"}, [1024, 2048])
    sentence = check_model(unknown, flat).sentence
    assert sentence.startswith("Inconclusive: of the history state of mine ")
    assert "γ - β" not in sentence
    exact = check_model(state("64*L"), ScalingLaw(2.0, 0.75, "exact")).sentence
    assert ": γ - β = 0.25." in exact  # no error is written where there is none


def test_the_vocabulary_is_the_models_unless_one_is_given():
    accepts = replace(state("64*L"), context=1024, vocabulary=1000)
    bits = 512 * 64 * 16 * math.log(2)
    for given, last_token in ((None, math.log(1000)), (50, math.log(50))):
        there = check_model(accepts, law(), vocabulary=given).numbers["at_context"]
        assert there["capacity"] == pytest.approx(bits + last_token, rel=1e-12)
    there = check_model(replace(state("64*L"), context=1024), law()).numbers["at_context"]
    assert there["capacity"] == pytest.approx(bits, rel=1e-12)


def test_a_measured_curve_is_held_against_the_state_after_its_left_block():
    """A quarter of L at ratio 4, and at least the first token."""
    numbers = check_model(
        state("10*L"), replace(law(), ratio=4.0), nats_per_element=2.0, curve=curve()
    ).numbers["utilisation"]
    left = np.maximum(LENGTHS / 4, 1)
    np.testing.assert_allclose(numbers["elements"], 10 * left)
    np.testing.assert_allclose(numbers["capacity"], 20 * left)
    np.testing.assert_allclose(numbers["values"], curve().values / (20 * left))
    np.testing.assert_allclose(numbers["errors"], 0.05 * numbers["values"])
    np.testing.assert_array_equal(numbers["lengths"], LENGTHS)
    assert "utilisation" not in check_model(state("10*L"), law()).numbers


def test_the_context_is_judged_by_the_left_block_of_the_laws_ratio():
    accepts = replace(state("64*L"), context=1024)
    there = check_model(accepts, replace(law(), ratio=4.0)).numbers["at_context"]
    assert there["capacity"] == pytest.approx(256 * 64 * 16 * math.log(2), rel=1e-12)
    one = check_model(replace(accepts, context=2), replace(law(), ratio=4.0)).numbers["at_context"]
    assert one["capacity"] == pytest.approx(64 * 16 * math.log(2), rel=1e-12)  # no less than one token


def test_the_check_needs_no_torch_and_no_harness():
    heavy = {"torch", "transformers", "lm_eval"}
    imports = "import sys; from l2m_eval.condition import capability, series, state_check"
    code = f"{imports}; print({heavy!r} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
