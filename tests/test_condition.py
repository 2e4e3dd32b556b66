"""The L²M check: exponents, bound and horizon, series, MI-capability, and how verdicts read."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from l2m_eval import condition
from l2m_eval.condition import (
    MutualInformationCurve,
    ScalingLaw,
    SeriesMember,
    Verdict,
    check_mi_capability,
    check_model,
    check_series,
    horizon,
    published_law,
    state_capacity,
    utilisation,
)
from l2m_eval.errors import L2MError
from l2m_eval.history_state import history_state_size
from l2m_eval.scaling import PowerLaw

LENGTHS = np.array([2.0**k for k in range(1, 12)])


def state(formula, bits=16):
    return history_state_size({"formula": formula, "bits": bits, "name": formula}, LENGTHS.astype(int))


def law(beta=0.75, amplitude=2.0, spread=0.02, resamples=2000, seed=0):
    """A law whose resamples err in exponent, and in amplitude the other way, as fits do."""
    exponents = beta + spread * np.random.default_rng(seed).normal(size=resamples)
    return ScalingLaw(
        amplitude,
        beta,
        "a toy",
        replicates=np.stack([amplitude * np.exp(-4 * (exponents - beta)), exponents], 1),
    )


def curve(model="model", beta=0.75, amplitude=2.0, relative=0.05, **kwargs):
    values = amplitude * LENGTHS**beta
    settings = {"estimator": "direct", "documents": 100, "tokenizer": "t"} | kwargs.pop("settings", {})
    return MutualInformationCurve(model, kwargs.pop("corpus", "books"), LENGTHS, values, relative * values, settings,
                                  **kwargs)  # fmt: skip


# --- one model --------------------------------------------------------------------------------------------------


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
        2.0, 0.9, 0.1, 0.2, (1.8, 2.2), (0.5, 1.3), "loglog", 10, 30, (), np.array([[2.0, 0.9], [2.0, 0.9]])
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


def test_published_laws_are_those_of_the_paper():
    assert (
        published_law("pg19-llama-3.1-405b-vclub").amplitude,
        condition.PUBLISHED["pg19-llama-3.1-405b-vclub"].exponent,
    ) == (
        3.26,
        0.71,
    )
    with pytest.raises(L2MError, match="reference: 'pg20'"):
        published_law("pg20")


# --- bound and horizon ------------------------------------------------------------------------------------------


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
    with pytest.raises(L2MError, match="unit"):
        utilisation(curve(unit="bytes"), state("L"), vocabulary=10)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"exponent": math.nan}, "beta"),
        ({"amplitude": 0.0}, "amplitude"),
        ({"ratio": 1.0}, "ratio"),
        ({"replicates": np.zeros(5)}, "replicates"),
    ],
)
def test_a_law_that_makes_no_sense_is_refused(change, complaint):
    with pytest.raises(L2MError, match=complaint):
        check_model(state("L"), ScalingLaw(**{"amplitude": 1.0, "exponent": 0.5, "of": "toy"} | change))


@pytest.mark.parametrize(
    "constants", [{"vocabulary": 0}, {"nats_per_element": -1.0}, {"nats_per_element": math.inf}]
)
def test_a_bound_that_makes_no_sense_is_refused(constants):
    with pytest.raises(L2MError, match=next(iter(constants))):
        check_model(state("L"), law(), **constants)


# --- series -----------------------------------------------------------------------------------------------------


def series(exponent, noise=0.0):
    rng = np.random.default_rng(3)
    return [
        SeriesMember(f"m{n}", 100.0 * n**exponent * math.exp(noise * rng.normal()), n)
        for n in 2.0 ** np.arange(10, 16)
    ]


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


# --- MI-capability ----------------------------------------------------------------------------------------------


def test_the_same_exponent_keeps_up_and_a_smaller_one_falls_behind():
    assert check_mi_capability(curve(amplitude=1.0), curve("strong")).status == "satisfied"
    behind = check_mi_capability(curve(beta=0.5), curve("strong"))
    assert behind.status == "violated"
    assert behind.numbers["trend"] == pytest.approx(-0.25)
    assert check_mi_capability(curve(relative=2.0), curve("strong", relative=2.0)).status == "inconclusive"


def test_the_errors_of_ratio_and_trend_are_those_of_simulated_curves():
    rng = np.random.default_rng(0)
    ours, theirs = curve(), curve("strong")
    verdict = check_mi_capability(ours, theirs)
    ratios = [
        ours.values * (1 + 0.05 * rng.normal(size=11)) / (theirs.values * (1 + 0.05 * rng.normal(size=11)))
        for _ in range(4000)
    ]
    trends = [np.polyfit(np.log(LENGTHS), np.log(r), 1)[0] for r in ratios]
    # 4000 draws know a standard deviation to about 1 %
    assert verdict.numbers["trend_error"] == pytest.approx(np.std(trends), rel=0.05)
    np.testing.assert_allclose(verdict.numbers["errors"], np.std(ratios, axis=0), rtol=0.06)


def test_errors_shared_by_both_curves_cancel_when_resamples_are_given():
    shared = np.exp(0.3 * np.random.default_rng(1).normal(size=(500, 1))) * np.ones(11)
    ours = curve(replicates=curve().values * shared)
    theirs = curve("strong", replicates=curve().values * shared)
    verdict = check_mi_capability(ours, theirs)
    assert verdict.numbers["trend_error"] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(verdict.numbers["errors"], 0, atol=1e-12)


def test_curves_in_bytes_are_matched_between_tokenizers():
    ours = curve(unit="bytes", settings={"tokenizer": "mine"})
    lengths = LENGTHS * 1.3
    settings = {"estimator": "direct", "documents": 100, "tokenizer": "yours"}
    values = 4.0 * lengths**0.75
    theirs = MutualInformationCurve("strong", "books", lengths, values, 0.1 * values, settings, "bytes")
    verdict = check_mi_capability(ours, theirs)
    np.testing.assert_allclose(verdict.numbers["ratios"], 0.5, rtol=1e-12)  # a power law interpolates exactly
    assert verdict.numbers["lengths"].tolist() == LENGTHS[1:].tolist()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"corpus": "news"}, "corpus: 'books'"),
        ({"settings": {"estimator": "vclub"}}, "estimator: 'direct'"),
        ({"settings": {"tokenizer": "u"}}, "tokenizer: 't'"),
        ({"settings": {"seed": 1}}, "seed: None"),
        ({"unit": "bytes"}, "unit: 'tokens'"),
    ],
)
def test_curves_of_different_measurements_are_not_compared(change, named):
    with pytest.raises(L2MError, match=named):
        check_mi_capability(curve(), curve("strong", **change))


def test_ratios_need_positive_values_and_common_lengths():
    with pytest.raises(L2MError, match="not positive"):
        check_mi_capability(curve(), curve("strong", amplitude=-1.0))
    far = MutualInformationCurve("far", "books", LENGTHS * 10**6, LENGTHS, LENGTHS, curve().settings)
    with pytest.raises(L2MError, match=r"share 0 length"):
        check_mi_capability(curve(), far)


# --- verdicts ---------------------------------------------------------------------------------------------------


def test_exit_codes():
    codes = {status: Verdict(status, "single-model", "").exit_code for status in condition.EXIT_CODES}
    assert codes == {"satisfied": 0, "violated": 1, "inconclusive": 2, "error": 3}
    assert Verdict.of_error(L2MError("corpus: none")).to_json()["exit_code"] == 3


@pytest.mark.parametrize(
    "verdict",
    [
        check_model(state("64*L"), law(), vocabulary=4096, curve=curve()),
        check_series(series(1.0), law()),
        check_mi_capability(curve(), curve("strong")),
        Verdict.of_error(L2MError("corpus: none")),
    ],
    ids=lambda verdict: verdict.check,
)
def test_json_is_strict_and_carries_its_schema(verdict):
    text = json.dumps(verdict.to_json(), allow_nan=False)
    found = json.loads(text)
    assert found["schema"] == "l2m-eval/check/1"
    assert set(found) == {"schema", "check", "status", "exit_code", "sentence", "numbers"}
    documented = condition.__doc__ or ""
    assert all(f"``{key}``" in documented for key in found["numbers"])


def test_a_horizon_never_reached_is_null_in_json():
    verdict = check_model(state("64*L"), law(), vocabulary=4096)
    assert verdict.to_json()["numbers"]["horizon"]["length"] is None


def test_the_check_needs_no_torch_and_no_harness():
    import subprocess
    import sys

    code = (
        "import sys, l2m_eval.condition as c; print({'torch', 'transformers', 'lm_eval'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
